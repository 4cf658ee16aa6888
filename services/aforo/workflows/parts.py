"""The rows of a snapshot by part."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from aforo.contracts.run import PARTS, Part, SplitManifest
from aforo.errors import SnapshotDamaged
from aforo.workflows.wiring import Platform


@dataclass(frozen=True)
class Parts:
    """A snapshot's rows, and which part each belongs to.

    Attributes
    ----------
    table
        All rows (N), in the snapshot's order.
    codes
        (N,) position in ``PARTS`` of each row's part.
    """

    table: pl.DataFrame
    codes: pl.Series

    @classmethod
    def load(cls, split: SplitManifest, platform: Platform) -> Parts:
        """Load what the split step described."""
        table = platform.snapshots.load(split.snapshot_id)
        codes = platform.runs.read_table(split.membership).get_column("part")
        if len(codes) != table.height:
            raise SnapshotDamaged(
                f"{split.membership} places {len(codes)} rows; the snapshot has {table.height}",
                hint="start a new run",
            )
        return cls(table, codes)

    def of(self, *parts: Part) -> pl.DataFrame:
        """Return the rows of some parts, in the snapshot's order."""
        return self.table.filter(self.codes.is_in([PARTS.index(part) for part in parts]))
