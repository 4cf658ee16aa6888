"""Cutting rows into slices: by the values of a column, by quantiles of a number, or by several columns at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract, Role, TableContract

MISSING = "(missing)"

# A number with more values than this is cut into quantiles.
_MOST_VALUES = 12
_QUANTILES = (0.25, 0.5, 0.75)


def _as_columns(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Columns = Annotated[tuple[str, ...], BeforeValidator(_as_columns), Field(min_length=1)]
"""Of a rule: one column, or several whose combinations are meant."""


@dataclass(frozen=True, eq=False)
class Cut:
    """Rows in slices that do not overlap.

    Attributes
    ----------
    columns
        What was cut by.
    codes
        Slice of each row, shape (N,).
    labels
        Per slice, the value of each column in words.
    """

    columns: tuple[str, ...]
    codes: NDArray[np.int64]
    labels: tuple[tuple[str, ...], ...]

    def named(self, code: int) -> dict[str, str]:
        """Return a slice as column to value."""
        return dict(zip(self.columns, self.labels[code], strict=True))

    def with_rows(self, fewest: int) -> Cut:
        """Return only the slices of ``fewest`` rows or more; rows of the others get the code -1."""
        rows = np.bincount(self.codes[self.codes >= 0], minlength=len(self.labels))
        kept = np.flatnonzero(rows >= fewest)
        new = np.full(len(self.labels) + 1, -1)
        new[kept] = np.arange(len(kept))
        return Cut(self.columns, new[self.codes], tuple(self.labels[code] for code in kept.tolist()))

    def crossed(self, other: Cut) -> Cut:
        """Return the slices by both; rows that are in no slice of one of them are in none of these."""
        inside = (self.codes >= 0) & (other.codes >= 0)
        both = np.where(inside, self.codes * len(other.labels) + other.codes, -1)
        found, codes = np.unique(both, return_inverse=True)
        first = int(len(found) > 0 and found[0] < 0)
        labels = [
            self.labels[code // len(other.labels)] + other.labels[code % len(other.labels)]
            for code in found[first:].tolist()
        ]
        return Cut(self.columns + other.columns, codes.astype(np.int64) - first, tuple(labels))


def cut(table: pl.DataFrame, columns: TableContract, names: Sequence[str]) -> Cut:
    """Return the rows cut by the values of some columns.

    A number of more than 12 values is cut at its quartiles in these rows; what is missing is a slice of its own.
    """
    whole = _by_one(table.get_column(names[0]), columns[names[0]])
    for name in names[1:]:
        whole = whole.crossed(_by_one(table.get_column(name), columns[name]))
    return whole


def _by_one(series: pl.Series, column: ColumnContract) -> Cut:
    is_number = column.type in ("integer", "number")
    if is_number and series.drop_nulls().n_unique() > _MOST_VALUES:
        return _by_quantiles(series, column)
    texts = series.cast(pl.String).fill_null(MISSING).to_numpy()
    if is_number:
        values = np.unique(series.drop_nulls().to_numpy())
        order = {f"{value}": place for place, value in enumerate(values)}
        labels = sorted(set(texts), key=lambda text: order.get(text, len(order)))
    else:
        labels = sorted(set(texts))
    place = {text: code for code, text in enumerate(labels)}
    return Cut((column.name,), np.array([place[text] for text in texts], dtype=np.int64), tuple((t,) for t in labels))


def _by_quantiles(series: pl.Series, column: ColumnContract) -> Cut:
    values = series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    edges = np.unique(np.nanquantile(values, _QUANTILES))
    codes = np.searchsorted(edges, values, side="left")
    names = [f"up to {edges[0]:g}"]
    names += [f"above {low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
    names += [f"above {edges[-1]:g}", MISSING]
    missing = np.isnan(values)
    codes[missing] = len(names) - 1
    return Cut((column.name,), codes.astype(np.int64), tuple((name,) for name in names)).with_rows(1)


def refuse_bad_cut(table: TableContract, names: Sequence[str], rule: str) -> None:
    """Refuse columns that rows cannot be cut by.

    Raises
    ------
    ValueError
        One does not exist, is the target, is a date, or is private, so that its values must not be in a report.
    """
    for name in names:
        if name not in table.names:
            raise ValueError(f"{rule} names column {name!r}, which is not in data.columns: {', '.join(table.names)}")
        if not _can_be_cut(table[name]):
            raise ValueError(
                f"{rule}: rows cannot be cut by {name!r}; expected a column that is neither target, date nor private"
            )


def searched(table: TableContract, contract: PredictionContract) -> tuple[str, ...]:
    """Return the columns that are searched for weak slices unless others are named: what the predictor takes."""
    return tuple(column.name for column in contract.inputs if _can_be_cut(table[column.name]))


def _can_be_cut(column: ColumnContract) -> bool:
    return Role.TARGET not in column.role and not column.private and column.type not in ("date", "timestamp")
