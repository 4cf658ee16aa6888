from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from aforo.contracts.run import PARTS, Part
from aforo.use_case import UseCase
from aforo.workflows.parts import Parts

FLIGHTS = Path(__file__).parents[3] / "services" / "use_cases" / "flight_delay" / "use_case.yaml"
WINDOWS = ["departures_2h", "mean_delay_2h", "late_share_2h"]


def hiding(share: float) -> UseCase:
    document: dict[str, Any] = yaml.safe_load(FLIGHTS.read_text(encoding="utf-8"))
    document["data"]["windows"][0]["hidden"] = share
    return UseCase.model_validate(document)


@pytest.fixture
def table() -> pl.DataFrame:
    """A thousand flights of each part, by turns; all windows are known."""
    key = {"year": 2013, "month": 1, "day": 1, "sched_dep_time": 515, "carrier": "UA", "origin": "EWR"}
    windows = dict.fromkeys(WINDOWS, 1.5) | {"departures_2h": 2}
    return pl.DataFrame({"flight": range(4000)}).with_columns(
        pl.lit(value).alias(name) for name, value in (key | windows).items()
    )


@pytest.fixture
def codes(table: pl.DataFrame) -> pl.Series:
    return pl.Series("part", [number % len(PARTS) for number in range(table.height)], dtype=pl.UInt8)


@pytest.mark.parametrize("part", ["train", "validation", "calibration"])
def test_the_windows_of_some_rows_that_are_learnt_from_are_hidden(
    part: Part, table: pl.DataFrame, codes: pl.Series
) -> None:
    rows = Parts.placed(table, codes, hiding(0.2)).of(part)

    assert rows.height == 1000
    for name in WINDOWS:
        assert 150 <= rows.get_column(name).null_count() <= 250
    kept = [name for name in table.columns if name not in WINDOWS]
    assert rows.select(kept).equals(table.filter(codes == PARTS.index(part)).select(kept))


def test_the_test_part_is_as_it_is_recorded(table: pl.DataFrame, codes: pl.Series) -> None:
    parts = Parts.placed(table, codes, hiding(0.2))

    assert parts.of("test").equals(table.filter(codes == PARTS.index("test")))
    assert parts.table.schema == table.schema


def test_the_rows_of_a_use_case_that_hides_nothing_are_as_they_are_recorded(
    table: pl.DataFrame, codes: pl.Series
) -> None:
    assert Parts.placed(table, codes, hiding(0)).table is table
