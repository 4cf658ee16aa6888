"""Bad rows, kept with the reason, the column and the value, so that a person can mend them."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from aforo.data.sources import BrokenRow
from aforo.storage import ObjectStore

SCHEMA = {
    "file": pl.String,
    "row": pl.Int64,
    "column": pl.String,
    "value": pl.String,
    "reason": pl.String,
    "record": pl.String,
}
"""Columns of the quarantine table: one line a problem, so that a row with two bad values has two lines.

``row`` is the record's number in its file, the first being 1; ``column`` is null where the row as a whole is at
fault; ``record`` is the row as the source gave it, in JSON.
"""

_SPILL_LINES = 100_000


class Quarantine:
    """Collects problems, in memory up to a bound and in files of ``folder`` beyond it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines: list[pl.DataFrame] = []
        self._held = 0
        self._spilled: list[Path] = []
        self.reasons: Counter[tuple[str | None, str]] = Counter()
        """How many lines there are of each (column, reason)."""

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def add_broken(self, file: str, broken: tuple[BrokenRow, ...]) -> None:
        """Add records that could not be read as rows."""
        if broken:
            self._add(
                pl.DataFrame(
                    {
                        "file": [file] * len(broken),
                        "row": [row.number for row in broken],
                        "column": [None] * len(broken),
                        "value": [None] * len(broken),
                        "reason": [row.reason for row in broken],
                        "record": [row.text for row in broken],
                    },
                    schema=SCHEMA,
                )
            )

    def add(
        self,
        file: str,
        numbers: npt.NDArray[np.int64],
        records: pl.DataFrame,
        reason: str,
        column: str | None = None,
        values: pl.Series | None = None,
    ) -> None:
        """Add one problem that some rows have in common.

        Parameters
        ----------
        numbers
            (N,) number of each row in ``file``.
        records
            (N rows) what the source gave.
        values
            (N,) the bad values.
        """
        count = len(numbers)
        self._add(
            pl.DataFrame(
                {
                    "file": pl.repeat(file, count, dtype=pl.String, eager=True),
                    "row": numbers,
                    "column": pl.repeat(column, count, dtype=pl.String, eager=True),
                    "value": pl.repeat(None, count, dtype=pl.String, eager=True)
                    if values is None
                    else values.cast(pl.String, strict=False),
                    "reason": pl.repeat(reason, count, dtype=pl.String, eager=True),
                    "record": records.select(pl.struct(pl.all()).struct.json_encode()).to_series(),
                },
                schema=SCHEMA,
            )
        )

    def store(self, store: ObjectStore) -> str | None:
        """Write the table under a key of its own content, and return the key; ``None`` if no row was bad."""
        if not self:
            return None
        self._spill()
        path = self._folder / "quarantine.parquet"
        # One part after the other: the lines of a large quarantine never meet in memory.
        pl.scan_parquet(self._spilled).sink_parquet(path, compression="zstd", row_group_size=_SPILL_LINES)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        key = f"snapshots/quarantine/{digest}.parquet"
        if not store.exists(key):
            store.upload(path, key, move=True)
        return key

    def examples(self, count: int) -> pl.DataFrame:
        """Return the first lines."""
        self._spill()
        return pl.scan_parquet(self._spilled).head(count).collect()

    def _add(self, lines: pl.DataFrame) -> None:
        for column, reason, number in lines.group_by("column", "reason").len().iter_rows():
            self.reasons[column, reason] += number
        self._lines.append(lines)
        self._held += lines.height
        if self._held >= _SPILL_LINES:
            self._spill()

    def _spill(self) -> None:
        if self._lines:
            path = self._folder / f"quarantine-{len(self._spilled):05}.parquet"
            pl.concat(self._lines).write_parquet(path)
            self._spilled.append(path)
            self._lines, self._held = [], 0
