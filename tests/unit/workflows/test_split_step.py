"""The split step: what it counts, warns of and refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from aforo.contracts.run import RunKey, SplitManifest
from aforo.errors import DataError, UseCaseError
from aforo.settings import Settings
from aforo.use_case import load_use_case
from aforo.workflows import ingest, split, validate
from aforo.workflows.wiring import Platform

COLUMNS = [
    {"name": "id", "type": "integer", "role": "key"},
    {"name": "day", "type": "date", "role": "info"},
    {"name": "customer", "type": "string", "role": "info"},
    {"name": "size", "type": "number", "role": "feature"},
    {"name": "sold", "type": "boolean", "role": "target"},
]
DOCUMENT: dict[str, Any] = {
    "name": "sales",
    "title": "Will it sell?",
    "owner": "tests",
    "task": {"kind": "binary"},
    "data": {"source": {"kind": "csv", "path": "data.csv"}, "columns": COLUMNS},
    "features": [{"kind": "scale", "columns": ["size"]}],
    "candidates": [{"kind": "historical_rate", "by": []}],
}
EARLY = {"kind": "sequential", "column": "day", "validation_from": "2013-01-11", "calibration_from": "2013-01-16"}


@pytest.fixture
def run_split(tmp_path: Path, settings: Settings) -> Callable[..., SplitManifest]:
    """Run ingest, validate and split on 31 days of 8 sales; the last customer buys on one day only."""

    def run(**changes: Any) -> SplitManifest:
        folder = tmp_path / "use_cases" / "sales"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "use_case.yaml").write_text(yaml.safe_dump({**DOCUMENT, **changes}))
        lines = [
            f"{8 * day + n},2013-01-{day:02},{'rare' if day == 2 and n == 7 else f'c{n}'},{n},{n % 2 == 0 and day > 1}"
            for day in range(1, 32)
            for n in range(8)
        ]
        (folder / "data.csv").write_text("id,day,customer,size,sold\n" + "\n".join(lines) + "\n")
        platform, key = Platform.of(settings), RunKey("k")
        use_case = load_use_case(tmp_path / "use_cases", "sales")
        ingest.run(use_case, key, platform)
        validate.run(use_case, key, platform)
        return split.run(use_case, key, platform)

    return run


def test_rows_in_a_gap_are_counted_and_in_no_part(run_split: Callable[..., SplitManifest]) -> None:
    manifest = run_split(split={**EARLY, "test_from": "2013-01-21", "gap_days": 2})

    assert {part: summary.rows for part, summary in manifest.parts.items()} == {
        "train": 8 * 8,
        "validation": 3 * 8,
        "calibration": 3 * 8,
        "test": 11 * 8,
    }
    assert manifest.left_out == 6 * 8


def test_a_torn_cluster_and_a_missing_slice_are_warned_of(run_split: Callable[..., SplitManifest]) -> None:
    manifest = run_split(
        split={**EARLY, "test_from": "2013-01-21", "slices": ["customer"]},
        evaluation={"bootstrap": {"by": "customer"}},
    )

    assert manifest.warnings == (
        "8 of 9 values of 'customer' span parts, for example c0, c1, c2; "
        "rows of one 'customer' are not independent, so figures may flatter",
        "1 of 9 values of 'customer' have no row in validation: rare",
        "1 of 9 values of 'customer' have no row in calibration: rare",
        "1 of 9 values of 'customer' have no row in test: rare",
    )


def test_a_split_without_a_fault_has_no_warning(run_split: Callable[..., SplitManifest]) -> None:
    assert run_split(split={**EARLY, "test_from": "2013-01-21"}).warnings == ()


def test_a_class_that_a_part_lacks_is_warned_of(run_split: Callable[..., SplitManifest]) -> None:
    dates = {"validation_from": "2013-01-02", "calibration_from": "2013-01-16", "test_from": "2013-01-21"}

    manifest = run_split(split={**EARLY, **dates})

    assert manifest.warnings == ("1 of 2 values of 'sold' have no row in train: True",)


def test_a_key_that_must_stay_together_is_refused_if_it_does_not(run_split: Callable[..., SplitManifest]) -> None:
    with pytest.raises(DataError, match=r"sales: split\.together: 8 of 9 values of 'customer' span parts"):
        run_split(split={"kind": "random", "together": ["customer"]})


def test_a_key_that_stays_together_is_not(run_split: Callable[..., SplitManifest]) -> None:
    pinned = {"train": ["c0", "c1", "rare"], "validation": ["c2"], "calibration": ["c3"], "test": ["c4", "c5"]}

    manifest = run_split(split={"kind": "grouped", "by": ["customer"], "pinned": pinned, "together": ["customer"]})

    assert manifest.parts["validation"].rows >= 31


def test_a_period_without_rows_is_refused(run_split: Callable[..., SplitManifest]) -> None:
    with pytest.raises(DataError, match="the split leaves no row for test out of 248 rows"):
        run_split(split={**EARLY, "test_from": "2014-01-01"})


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (
            {"kind": "sequential", **EARLY, "test_from": "2013-02-01", "column": "size"},
            "column 'size' is a number, and a",
        ),
        ({"kind": "grouped", "by": ["shop"]}, r"split\.by names 'shop', which is not in data\.columns"),
        ({"kind": "fingerprint", "key": ["size"]}, r"split\.key: column 'size' is a number, which has no one text"),
        ({"kind": "sesonal"}, "kind 'sesonal' does not exist; valid kinds: .*did you mean 'seasonal'"),
    ],
)
def test_a_split_that_does_not_fit_the_contract_is_refused_when_the_file_is_read(
    run_split: Callable[..., SplitManifest], document: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UseCaseError, match=complaint):
        run_split(split=document)


BRIDGED = [{**column, "role": "time"} if column["name"] == "day" else column for column in COLUMNS]
BRIDGED = [{**column, "role": "feature"} if column["name"] == "customer" else column for column in BRIDGED]
BRIDGE = {
    "data": {"source": {"kind": "csv", "path": "data.csv"}, "columns": BRIDGED},
    "features": [{"kind": "one_hot", "columns": ["customer"]}],
    "split": {"kind": "random"},
}


def test_before_a_change_of_schema_rows_are_in_train_or_in_no_part(run_split: Callable[..., SplitManifest]) -> None:
    group = {"since": "2013-01-15", "groups": {"customer": {"everyone": ["c0", "c1"]}}}

    with_bridge = run_split(**BRIDGE, bridge=group)

    new = 17 * 8
    judged = sum(with_bridge.parts[part].rows for part in ("validation", "calibration", "test"))
    assert judged < new
    assert with_bridge.left_out > 0
    assert with_bridge.left_out + judged + with_bridge.parts["train"].rows == 31 * 8


def test_an_old_value_after_the_change_is_refused(run_split: Callable[..., SplitManifest]) -> None:
    group = {"since": "2013-01-15", "groups": {"customer": {"c3": ["c0", "c1"]}}}

    with pytest.raises(
        DataError, match="17 rows of 2013-01-15 or later have 'customer' = 'c3'; expected one of c0, c1"
    ):
        run_split(**BRIDGE, bridge=group)


def test_no_row_of_the_new_schema_at_all_is_refused(run_split: Callable[..., SplitManifest]) -> None:
    group = {"since": "2014-01-01", "groups": {"customer": {"everyone": ["c0", "c1"]}}}

    with pytest.raises(
        DataError,
        match="leaves no row for validation, calibration, test out of 248 rows; before 2014-01-01, rows are for train",
    ):
        run_split(**BRIDGE, bridge=group)


@pytest.mark.parametrize(
    ("bridge", "complaint"),
    [
        ({"groups": {"customer": {"all": ["c0"], "some": ["c0"]}}}, "'c0' is listed 2 times, under 'all', 'some'"),
        ({"added": ["size"]}, r"bridge\.added: column 'size' is not nullable"),
        ({"groups": {"shop": {"all": ["c0"]}}}, r"bridge\.groups names 'shop', which is no feature"),
    ],
)
def test_a_bridge_that_does_not_fit_is_refused_when_the_file_is_read(
    run_split: Callable[..., SplitManifest], bridge: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UseCaseError, match=complaint):
        run_split(**BRIDGE, bridge={"since": "2013-01-15", **bridge})


def test_a_bridge_to_a_column_that_no_feature_reads_is_refused(run_split: Callable[..., SplitManifest]) -> None:
    columns = [{**column, "role": "feature"} if column["name"] == "customer" else column for column in BRIDGED]
    group = {"since": "2013-01-15", "groups": {"customer": {"everyone": ["c0", "c1"]}}}

    with pytest.raises(UseCaseError, match="bridge names 'customer', which no feature reads"):
        run_split(
            **{**BRIDGE, "data": {**BRIDGE["data"], "columns": columns}, "features": DOCUMENT["features"]}, bridge=group
        )
