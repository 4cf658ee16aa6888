"""The rows of a snapshot by part."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from aforo.contracts.run import PARTS, Part, SplitManifest
from aforo.data.hiding import hide_windows
from aforo.errors import SnapshotDamaged
from aforo.use_case import UseCase
from aforo.workflows.wiring import Platform


@dataclass(frozen=True)
class Parts:
    """A snapshot's rows, and which part each belongs to.

    Attributes
    ----------
    table
        All rows (N), in the snapshot's order. Those of test are as they are recorded; from a share of the others the
        columns over windows are hidden, where the use case says so.
    codes
        (N,) position in ``PARTS`` of each row's part.
    """

    table: pl.DataFrame
    codes: pl.Series

    @classmethod
    def load(cls, split: SplitManifest, use_case: UseCase, platform: Platform) -> Parts:
        """Load what the split step described."""
        table = platform.snapshots.load(split.snapshot_id)
        codes = platform.runs.read_table(split.membership).get_column("part")
        if len(codes) != table.height:
            raise SnapshotDamaged(
                f"{split.membership} places {len(codes)} rows; the snapshot has {table.height}",
                hint="start a new run",
            )
        return cls.placed(table, codes, use_case)

    @classmethod
    def placed(cls, table: pl.DataFrame, codes: pl.Series, use_case: UseCase) -> Parts:
        """Return the rows of a snapshot as a use case learns from them and is tested on them."""
        is_learnt_from = codes != PARTS.index("test")
        return cls(hide_windows(table, use_case.data.windows, use_case.data.key, where=is_learnt_from), codes)

    def of(self, *parts: Part) -> pl.DataFrame:
        """Return the rows of some parts, in the snapshot's order."""
        return self.table.filter(self.codes.is_in([PARTS.index(part) for part in parts]))
