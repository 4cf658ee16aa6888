"""Work once for each different row, where rows repeat."""

from __future__ import annotations

from collections.abc import Callable

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
    different = rows.unique(maintain_order=True)
    results = different.with_columns(work(different).alias(_RESULT))
    joined = rows.join(results, on=rows.columns, how="left", nulls_equal=True, maintain_order="left")
    return joined.get_column(_RESULT)
