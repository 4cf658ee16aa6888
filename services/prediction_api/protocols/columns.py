"""Requests that come as whole columns: how they become rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from prediction_api.decoding import RowDecoder
from prediction_api.explaining import Faults, Row, Value, check_value
from prediction_api.problems import pointer


class GivenColumn(NamedTuple):
    """The values of a column as they came, and the path to them in the request."""

    values: list[Any]
    where: tuple[str | int, ...]


def rows_of_columns(columns: Mapping[str, GivenColumn], decoder: RowDecoder, faults: Faults) -> list[Row]:
    """Return the rows of columns that came under ``inputs``; of no meaning if faults were found, by now or before.

    Parameters
    ----------
    columns
        One that may be missing may be left out.
    """
    lengths = {len(column.values) for column in columns.values()}
    if len(lengths) > 1 and not faults.count:
        faults.add(pointer("inputs"), "wrong_length", f"columns of different lengths: {sorted(lengths)}")
    count = max(lengths, default=0)
    if not faults.count:
        rows = decoder.rows_of({name: column.values for name, column in columns.items()}, count)
        if rows is not None:
            return rows
    missing: list[Value] = [None] * count
    checked = [missing] * len(decoder.columns)
    for place, column in enumerate(decoder.columns):
        if column.name in columns:
            values, where = columns[column.name]
            checked[place] = [check_value(value, column, pointer(*where, i), faults) for i, value in enumerate(values)]
    return [] if faults.count else list(zip(*checked, strict=True))


def without_rows_of_one(values: list[Any]) -> list[Any]:
    """Return ``values`` with arrays of one value unwrapped, as they come from a column of shape (N, 1)."""
    if list not in map(type, values):
        return values
    return [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]
