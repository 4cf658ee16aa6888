"""Kept rows on their way into a snapshot, and which of them repeat an earlier one.

Rows are written into parts as they come, beside a file with a hash of each key (8 bytes a row) and one with the rows'
numbers in their source (16 bytes for each run of consecutive numbers). So the memory that is needed does not grow with
the table. When all rows are there, hashes that occur
twice point at the suspects, and only those are compared value by value. Memory grows with the repeated rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from aforo.data.parts import Part, PartWriter
from aforo.data.quarantine import Quarantine
from aforo.data.statistics import TableStatistics

_ORDINAL = "row ordinal"

SAME_ROW = "repeats an earlier row"
SAME_KEY = "has the key of an earlier row, and other values"


class Staging:
    """Collects kept rows in ``folder``.

    Parameters
    ----------
    key
        Columns that identify a row; empty if its whole content does.
    hash_rows
        From rows to (N,) uint64. Rows of equal hash are compared value by value.
    rows_per_part, hashes_at_once
        How much is held in memory at a time.
    """

    def __init__(
        self,
        folder: Path,
        schema: dict[str, pl.DataType],
        key: tuple[str, ...],
        *,
        hash_rows: Callable[[pl.DataFrame], pl.Series] = pl.DataFrame.hash_rows,
        rows_per_part: int | None = None,
        hashes_at_once: int = 1 << 24,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._schema = schema
        self._key = list(key or schema)
        self._hash = hash_rows
        self._rows_per_part = rows_per_part
        self._hashes_at_once = hashes_at_once
        self._writer = PartWriter(folder / "first", schema, rows_per_part)
        self._hashes = folder / "hashes"
        self._runs = folder / "runs"
        self._hashes.touch()
        self._files: list[tuple[int, str]] = []
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._writer.__exit__(*details)

    def add(self, rows: pl.DataFrame, numbers: npt.NDArray[np.int64], file: str) -> None:
        """Append rows, with the number of each in ``file``."""
        if not self._files or self._files[-1][1] != file:
            self._files.append((self.rows, file))
        _append(self._hash(rows.select(self._key)).to_numpy(), self._hashes)
        _append(_runs_of(numbers, self.rows), self._runs)
        self._writer.write(rows)
        self.rows += rows.height

    def finish(self, quarantine: Quarantine) -> Staged:
        """Take out the rows that repeat an earlier one; the first stays. Each goes to the quarantine table."""
        parts = self._writer.close()
        suspects = self._suspects(parts)
        repeats = suspects.filter(~pl.struct(self._key).is_first_distinct())
        if not repeats.height:
            return Staged(parts, self._writer.statistics, same_row=0, same_key=0)
        same_row = self._equals_the_first(suspects, repeats)
        for reason, rows in ((SAME_ROW, repeats.filter(same_row)), (SAME_KEY, repeats.filter(~same_row))):
            self._report(rows, reason, quarantine)
        with PartWriter(self._folder / "kept", self._schema, self._rows_per_part) as kept:
            for part, first in _with_ordinals(parts):
                kept.write(pl.read_parquet(part.path).filter(_stays(repeats.get_column(_ORDINAL), first, part.rows)))
                part.path.unlink()
            kept.close()
        count = int(same_row.sum())
        return Staged(kept.parts, kept.statistics, same_row=count, same_key=repeats.height - count)

    def _repeated_hashes(self) -> npt.NDArray[np.uint64]:
        """Hashes that occur more than once, found range by range to keep the sorted piece small."""
        ranges = max(1, -(-self.rows // self._hashes_at_once))
        edges = [2**64 * index // ranges for index in range(ranges + 1)]
        found = []
        for low, high in pairwise(edges):
            pieces = []
            with self._hashes.open("rb") as file:
                while (piece := np.fromfile(file, dtype=np.uint64, count=self._hashes_at_once)).size:
                    inside = piece if ranges == 1 else piece[(piece >= low) & (piece <= high - 1)]
                    pieces.append(inside)
            ordered = np.sort(np.concatenate(pieces)) if pieces else np.empty(0, dtype=np.uint64)
            found.append(np.unique(ordered[1:][ordered[1:] == ordered[:-1]]))
        return np.concatenate(found)

    def _suspects(self, parts: list[Part]) -> pl.DataFrame:
        """The rows whose key's hash occurs more than once, with their ordinals."""
        repeated = pl.Series(self._repeated_hashes(), dtype=pl.UInt64)
        frames = [pl.DataFrame(schema={**self._schema, _ORDINAL: pl.Int64()})]
        if len(repeated):
            for part, first in _with_ordinals(parts):
                rows = pl.read_parquet(part.path)
                ordinals = pl.int_range(first, first + part.rows, dtype=pl.Int64, eager=True).alias(_ORDINAL)
                frames.append(rows.with_columns(ordinals).filter(self._hash(rows.select(self._key)).is_in(repeated)))
        return pl.concat(frames)

    def _equals_the_first(self, suspects: pl.DataFrame, repeats: pl.DataFrame) -> pl.Series:
        """For each repeat, whether it equals the first row of its key in every column."""
        others = [name for name in self._schema if name not in self._key]
        if not others:
            return pl.repeat(True, repeats.height, dtype=pl.Boolean, eager=True)
        firsts = suspects.filter(pl.struct(self._key).is_first_distinct())
        pairs = repeats.join(firsts, on=self._key, how="left", suffix=" first", maintain_order="left")
        equal = [pl.col(name).eq_missing(pl.col(f"{name} first")) for name in others]
        return pairs.select(pl.all_horizontal(equal)).to_series()

    def _report(self, rows: pl.DataFrame, reason: str, quarantine: Quarantine) -> None:
        runs = np.memmap(self._runs, dtype=np.int64, mode="r").reshape(-1, 2)
        starts = [start for start, _ in self._files]
        rows = rows.with_columns(
            pl.Series("source file", np.searchsorted(starts, rows[_ORDINAL].to_numpy(), side="right") - 1)
        )
        for (file,), group in rows.group_by("source file", maintain_order=True):
            records = group.select(list(self._schema))
            text = group.select(pl.concat_str([pl.col(name).cast(pl.String) for name in self._key], separator=", "))
            quarantine.add(
                self._files[int(file)][1],
                _numbers_at(group[_ORDINAL].to_numpy(), runs),
                records,
                reason,
                ", ".join(self._key),
                text.to_series(),
            )


class Staged:
    """Distinct rows in parts, and how many were taken out.

    Attributes
    ----------
    same_row
        Repeats of an earlier row in every column: harmless.
    same_key
        Rows with the key of an earlier row and other values: one of the two is wrong.
    """

    def __init__(self, parts: list[Part], statistics: TableStatistics, *, same_row: int, same_key: int) -> None:
        self.parts = parts
        self.statistics = statistics
        self.same_row = same_row
        self.same_key = same_key


def _stays(gone: pl.Series, first: int, rows: int) -> pl.Series:
    """For each of ``rows`` rows from the ordinal ``first`` on, whether it is not among the ``gone``."""
    stays = np.ones(rows, dtype=np.bool_)
    stays[gone.filter(gone.is_between(first, first + rows - 1)).to_numpy() - first] = False
    return pl.Series(stays)


def _append(values: npt.NDArray[np.int64] | npt.NDArray[np.uint64], path: Path) -> None:
    with path.open("ab") as file:
        values.tofile(file)


def _runs_of(numbers: npt.NDArray[np.int64], first: int) -> npt.NDArray[np.int64]:
    """(R, 2) where each run of consecutive numbers starts: the row's ordinal, and its number."""
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 2) != 1)
    return np.column_stack([starts + first, numbers[starts]])


def _numbers_at(ordinals: npt.NDArray[np.int64], runs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N,) number of each row, from the runs that its ordinal is in."""
    run = np.searchsorted(runs[:, 0], ordinals, side="right") - 1
    return np.asarray(runs[run, 1] + ordinals - runs[run, 0])


def _with_ordinals(parts: list[Part]) -> Iterator[tuple[Part, int]]:
    """Each part with the ordinal of its first row."""
    first = 0
    for part in parts:
        yield part, first
        first += part.rows
