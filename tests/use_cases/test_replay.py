"""Replay and parity: what the service answered is given again to the bit, and what differs is counted and shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from aforo.errors import DataError, ModelNotFound, NotReproduced
from aforo.monitoring.prediction_log import PredictionLog
from aforo.monitoring.privacy import ENTITY, hashed, log_key
from aforo.monitoring.records import Record, block
from aforo.monitoring.segments import SegmentHeader, read_segment
from aforo.registry.bundle import read_bundle
from aforo.workflows import parity
from aforo.workflows.replay import replay

# The service that these tests ask records its answers too, those of today.
THEN = datetime.now(UTC).replace(hour=7, minute=0, second=0, microsecond=0) - timedelta(days=30)
DAY = THEN.date()
Recorded = Callable[..., None]


@pytest.fixture
def record(trained: Any, tmp_path: Path) -> Iterator[Recorded]:
    """Write answers of the service into the log, as the service does, for the length of a test."""
    store = trained.platform.store

    def write(
        model: str, rows: list[dict[str, Any]], predictions: list[dict[str, Any]], name: str = "a", **changes: Any
    ) -> None:
        fields = {
            "request_id": f"request-{name}",
            "at": int(THEN.timestamp()) * 10**6,
            "caller": "",
            "entities": None,
            "role": "answer",
            "phase": "full",
            "predictions": predictions,
        }
        folder = trained.platform.versions.download(model, "1", tmp_path / model)
        contract = read_bundle(folder, trained.platform.signing_key).contract
        values = [[row[column.name] for column in contract.inputs] for row in rows]
        header = SegmentHeader(model=model, version="1", contract=contract).model_dump_json().encode()
        data = header + b"\n" + block([Record(rows=values, **fields | changes)])
        PredictionLog(store).add(read_segment(Path(f"{model}@1@{name}.segment"), data))

    yield write
    for key in tuple(store.list("predictions/log/")):
        if f"/{DAY}/" in key or f"/{DAY - timedelta(days=1)}/" in key:
            store.delete(key)


@pytest.fixture
def answered(trained: Any, served: httpx.Client) -> Callable[[str, int], tuple[list[Any], list[Any]]]:
    """Give rows of a model and what the service answers to them."""

    def ask(model: str, count: int) -> tuple[list[Any], list[Any]]:
        platform = trained.platform
        tags = platform.versions.resolve(model, "champion").tags
        names = [column.name for column in trained.use_case(model).inputs]
        rows = platform.snapshots.load(tags["snapshot_id"]).select(names).head(count).to_dicts()
        answer = served.post(f"/models/{model}/predict", json={"rows": rows})
        assert answer.status_code == 200, answer.text
        return rows, answer.json()["predictions"]

    return ask


@pytest.mark.parametrize("model", ["newborn_weight", "breast_cancer", "digits"])
def test_what_the_service_answered_is_given_again_to_the_bit(
    trained: Any, record: Recorded, answered: Callable[..., Any], model: str
) -> None:
    rows, predictions = answered(model, 200)
    record(model, rows[:120], predictions[:120], "a")
    record(model, rows[120:], predictions[120:], "b")

    report = replay(model, "champion", trained.platform, until=DAY)

    assert (report.rows, report.identical, report.changed, report.refused) == (200, 200, 0, 0)
    assert (report.largest_difference, report.mean_difference, report.largest) == (0.0, 0.0, ())


def test_what_differs_is_counted_and_the_most_different_is_shown_first(
    trained: Any, record: Recorded, answered: Callable[..., Any]
) -> None:
    rows, predictions = answered("breast_cancer", 10)
    labels = list(predictions[0]["probabilities"])
    other = next(label for label in labels if label != predictions[3]["label"])
    predictions[3] = {**predictions[3], "label": other}
    for place, shift in ((5, 0.25), (7, 0.5)):
        shifted = {label: value + shift for label, value in predictions[place]["probabilities"].items()}
        predictions[place] = {**predictions[place], "probabilities": shifted}
    record("breast_cancer", rows, predictions)

    report = replay("breast_cancer", "1", trained.platform, until=DAY, show=2)

    assert (report.rows, report.identical, report.changed) == (10, 7, 1)
    assert [(each.row, round(each.difference, 9)) for each in report.largest] == [(7, 0.5), (5, 0.25)]
    assert report.mean_difference == pytest.approx(0.075)


def test_a_value_outside_the_recorded_interval_is_a_change(
    trained: Any, record: Recorded, answered: Callable[..., Any]
) -> None:
    rows, predictions = answered("newborn_weight", 3)
    for place, shift in ((0, 0.001), (1, 100.0)):
        told = predictions[place]
        interval = {bound: value + shift for bound, value in told["interval"].items()}
        predictions[place] = {**told, "value": told["value"] + shift, "interval": interval}
    record("newborn_weight", rows, predictions)

    report = replay("newborn_weight", "champion", trained.platform, until=DAY)

    assert (report.rows, report.identical, report.changed) == (3, 1, 1)
    assert report.largest_difference == pytest.approx(100.0)


def test_rows_that_the_version_does_not_allow_are_counted_with_an_example(
    trained: Any, record: Recorded, answered: Callable[..., Any]
) -> None:
    rows, predictions = answered("newborn_weight", 3)
    rows[1] = {**rows[1], "weeks": -5}
    record("newborn_weight", rows, predictions)

    report = replay("newborn_weight", "champion", trained.platform, until=DAY)

    assert (report.rows, report.identical, report.refused) == (3, 2, 1)
    assert report.refusal is not None
    assert report.refusal.startswith("weeks ")


def test_shadows_other_days_and_other_versions_are_left_out(
    trained: Any, record: Recorded, answered: Callable[..., Any]
) -> None:
    rows, predictions = answered("newborn_weight", 4)
    record("newborn_weight", rows, predictions, "answer")
    record("newborn_weight", rows, predictions, "shadow", role="shadow")
    record("newborn_weight", rows, predictions, "yesterday", at=int(THEN.timestamp() - 86_400) * 10**6)

    def replayed(**bounds: Any) -> int:
        return replay("newborn_weight", "champion", trained.platform, **{"until": DAY, **bounds}).rows

    assert replayed() == 8
    assert replayed(since=DAY) == replayed(until=DAY - timedelta(days=1)) == 4
    assert replayed(recorded_by="1") == 8
    with pytest.raises(DataError, match="no answer of newborn_weight is recorded"):
        replayed(recorded_by="2")


def test_a_version_that_does_not_exist_is_refused(trained: Any) -> None:
    with pytest.raises(ModelNotFound):
        replay("newborn_weight", "99", trained.platform)


def test_the_command_reports_as_text_and_as_json(trained: Any, record: Recorded, answered: Callable[..., Any]) -> None:
    rows, predictions = answered("newborn_weight", 4)
    predictions[2] = {**predictions[2], "value": 1_000.0}
    record("newborn_weight", rows, predictions)

    text = trained.aforo("replay", "newborn_weight", "--since", str(DAY), "--until", str(DAY))
    document = json.loads(trained.aforo("replay", "newborn_weight", "--until", str(DAY), "--json").stdout)

    assert text.returncode == 0, text.stderr
    assert "newborn_weight version 1, on recorded requests" in text.stdout
    assert "request-a" in text.stdout
    assert (document["rows"], document["identical"], document["largest"][0]["row"]) == (4, 3, 2)


@pytest.mark.parametrize("model", ["newborn_weight", "breast_cancer", "digits"])
def test_service_batch_and_training_code_agree_on_recorded_rows(
    trained: Any, record: Recorded, answered: Callable[..., Any], model: str
) -> None:
    rows, predictions = answered(model, 60)
    record(model, rows[:20], predictions[:20], "a")
    record(model, rows[20:], predictions[20:], "b")

    report = parity.run(trained.use_case(model), "champion", trained.platform, rows=50, until=DAY)

    # What the small model of two phases answered was not fitted by the candidate's training code.
    full = min(50, sum(each.get("phase", "full") == "full" for each in predictions))
    assert full > 10
    assert report.holds
    assert (report.rows, report.batch.identical, report.batch.largest_difference) == (full, full, 0.0)
    assert report.training.largest_difference <= report.tolerance == 1e-6


def test_an_answer_that_is_not_the_models_breaks_parity_and_is_named(
    trained: Any, record: Recorded, answered: Callable[..., Any]
) -> None:
    rows, predictions = answered("newborn_weight", 5)
    predictions[2] = {**predictions[2], "value": predictions[2]["value"] + 1e-5}
    record("newborn_weight", rows, predictions)

    done = trained.aforo("parity", "newborn_weight", "--until", str(DAY), "--rows", "3")
    report = json.loads(trained.aforo("parity", "newborn_weight", "--until", str(DAY), "--json").stdout)

    assert done.returncode == 1
    assert "batch or training code answers otherwise" in done.stderr
    assert "newborn_weight version 1, the last 3 recorded rows" in done.stdout
    assert (report["rows"], report["batch"]["identical"], report["batch"]["worst"]) == (5, 4, "request-a row 2")
    assert report["batch"]["largest_difference"] == pytest.approx(1e-5)
    assert report["training"]["worst"] == "request-a row 2"


def test_parity_needs_recorded_answers_and_training_code_that_makes_the_same_model(
    trained: Any, record: Recorded, answered: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(until: date) -> parity.ParityReport:
        return parity.run(trained.use_case("newborn_weight"), "1", trained.platform, rows=10, until=until)

    with pytest.raises(DataError, match="no answer of newborn_weight version 1 is recorded"):
        ask(DAY - timedelta(days=300))
    record("newborn_weight", *answered("newborn_weight", 2))
    made = parity.calibrate
    monkeypatch.setattr(parity, "calibrate", lambda *given: replace(made(*given), predictor=b"another graph"))
    with pytest.raises(NotReproduced, match="newborn_weight version 1 comes out as another model here"):
        ask(DAY)


def test_forgetting_by_the_command_removes_the_entity(
    trained: Any, record: Recorded, answered: Callable[..., Any]
) -> None:
    rows, predictions = answered("newborn_weight", 2)
    digest = hashed("4711", ENTITY, log_key(trained.platform.signing_key))
    record("newborn_weight", rows, predictions, entities=[digest, "another"])

    done = trained.aforo("forget", "newborn_weight", "4711")

    assert done.returncode == 0, done.stderr
    assert "1 records of the entity removed" in done.stdout
    (left,) = PredictionLog(trained.platform.store).tables("newborn_weight", until=DAY)
    assert left["entity"].to_list() == ["another"]
    assert left["row"].to_list() == [1]
