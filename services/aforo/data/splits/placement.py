"""Where a split puts the rows of a table that comes part by part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aforo.data.splits.digest import SplitDigest
from aforo.data.splits.strategy import LEFT_OUT, SplitStrategy


class Placement:
    """Gathers what a split does: nine bytes of memory a row, and the different values of the watched columns.

    Parameters
    ----------
    rows
        How many rows will be added in all.
    key
        Columns that identify a row; all if there are none.
    watched
        Columns to ask `where_are` about.
    """

    def __init__(
        self, strategy: SplitStrategy, *, rows: int, key: tuple[str, ...], watched: Sequence[str] = ()
    ) -> None:
        self._strategy = strategy
        self._key = key
        self._pairs: dict[str, list[pl.DataFrame]] = {name: [] for name in watched}
        self._codes: list[pl.Series] = []
        self._digest = SplitDigest(rows)
        self.counts: NDArray[np.int64] = np.zeros(LEFT_OUT + 1, dtype=np.int64)
        """Rows in each part, and those left out: (5,)."""

    def add(self, table: pl.DataFrame) -> pl.Series:
        """Place rows, and return the part of each: (N,) uint8."""
        codes = self._strategy.assign(table)
        self._codes.append(codes)
        self.counts += np.bincount(codes.to_numpy(), minlength=LEFT_OUT + 1)
        self._digest.add(table.select(self._key or table.columns), codes)
        for name, pairs in self._pairs.items():
            pairs.append(pl.DataFrame({name: table.get_column(name), "its part": codes}).unique())
        return codes

    @property
    def codes(self) -> pl.Series:
        """The part of every row that was added, in order: (N,) uint8."""
        return pl.concat(self._codes) if self._codes else pl.Series(dtype=pl.UInt8)

    def where_are(self, name: str) -> tuple[pl.Series, pl.Series]:
        """Return the values of a watched column, and with each a part that has it; every such pair once."""
        pairs = pl.concat(self._pairs[name]).unique(maintain_order=True)
        return pairs.get_column(name), pairs.get_column("its part")

    def hexdigest(self) -> str:
        """Return the digest of the split."""
        return self._digest.hexdigest()
