"""What each type of the contract accepts, and that nothing else gets through."""

# ruff: noqa: DTZ001 - timestamps without a zone are among what sources bring

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aforo.contracts.table import ColumnType
from aforo.data.casting import DTYPES, cast, normalise
from aforo.errors import DataError

UTC = dt.UTC


@pytest.mark.parametrize(
    ("to", "text", "value"),
    [
        ("integer", "7", 7),
        ("integer", " -7 ", -7),
        ("integer", "7.0", 7),
        ("integer", "1e3", 1000),
        ("integer", "9007199254740992", 2**53),
        ("number", "7", 7.0),
        ("number", " 1.5e-3", 0.0015),
        ("number", ".5", 0.5),
        ("boolean", "true", True),
        ("boolean", "F", False),
        ("boolean", "1", True),
        ("date", "2013-01-31", dt.date(2013, 1, 31)),
        ("timestamp", "2013-01-31T10:00:00Z", dt.datetime(2013, 1, 31, 10, tzinfo=UTC)),
        ("timestamp", "2013-01-31 10:00:00", dt.datetime(2013, 1, 31, 10, tzinfo=UTC)),
        ("timestamp", "2013-01-31T10:00", dt.datetime(2013, 1, 31, 10, tzinfo=UTC)),
        ("timestamp", "2013-01-31", dt.datetime(2013, 1, 31, tzinfo=UTC)),
        ("timestamp", "2013-01-31T10:00:00.25+02:00", dt.datetime(2013, 1, 31, 8, 0, 0, 250_000, tzinfo=UTC)),
        ("timestamp", "2013-01-31T10:00-0530", dt.datetime(2013, 1, 31, 15, 30, tzinfo=UTC)),
        ("timestamp", "2013-01-31 10:00:00+02", dt.datetime(2013, 1, 31, 8, tzinfo=UTC)),
        ("string", " Oslo ", " Oslo "),
    ],
)
def test_text_becomes_a_value(to: ColumnType, text: str, value: object) -> None:
    # Beside a stranger, so that no parser can settle on one form for the whole column.
    cast_ = cast(pl.Series([text, "2001-02-03T04:05:06Z" if to == "timestamp" else None]), to)

    assert cast_.dtype == DTYPES[to]
    assert cast_[0] == value


@pytest.mark.parametrize(
    ("to", "text"),
    [
        ("integer", "seven"),
        ("integer", "7.5"),
        ("integer", "9007199254740993"),
        ("integer", "99999999999999999999"),
        ("integer", "0x10"),
        ("integer", "1,000"),
        ("integer", "NaN"),
        ("number", "3,14"),
        ("number", "inf"),
        ("number", "-Infinity"),
        ("number", "1e999"),
        ("number", "1_000"),
        ("boolean", "yes!"),
        ("boolean", "2"),
        ("date", "2013-02-30"),
        ("date", "31.01.2013"),
        ("date", "13-01-31"),
        ("date", "2013-01-31T00:00"),
        ("timestamp", "2013-01-31T25:00:00Z"),
        ("timestamp", "10:00"),
        ("timestamp", "1359626400"),
    ],
)
def test_text_that_does_not_fit_becomes_null(to: ColumnType, text: str) -> None:
    assert cast(pl.Series([text]), to).to_list() == [None]


@pytest.mark.parametrize(
    ("values", "to", "expected"),
    [
        (pl.Series([1, 2], dtype=pl.Int8), "integer", [1, 2]),
        (pl.Series([1, 2**64 - 1], dtype=pl.UInt64), "integer", [1, None]),
        (pl.Series([1.0, 1.5, 1e300]), "integer", [1, None, None]),
        (pl.Series([Decimal("2.00"), Decimal("2.50")]), "integer", [2, None]),
        (pl.Series([1, 2**53 + 1]), "number", [1.0, None]),
        (pl.Series([0.5, float("inf")], dtype=pl.Float32), "number", [0.5, None]),
        (pl.Series([0, 1, 2]), "boolean", [False, True, None]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), "string", ["a", "b"]),
        (pl.Series([10, 20]), "string", ["10", "20"]),
        (pl.Series([dt.datetime(2013, 1, 1), dt.datetime(2013, 1, 1, 5)]), "date", [dt.date(2013, 1, 1), None]),
        (pl.Series([dt.date(2013, 1, 1)]), "timestamp", [dt.datetime(2013, 1, 1, tzinfo=UTC)]),
        (
            pl.Series([dt.datetime(2013, 1, 1, 5)]).dt.replace_time_zone("Europe/Oslo"),
            "timestamp",
            [dt.datetime(2013, 1, 1, 4, tzinfo=UTC)],
        ),
        (pl.Series([None, None]), "number", [None, None]),
    ],
)
def test_typed_values_become_the_contract_s_type(values: pl.Series, to: ColumnType, expected: list[Any]) -> None:
    assert cast(values, to).to_list() == expected
    assert cast(values, to).dtype == DTYPES[to]


@pytest.mark.parametrize(
    ("values", "to"),
    [
        (pl.Series("when", [dt.date(2013, 1, 1)]), "number"),
        (pl.Series("when", [dt.date(2013, 1, 1)]), "boolean"),
        (pl.Series("when", [1.5]), "string"),
        (pl.Series("when", [1]), "timestamp"),
        (pl.Series("when", [[1]]), "integer"),
    ],
)
def test_a_type_that_never_fits_is_refused(values: pl.Series, to: ColumnType) -> None:
    with pytest.raises(DataError, match=r"column 'when' has the type .* never fits"):
        cast(values, to)


def test_nan_and_the_empty_string_are_missing() -> None:
    assert normalise(pl.Series([1.0, float("nan")])).to_list() == [1.0, None]
    assert normalise(pl.Series(["", " ", None])).to_list() == [None, " ", None]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.none(), min_size=1))
def test_a_written_number_is_read_back_bit_for_bit(numbers: list[float | None]) -> None:
    text = pl.Series([None if number is None else repr(number) for number in numbers], dtype=pl.String)

    assert cast(text, "number").to_list() == numbers


@given(st.lists(st.integers(-(2**53), 2**53), min_size=1))
def test_a_written_integer_is_read_back_exactly(numbers: list[int]) -> None:
    assert cast(pl.Series([str(number) for number in numbers]), "integer").to_list() == numbers


@given(st.lists(st.datetimes(timezones=st.just(UTC), min_value=dt.datetime(1, 1, 2)), min_size=1))
def test_a_written_timestamp_is_read_back_exactly(moments: list[dt.datetime]) -> None:
    assert cast(pl.Series([moment.isoformat() for moment in moments]), "timestamp").to_list() == moments
