"""What a column looks like, gathered part by part."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any, cast

import polars as pl

from aforo.contracts.specification import Specification
from aforo.contracts.table import LARGEST_EXACT_INTEGER

_MOST_VALUES = 1_000
_TOP_VALUES = 20
# So many rows often show that a column has too many values to count.
_FIRST_ROWS = 10_000

Extreme = int | float | bool | str | None


class ColumnStatistics(Specification):
    """Figures of one column over all rows of a snapshot.

    Attributes
    ----------
    minimum, maximum
        Of the values that are there, dates and timestamps in ISO 8601; ``None`` if there are none.
    mean
        Of numbers and booleans.
    top
        The most frequent texts and how many rows have them; ``None`` for columns of more than 1,000
        different values, and for those that are not text.
    """

    name: str
    type: str
    nulls: int
    minimum: Extreme = None
    maximum: Extreme = None
    mean: float | None = None
    top: dict[str, int] | None = None


class TableStatistics:
    """Adds up the figures of all columns."""

    def __init__(self, schema: dict[str, pl.DataType]) -> None:
        self._columns = [_Column(name, dtype) for name, dtype in schema.items()]

    def add(self, rows: pl.DataFrame) -> None:
        for column in self._columns:
            column.add(rows.get_column(column.name))

    def columns(self, private: frozenset[str] = frozenset()) -> tuple[ColumnStatistics, ...]:
        """Return the figures; of ``private`` columns only those that show no value."""
        return tuple(
            ColumnStatistics(name=column.name, type=str(column.dtype), nulls=column.nulls)
            if column.name in private
            else column.figures()
            for column in self._columns
        )


class _Column:
    def __init__(self, name: str, dtype: pl.DataType) -> None:
        self.name = name
        self.dtype = dtype
        self.nulls = 0
        self._rows = 0
        self._sum = 0.0
        # Values of the column's own type, which is not known to the type checker.
        self._minimum: Any = None
        self._maximum: Any = None
        self._counts: Counter[str] | None = Counter() if dtype == pl.String else None

    def add(self, values: pl.Series) -> None:
        self.nulls += values.null_count()
        present = len(values) - values.null_count()
        if not present:
            return
        self._rows += present
        distinct = None if self._counts is None else self._count(values)
        # The extremes of a few different texts are found sooner than those of all rows.
        few = values if distinct is None else distinct
        low, high = cast("Any", few.min()), cast("Any", few.max())
        if self._minimum is None or low < self._minimum:
            self._minimum = low
        if self._maximum is None or high > self._maximum:
            self._maximum = high
        if self.dtype.is_numeric() or self.dtype == pl.Boolean:
            self._sum += self._sum_of(values, present, max(abs(low), abs(high)))

    @staticmethod
    def _sum_of(values: pl.Series, present: int, largest: float) -> float:
        if not values.dtype.is_float() and largest * present <= LARGEST_EXACT_INTEGER:
            # No sum on the way is more than float64 holds: the integers' own sum is the same.
            return float(values.sum())
        # In float64: a sum of large integers would overflow. In one piece: the sum of fractions depends on pieces.
        whole = values.rechunk() if values.dtype.is_float() else values
        return float(whole.cast(pl.Float64).sum())

    def _count(self, values: pl.Series) -> pl.Series | None:
        """Count the values, and return those that occur; ``None``, and no more counts, if they are too many."""
        assert self._counts is not None  # noqa: S101
        if values.head(_FIRST_ROWS).drop_nulls().n_unique() <= _MOST_VALUES:
            table = values.alias("value").value_counts(name="rows").drop_nulls("value")
            if table.height <= _MOST_VALUES:
                self._counts.update(dict(zip(table.get_column("value"), table.get_column("rows"), strict=True)))
            if table.height <= _MOST_VALUES and len(self._counts) <= _MOST_VALUES:
                return table.get_column("value")
        self._counts = None
        return None

    def figures(self) -> ColumnStatistics:
        counts = sorted(self._counts.items(), key=lambda item: (-item[1], item[0])) if self._counts else None
        return ColumnStatistics(
            name=self.name,
            type=str(self.dtype),
            nulls=self.nulls,
            minimum=_plain(self._minimum),
            maximum=_plain(self._maximum),
            mean=self._sum / self._rows
            if self._rows and (self.dtype.is_numeric() or self.dtype == pl.Boolean)
            else None,
            top=dict(counts[:_TOP_VALUES]) if counts else None,
        )


def _plain(value: object) -> Extreme:
    if isinstance(value, (dt.date, dt.datetime)):
        return value.isoformat()
    return value  # type: ignore[return-value]
