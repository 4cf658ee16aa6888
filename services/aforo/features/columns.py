"""Raw columns of a table as arrays, in the two forms that features and graphs know: numbers and texts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from aforo.errors import DataError

_TEXT_TYPES = (pl.String, pl.Categorical, pl.Enum)


def is_text(table: pl.DataFrame, name: str) -> bool:
    """Whether the column holds texts; numbers and booleans do not."""
    return isinstance(_column(table, name).dtype, _TEXT_TYPES)


def texts(table: pl.DataFrame, name: str) -> pl.Series:
    """Return the column as strings of shape (N,), "" where the value is missing."""
    return _column(table, name).cast(pl.String).fill_null("")


def numbers(table: pl.DataFrame, name: str) -> npt.NDArray[np.float64]:
    """Return the column as float64 of shape (N,), NaN where the value is missing; booleans are 0 and 1."""
    column = _column(table, name)
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean or column.dtype == pl.Null):
        raise DataError(
            f"column {name!r} is of type {column.dtype}; expected numbers or booleans",
            hint="use `one_hot` or `ordinal` for texts",
        )
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64, copy=False)


def number_matrix(table: pl.DataFrame, names: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Return the columns side by side, of shape (N, C)."""
    matrix = np.empty((table.height, len(names)))
    for position, name in enumerate(names):
        matrix[:, position] = numbers(table, name)
    return matrix


def _column(table: pl.DataFrame, name: str) -> pl.Series:
    if name not in table.columns:
        raise DataError(f"the table has no column {name!r}; it has: {', '.join(table.columns)}")
    return table.get_column(name)
