"""What the columns of a table look like: counts, and a histogram or the frequencies of the values.

Rows come part by part and are counted into bins that are fixed beforehand, so that memory holds one part, and two
tables can be counted into the same bins.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aforo.contracts.specification import Specification
from aforo.data.statistics import ColumnStatistics, Extreme

MOST_VALUES = 1_000
"""A column of text with more different values than this has no frequencies."""

BINS = 40
"""Bins of a histogram that a person looks at."""

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class Histogram(Specification):
    """Rows per bin.

    Attributes
    ----------
    edges
        (B + 1,) in the column's unit; dates as days, timestamps as microseconds since 1970. Every bin but the last
        excludes its upper edge.
    counts
        (B,) rows.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class ColumnProfile(Specification):
    """One column.

    Attributes
    ----------
    type
        Of Polars, for example ``Int64``.
    histogram
        Of numbers, dates and timestamps, if any is there.
    frequencies
        Of texts and booleans, the most frequent first; ``None`` for more than 1,000 different values.
    """

    name: str
    type: str
    rows: int
    nulls: int
    histogram: Histogram | None = None
    frequencies: dict[str, int] | None = None

    @property
    def present(self) -> int:
        """Rows that have a value."""
        return self.rows - self.nulls

    @property
    def missing(self) -> float:
        """Share (0-1) of the rows without a value."""
        return self.nulls / self.rows if self.rows else 0.0


def is_ordered(dtype: pl.DataType) -> bool:
    """Whether a column's values lie on a line: numbers, dates and timestamps."""
    return dtype.is_numeric() or dtype.is_temporal()


def profile_of(
    parts: Iterable[pl.DataFrame], edges: Mapping[str, Floats], private: frozenset[str] = frozenset()
) -> tuple[ColumnProfile, ...]:
    """Return what the columns look like.

    Parameters
    ----------
    parts
        Rows, of one schema.
    edges
        Column to the edges of its bins, as `edges_of` gives them; values outside count into the outer bins.
    private
        Columns whose values must not show: they are only counted.
    """
    columns: list[_Column] = []
    for part in parts:
        columns = columns or [
            _Column(name, dtype, edges.get(name), is_private=name in private) for name, dtype in part.schema.items()
        ]
        for column in columns:
            column.add(part.get_column(column.name))
    return tuple(column.profile() for column in columns)


class Range(NamedTuple):
    """Extremes of an ordered column, as numbers; ``is_whole`` if nothing lies between two neighbours."""

    low: float
    high: float
    is_whole: bool

    def and_also(self, other: Range | None) -> Range:
        """Return the range that holds both."""
        if other is None:
            return self
        return Range(min(self.low, other.low), max(self.high, other.high), self.is_whole and other.is_whole)

    def edges(self, bins: int) -> Floats:
        """Return bins of equal width: one a value where the values are whole and few."""
        if self.is_whole and self.high - self.low < bins:
            return np.arange(self.low, self.high + 2, dtype=np.float64)
        return np.linspace(self.low, self.high if self.high > self.low else self.low + 1, bins + 1)


def edges_of(ranges: Iterable[Mapping[str, Range]], bins: int = BINS) -> dict[str, Floats]:
    """Return the edges of bins between the common extremes of several tables.

    Parameters
    ----------
    ranges
        For each table, column to extremes, as `range_of` or `recorded_ranges` gives them.
    """
    common: dict[str, Range] = {}
    for table in ranges:
        for name, found in table.items():
            common[name] = found.and_also(common.get(name))
    return {name: found.edges(bins) for name, found in common.items()}


def range_of(parts: Iterable[pl.DataFrame]) -> dict[str, Range]:
    """Return the extremes of the ordered columns that have values."""
    ranges: dict[str, Range] = {}
    for part in parts:
        for column in part.iter_columns():
            if is_ordered(column.dtype) and column.null_count() < len(column):
                values = as_numbers(column)
                found = Range(float(values.min()), float(values.max()), _is_whole(str(column.dtype)))
                ranges[column.name] = found.and_also(ranges.get(column.name))
    return ranges


def recorded_ranges(columns: Iterable[ColumnStatistics]) -> dict[str, Range]:
    """Return what `range_of` gives from a snapshot's manifest, without reading a row."""
    ranges = {}
    for column in columns:
        low, high = _recorded(column.minimum, column.type), _recorded(column.maximum, column.type)
        if low is not None and high is not None:
            ranges[column.name] = Range(low, high, _is_whole(column.type))
    return ranges


def _is_whole(kind: str) -> bool:
    return kind.startswith(("Int", "UInt")) or kind == "Date"


def _recorded(extreme: Extreme, kind: str) -> float | None:
    if isinstance(extreme, int | float) and not isinstance(extreme, bool):
        return float(extreme)
    if not isinstance(extreme, str) or not kind.startswith("Date"):
        return None
    moment = dt.datetime.fromisoformat(extreme)
    since = moment.replace(tzinfo=moment.tzinfo or dt.UTC) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return since / dt.timedelta(days=1) if kind == "Date" else since / dt.timedelta(microseconds=1)


def as_numbers(values: pl.Series) -> Floats:
    """Return the values that are there as float64: dates as days, timestamps as microseconds since 1970."""
    return values.drop_nulls().to_physical().cast(pl.Float64).to_numpy()


def as_text(number: float, kind: str) -> str:
    """Return an edge as a person reads it, for the type of its column."""
    if kind == "Date":
        return (dt.date(1970, 1, 1) + dt.timedelta(days=round(number))).isoformat()
    if kind.startswith("Datetime"):
        moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=number)
        return moment.strftime("%Y-%m-%d %H:%M")
    return f"{number:.4g}"


class _Column:
    def __init__(self, name: str, dtype: pl.DataType, edges: Floats | None, *, is_private: bool) -> None:
        self.name = name
        self._dtype = dtype
        self._edges = None if is_private else edges
        self._rows = 0
        self._nulls = 0
        self._counts: Integers | None = None
        self._values: Counter[str] | None = None
        if not is_private and not is_ordered(dtype):
            self._values = Counter()

    def add(self, values: pl.Series) -> None:
        self._rows += len(values)
        self._nulls += values.null_count()
        if self._edges is not None and is_ordered(self._dtype):
            self._bin(as_numbers(values), self._edges)
        elif self._values is not None:
            self._count(values)

    def _bin(self, numbers: Floats, edges: Floats) -> None:
        bins = len(edges) - 1
        # Equal widths: a product finds the bin, and what rounding put one too far is of no weight in a picture.
        places = ((numbers - edges[0]) * (bins / (edges[-1] - edges[0]))).astype(np.int64).clip(0, bins - 1)
        counts = np.bincount(places, minlength=bins)
        self._counts = counts if self._counts is None else self._counts + counts

    def _count(self, values: pl.Series) -> None:
        table = values.alias("value").drop_nulls().cast(pl.String).value_counts(name="rows")
        if self._values is None or table.height > MOST_VALUES:
            self._values = None
            return
        self._values.update(dict(zip(table.get_column("value"), table.get_column("rows"), strict=True)))
        if len(self._values) > MOST_VALUES:
            self._values = None

    def profile(self) -> ColumnProfile:
        histogram = None
        if self._edges is not None and self._counts is not None:
            histogram = Histogram(edges=tuple(self._edges.tolist()), counts=tuple(self._counts.tolist()))
        frequent = None if self._values is None else sorted(self._values.items(), key=lambda item: (-item[1], item[0]))
        return ColumnProfile(
            name=self.name,
            type=str(self._dtype),
            rows=self._rows,
            nulls=self._nulls,
            histogram=histogram,
            frequencies=None if frequent is None else dict(frequent),
        )
