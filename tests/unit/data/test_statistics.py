"""Figures of columns, against sums in whole numbers and by hand."""

from __future__ import annotations

import polars as pl
import pytest

from aforo.data.statistics import TableStatistics


def figures(values: pl.Series):
    statistics = TableStatistics({"x": values.dtype})
    statistics.add(values.alias("x").to_frame())
    (column,) = statistics.columns()
    return column


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        (pl.Series([1, 2, None, 6]), 3.0),
        (pl.Series([-7, 3, 1]), -1.0),
        (pl.Series([100, 100, 100], dtype=pl.Int8), 100.0),
        (pl.Series([2**62, 2**62, 2**62, 2**62]), 2.0**62),
        (pl.Series([-(2**63), -(2**63)]), -(2.0**63)),
        (pl.Series([True, False, True, None]), 2 / 3),
        (pl.Series([0.25, 0.5]), 0.375),
    ],
)
def test_the_mean_is_that_of_the_values_that_are_there(values: pl.Series, mean: float) -> None:
    assert figures(values).mean == mean


def test_texts_are_counted_without_those_that_are_missing() -> None:
    column = figures(pl.Series(["Oslo", None, "Lima", "Oslo", None]))

    assert (column.nulls, column.minimum, column.maximum, column.top) == (2, "Lima", "Oslo", {"Oslo": 2, "Lima": 1})
