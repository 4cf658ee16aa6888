"""Columns over windows, hidden from a share of the rows; why: `aforo.contracts.windows.WindowSpec`."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from aforo.contracts.windows import WindowSpec
from aforo.data.splits.keytext import fingerprint, key_text

_GRAIN = 1_000_000


def hide_windows(
    table: pl.DataFrame, windows: Sequence[WindowSpec], key: Sequence[str], *, where: pl.Series | None = None
) -> pl.DataFrame:
    """Return the rows, some of them without the columns over a window: all of one stream's, or none.

    A row is hidden from by the hash of its stream and its key alone, so neither the order of rows nor rows that are
    added later change it, and a split by the same key does not go with it.

    Parameters
    ----------
    key
        The columns that name a row; as in the contract, no fractions.
    where
        (N,) whether a row may be hidden from; by default all rows may.

    Examples
    --------
    >>> from aforo.contracts.windows import WindowSpec
    >>> window = WindowSpec.model_validate({
    ...     "stream": "departures", "known_at": "departed_at", "asked_at": "asked_at", "by": "origin", "hidden": 0.2,
    ...     "columns": {"departures_2h": {"kind": "count", "minutes": 120}},
    ... })
    >>> rows = pl.DataFrame({"flight": range(1, 11), "departures_2h": [7] * 10})
    >>> hide_windows(rows, [window], ["flight"]).get_column("departures_2h").to_list()
    [7, None, 7, None, 7, 7, 7, 7, 7, 7]
    """
    for window in windows:
        if window.hidden:
            texts = [key_text(name, table.schema[name]) for name in key]
            drawn = fingerprint(pl.concat_str(pl.lit(window.stream), *texts, separator="\x1f")) % _GRAIN
            is_hidden = drawn < round(window.hidden * _GRAIN)
            if where is not None:
                is_hidden &= pl.lit(where)
            table = table.with_columns(pl.when(~is_hidden).then(pl.col(name)).alias(name) for name in window.columns)
    return table
