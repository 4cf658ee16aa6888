"""Work once for each different row, where rows repeat."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl

# How many rows say whether the others repeat.
_FIRST_ROWS = 10_000
# No column of a contract is called so.
_RESULT = "\x1f result"


def do_repeat(rows: pl.DataFrame) -> bool:
    """Whether the first rows are few different ones: then once for each is cheaper than once for every row."""
    first = rows.head(_FIRST_ROWS)
    return first.height == _FIRST_ROWS and first.n_unique() * 4 < _FIRST_ROWS


def once_each(rows: pl.DataFrame, work: Callable[[pl.DataFrame], pl.Series]) -> pl.Series:
    """Return what ``work`` gives for each row (N,), asked once for each different row, in the order they come in."""
    starts = _starts_of_runs(rows)
    if len(starts) * 4 < rows.height:
        # In a table sorted by these columns, equal rows follow each other, and nothing need be looked up.
        few = once_each(rows[starts], work)
        return few.gather(np.repeat(np.arange(len(starts)), np.diff(starts, append=rows.height)))
    different = rows.unique(maintain_order=True)
    results = different.with_columns(work(different).alias(_RESULT))
    joined = rows.join(results, on=rows.columns, how="left", nulls_equal=True, maintain_order="left")
    return joined.get_column(_RESULT)


def _starts_of_runs(rows: pl.DataFrame) -> npt.NDArray[np.int64]:
    """(R,) where a row differs from the one before it; the first row is such a place."""
    is_first = pl.int_range(pl.len()) == 0
    differs = rows.select(is_first.or_(pl.any_horizontal(pl.all().ne_missing(pl.all().shift())))).to_series()
    return np.flatnonzero(differs.to_numpy())
