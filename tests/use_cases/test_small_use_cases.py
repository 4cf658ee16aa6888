"""Four small use cases, trained for real and served for real, with the figures they have to reach."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import httpx
import numpy as np
import polars as pl
import pytest
import yaml
from numpy.typing import NDArray
from scipy.stats import binomtest

from aforo.contracts.run import CalibrateManifest, SplitManifest, Step
from aforo.export.inference import GraphPredictor
from aforo.export.two_phase import open_predictor
from aforo.workflows.fitting import contract_of, run_in_pieces, run_predictor
from aforo.workflows.parts import Parts

if TYPE_CHECKING:
    from conftest import Home

NAMES = ("breast_cancer", "digits", "newborn_weight", "arrest")
STEPS: tuple[Step, ...] = get_args(Step)
TIMELY = {"seconds", "reused"}


IDENTITIES: dict[Step, str] = {"ingest": "snapshot_id", "split": "split_digest", "evaluate": "model_digest"}


def frozen_rows(home: Home, name: str, run_key: str = "one") -> pl.DataFrame:
    """Return the test part."""
    split = SplitManifest.model_validate(home.manifest("split", name, run_key))
    return Parts.load(split, home.use_case(name), home.platform).of("test")


def judged_graph(home: Home, name: str, run_key: str = "one") -> bytes:
    """Return the graph that the gate judged."""
    chosen = home.manifest("train", name, run_key)["chosen"]
    calibrated = {candidate["name"]: candidate for candidate in home.manifest("calibrate", name, run_key)["candidates"]}
    return home.platform.store.read(calibrated[chosen]["predictor"])


def judged(home: Home, name: str) -> GraphPredictor:
    """Return what the gate judged, both phases of it."""
    calibrated = CalibrateManifest.model_validate(home.manifest("calibrate", name))
    small = None if calibrated.small is None else home.platform.store.read(calibrated.small.predictor)
    return open_predictor(judged_graph(home, name), contract_of(home.use_case(name), calibrated.two_phase), small)


def numbers_of(predictions: list[dict[str, Any]]) -> NDArray[np.float64]:
    """Return what the API answered as numbers, in the order of the graph's outputs."""
    if "value" in predictions[0]:
        return np.array([(p["value"], p["interval"]["lower"], p["interval"]["upper"]) for p in predictions])
    return np.array([list(p["probabilities"].values()) for p in predictions])


def said(home: Home, step: Step) -> dict[str, Any]:
    """Return a step's manifest, without how long it took and whether it met a snapshot that was there."""
    return {key: value for key, value in home.manifest(step, "newborn_weight").items() if key not in TIMELY}


@pytest.mark.parametrize("name", NAMES)
def test_every_use_case_has_a_champion_that_the_gate_accepted(trained: Home, name: str):
    assert trained.manifest("evaluate", name)["verdict"] == "promote"
    assert trained.manifest("promote", name)["changed"] is True
    assert trained.platform.versions.aliases(name) == {"champion": "1", "challenger": "1"}
    assert [row.version for row in trained.platform.ledger.history(name)] == ["1"]


@pytest.mark.parametrize("name", NAMES)
def test_api_pyfunc_and_graph_give_the_same_answers_bit_for_bit(
    trained: Home, served: httpx.Client, monkeypatch: pytest.MonkeyPatch, name: str
):
    import mlflow

    rows, inputs = frozen_rows(trained, name), [column.name for column in trained.use_case(name).inputs]
    outputs = run_in_pieces(judged(trained, name), rows)
    by_graph = np.hstack(
        [outputs[key] for key in (("value", "interval") if "value" in outputs else ("probabilities",))]
    )

    response = served.post(f"/models/{name}/predict", json={"rows": rows.select(inputs).to_dicts()})
    monkeypatch.setenv("AFORO_HOME", str(trained.folder))
    mlflow.set_tracking_uri(trained.settings.mlflow_tracking_uri)
    mlflow.set_registry_uri(trained.settings.mlflow_tracking_uri)
    answered = mlflow.pyfunc.load_model(f"models:/{name}@champion").predict(rows.select(inputs).to_pandas())

    assert response.status_code == 200, response.text
    assert np.array_equal(numbers_of(response.json()["predictions"]), by_graph)
    words = ["label", "abstain_reason", "phase"]
    assert np.array_equal(answered.drop(columns=words, errors="ignore").to_numpy(dtype=np.float64), by_graph)
    for word in set(words) & set(answered.columns):
        told = [None if missing else text for text, missing in zip(answered[word], answered[word].isna(), strict=True)]
        assert [p[word] for p in response.json()["predictions"]] == told


def test_the_bound_to_abstain_at_is_chosen_on_the_validation_part_and_served(trained: Home, served: httpx.Client):
    split = SplitManifest.model_validate(trained.manifest("split", "breast_cancer"))
    use_case, graph = trained.use_case("breast_cancer"), judged_graph(trained, "breast_cancer")
    parts = Parts.load(split, use_case, trained.platform)
    sure = {
        part: run_predictor(graph, use_case, parts.of(part))["probabilities"].max(axis=1)
        for part in ("validation", "test")
    }
    report = json.loads(trained.platform.store.read(trained.manifest("evaluate", "breast_cancer")["report"]))
    bound = report["abstention"]["below"]
    rows = frozen_rows(trained, "breast_cancer").select([column.name for column in use_case.inputs]).to_dicts()
    predictions = served.post("/models/breast_cancer/predict", json={"rows": rows}).json()["predictions"]

    # Nine tenths of the validation rows are as sure, and no fewer.
    assert bound in sure["validation"]
    assert np.mean(sure["validation"] > bound) < 0.9 <= np.mean(sure["validation"] >= bound)
    assert [p["abstained"] for p in predictions] == (sure["test"] < bound).tolist()
    assert {p["abstain_below"] for p in predictions} == {bound}
    assert {p["abstain_reason"] for p in predictions if p["abstained"]} <= {"low_confidence"}
    assert report["abstention"]["coverage"]["value"] == pytest.approx(np.mean(sure["test"] >= bound))
    assert [rule["passed"] for rule in report["rules"] if rule["name"] == "abstention"] == [True]


@pytest.mark.parametrize("name", NAMES)
def test_an_explanation_of_the_champion_adds_up_and_is_within_its_errors_of_another(
    trained: Home, served: httpx.Client, name: str
):
    inputs = [column.name for column in trained.use_case(name).inputs]
    rows = frozen_rows(trained, name).select(inputs).head(3).to_dicts()
    plain = served.post(f"/models/{name}/predict", json={"rows": rows}).json()["predictions"]
    found = served.post(f"/models/{name}/predict", json={"rows": rows, "explain": True}).json()["predictions"]

    for prediction, without in zip(found, plain, strict=True):
        why = prediction.pop("explanation")
        assert prediction == without
        assert why["baseline"] + sum(why["contributions"].values()) == pytest.approx(why["output"], abs=1e-9)
        assert list(why["contributions"]) == inputs
        assert (why["permutations"] is None) == (len(inputs) <= 8)


@pytest.mark.parametrize("name", NAMES)
def test_the_service_says_from_which_snapshot_the_champion_was_made(trained: Home, served: httpx.Client, name: str):
    champion = served.get(f"/models/{name}").json()["champion"]

    assert trained.manifest("ingest", name)["snapshot_id"] in json.dumps(champion)


def test_another_folder_process_and_run_key_give_the_same_snapshot_split_model_and_predictions(
    trained: Home, new_home: Callable[[Path | None], Home], tmp_path: Path
):
    shutil.copytree(trained.use_cases / "breast_cancer", tmp_path / "breast_cancer")
    elsewhere = new_home(tmp_path)
    taken = elsewhere.run("breast_cancer", "elsewhere")

    assert {step: getattr(taken[step], field) for step, field in IDENTITIES.items()} == {
        step: trained.manifest(step, "breast_cancer")[field] for step, field in IDENTITIES.items()
    }
    rows = frozen_rows(trained, "breast_cancer")
    assert frozen_rows(elsewhere, "breast_cancer", "elsewhere").equals(rows)
    here, there = (
        run_predictor(graph, trained.use_case("breast_cancer"), rows)["probabilities"]
        for graph in (
            judged_graph(trained, "breast_cancer"),
            judged_graph(elsewhere, "breast_cancer", "elsewhere"),
        )
    )
    assert np.array_equal(here, there)


def test_one_changed_byte_of_the_input_is_another_snapshot(trained: Home, home: Home):
    shutil.copytree(trained.use_cases / "newborn_weight", home.use_cases / "newborn_weight")
    data = home.use_cases / "newborn_weight" / "data.csv"
    before, after = "1,34.0,34,", "1,34.0,35,"
    text = data.read_text()
    assert text.count(f"\n{before}") == 1
    data.write_text(text.replace(f"\n{before}", f"\n{after}"))

    snapshot = home.step("ingest", "newborn_weight").snapshot_id

    assert snapshot != trained.manifest("ingest", "newborn_weight")["snapshot_id"]


def test_digits_are_read_right_in_96_of_100_cases(trained: Home):
    rows = frozen_rows(trained, "digits")
    outputs = run_in_pieces(judged(trained, "digits"), rows)

    right = outputs["probabilities"].argmax(axis=1) == rows["digit"].to_numpy()

    assert right.mean() >= 0.96
    assert trained.manifest("evaluate", "digits")["metrics"]["candidate"]["accuracy"] == pytest.approx(right.mean())


def test_most_digits_are_read_by_a_model_of_a_quarter_of_the_size_without_a_loss(trained: Home):
    report = json.loads(trained.platform.store.read("runs/digits/one/evaluate/report.json"))["two_phase"]

    assert report["share"]["value"] >= 0.6
    assert report["lost"]["value"] <= 0.002
    assert report["small_bytes"] <= report["full_bytes"] / 4


def test_the_intervals_of_newborn_weights_hold_as_often_as_they_promise(trained: Home):
    rows = frozen_rows(trained, "newborn_weight")
    use_case = trained.use_case("newborn_weight")
    bounds = run_predictor(judged_graph(trained, "newborn_weight"), use_case, rows)["interval"]

    weights = rows["weight"].to_numpy()
    held = int(((bounds[:, 0] <= weights) & (weights <= bounds[:, 1])).sum())

    assert binomtest(held, len(weights), use_case.calibration.coverage).pvalue > 0.05


def test_groups_of_people_are_in_the_report_of_a_regression_and_of_classes(trained: Home):
    for name, cuts in (("newborn_weight", 4), ("arrest", 4)):
        report = json.loads(trained.platform.store.read(f"runs/{name}/one/evaluate/report.json"))
        page = trained.platform.store.read(f"runs/{name}/one/evaluate/report.html").decode()
        assert len(report["fairness"]) == cuts
        assert page.count("<h3>In the data: ") == page.count("<h3>In the answers: ") == cuts
        assert page.count("<h3>What group thresholds would cost: ") == len(report["mitigation"])


def test_before_training_it_is_said_who_is_missing_and_what_tells_a_column_that_was_removed(trained: Home):
    warnings = trained.manifest("validate", "arrest")["warnings"]

    assert [warning.partition(" in ")[0] for warning in warnings] == [
        "fairness: no candidate reads colour, and what they read tells it (AUC 0.69), most of all checks (0.61)",
        "fairness: sex is Female",
    ]


def test_a_lower_bound_refuses_the_arrests_for_being_unfair_and_for_nothing_else(trained: Home, home: Home):
    document = yaml.safe_load((trained.use_cases / "arrest" / "use_case.yaml").read_text())
    document["gate"]["fair"]["max_equalised_odds"] = 0.1
    data = (trained.use_cases / "arrest" / "data.csv").read_bytes()
    home.add_use_case("arrest", document, {"data.csv": data})

    judged = home.run("arrest", last="evaluate")["evaluate"]

    assert judged.verdict == "refuse"
    (reason,) = judged.reasons
    assert reason.startswith("Equalised odds (false positive rate) differ by 0.2")
    assert "between colour is Black and colour is White" in reason


def test_breast_cancer_is_told_apart_and_its_probabilities_are_sharp(trained: Home):
    figures = trained.manifest("evaluate", "breast_cancer")["metrics"]

    assert figures["candidate"]["roc_auc"] >= 0.98
    assert figures["candidate"]["brier"] < figures["baseline"]["brier"] / 4


@pytest.mark.parametrize("name", NAMES)
def test_the_run_in_mlflow_has_what_a_data_scientist_looks_for(trained: Home, name: str):
    train = trained.manifest("train", name)
    client = trained.platform.versions.client
    run = client.get_run(train["mlflow_run_id"])

    tags = {key: run.data.tags.get(key) for key in ("use_case", "run_key", "snapshot_id", "split_digest", "verdict")}
    assert tags == {
        "use_case": name,
        "run_key": "one",
        "snapshot_id": train["snapshot_id"],
        "split_digest": train["split_digest"],
        "verdict": "promote",
    }
    assert {"code_commit", "code_digest", "lock_digest", "use_case_digest"} <= set(run.data.tags)
    assert run.data.params["chosen"] == train["chosen"]
    assert run.info.status == "FINISHED"
    nested = [each for each in trained.tracked_runs(name) if each.data.tags.get("mlflow.parentRunId")]
    small = [train["small"]] if train["small"] else []
    assert {each.data.tags["candidate"] for each in nested} == {each["name"] for each in train["candidates"] + small}
    assert {each.info.status for each in nested} == {"FINISHED"}
    assert [dataset.dataset.digest for dataset in run.inputs.dataset_inputs] == [train["snapshot_id"][:36]]
    gate = [file.path for file in client.list_artifacts(run.info.run_id, "gate")]
    assert gate == ["gate/report.html", "gate/report.json"]
    assert [file.path for file in client.list_artifacts(run.info.run_id, "snapshot")] == ["snapshot/report.html"]
    plots = [file.path for file in client.list_artifacts(run.info.run_id, "plots")]
    assert plots
    assert {plot.rpartition(".")[2] for plot in plots} == {"png"}


def test_a_version_has_a_signature_and_an_example_that_it_can_answer(trained: Home, monkeypatch: pytest.MonkeyPatch):
    import mlflow

    monkeypatch.setenv("AFORO_HOME", str(trained.folder))
    mlflow.set_tracking_uri(trained.settings.mlflow_tracking_uri)
    mlflow.set_registry_uri(trained.settings.mlflow_tracking_uri)
    model = mlflow.pyfunc.load_model("models:/newborn_weight/1")

    assert model.metadata.signature.inputs.input_names() == [
        column.name for column in trained.use_case("newborn_weight").inputs
    ]
    assert len(model.predict(model.input_example)) == len(model.input_example)


def test_the_same_run_key_again_repeats_nothing(trained: Home):
    objects, runs = set(trained.files()), len(trained.tracked_runs("newborn_weight"))
    before = {step: said(trained, step) for step in STEPS}

    trained.run("newborn_weight")

    assert {step: said(trained, step) for step in STEPS} == before
    assert set(trained.files()) == objects
    assert len(trained.tracked_runs("newborn_weight")) == runs
    assert len(trained.platform.ledger.history("newborn_weight")) == 1


def test_a_new_run_key_on_unchanged_data_is_told_so_and_trains_nothing(trained: Home):
    runs = len(trained.tracked_runs("newborn_weight"))

    done = trained.aforo("run", "newborn_weight", "--run-key", "two", "--json")

    assert done.returncode == 99
    snapshot = trained.manifest("ingest", "newborn_weight", "two")["snapshot_id"]
    assert done.stderr.endswith(
        f"aforo: newborn_weight: nothing has changed since version 1 was made from snapshot {snapshot}; "
        "training would give it again\nhint: to train all the same, use --again or another --seed\n"
    )
    assert [json.loads(line)["snapshot_id"] for line in done.stdout.splitlines()] == [snapshot] * 3
    assert len(trained.tracked_runs("newborn_weight")) == runs


def test_due_says_that_nothing_changed_and_a_seed_is_a_change(trained: Home):
    snapshot = trained.manifest("ingest", "newborn_weight")["snapshot_id"]
    stands = {"use_case": "newborn_weight", "snapshot_id": snapshot, "champion": "1"}

    unchanged = trained.aforo("due", "newborn_weight", "--json")
    other_seed = trained.aforo("due", "newborn_weight", "--seed", "7", "--json")

    assert (unchanged.returncode, json.loads(unchanged.stdout)) == (99, {**stands, "changes": []})
    assert "nothing has changed since the champion, version 1" in unchanged.stderr
    assert (other_seed.returncode, json.loads(other_seed.stdout)) == (0, {**stands, "changes": ["the seed changed"]})


def test_a_model_that_does_not_exist_is_a_404_that_names_it(served: httpx.Client):
    response = served.post("/models/no_such_model/predict", json={"rows": [{}]})

    assert (response.status_code, response.json()["code"]) == (404, "model_not_found")
    assert "no_such_model" in response.json()["detail"]


def test_a_bad_row_of_a_real_model_is_refused_with_every_bad_field(trained: Home, served: httpx.Client):
    names = [column.name for column in trained.use_case("newborn_weight").inputs]
    row = frozen_rows(trained, "newborn_weight").select(names).to_dicts()[0]

    missing = {key: value for key, value in row.items() if key != "weeks"}
    bad = {**missing, "mage": "thirty", "sex": "unknown", "height": 50}
    response = served.post("/models/newborn_weight/predict", json={"rows": [row, bad]})

    assert response.status_code == 422
    assert {error["pointer"]: error["code"] for error in response.json()["errors"]} == {
        "/rows/1/weeks": "missing_field",
        "/rows/1/mage": "wrong_type",
        "/rows/1/sex": "category_not_allowed",
        "/rows/1/height": "unknown_field",
    }
