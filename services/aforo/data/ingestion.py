"""From a source to a snapshot, with an account of every row.

Each batch goes through the same steps: cast, join, derive, set aside, check. What is left is staged, repeated rows
are taken out when all have been seen, and the rest becomes a snapshot. Memory holds a few batches, one part and
the joined tables.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Self

import polars as pl
from pydantic import model_validator

from aforo.contracts.run import RowAccount
from aforo.contracts.table import ColumnContract, TableContract
from aforo.contracts.windows import EventStream, WindowSpec, event_streams
from aforo.data.casting import DTYPES
from aforo.data.checks import violations
from aforo.data.joining import Join
from aforo.data.parts import PartWriter
from aforo.data.quarantine import Quarantine
from aforo.data.snapshots import Snapshots
from aforo.data.sources import Source
from aforo.data.sources.reader import first_rows
from aforo.data.staging import Staged, Staging
from aforo.data.validation import Validation
from aforo.data.windows import EventCollector
from aforo.errors import DataError, SourceError, TooManyBadRows
from aforo.settings import Settings
from aforo.storage import ObjectStore

logger = logging.getLogger(__name__)


class DataSpec(TableContract):
    """The table contract, with where its columns come from.

    A column is joined if a join names it, windowed if a window does, derived if it has an ``expression``, and read from
    ``source`` otherwise.
    """

    source: Source
    joins: tuple[Join, ...] = ()
    windows: tuple[WindowSpec, ...] = ()

    @property
    def read_columns(self) -> tuple[str, ...]:
        """Names of the columns that ``source`` gives."""
        joined = {name for join in self.joins for name in join.columns}
        return tuple(c.name for c in self.own_columns if c.expression is None and c.name not in joined)

    @property
    def own_columns(self) -> tuple[ColumnContract, ...]:
        """The columns that a row has by itself: all but those over windows."""
        windowed = {name for window in self.windows for name in window.columns}
        return tuple(column for column in self.columns if column.name not in windowed)

    @property
    def streams(self) -> tuple[EventStream, ...]:
        """The windows, with the contracts of their columns."""
        return event_streams(self.windows, self)

    @model_validator(mode="after")
    def _windows_fit_the_columns(self) -> Self:
        if len({window.stream for window in self.windows}) < len(self.windows):
            raise ValueError("two windows are over streams of one name; put their columns together, or rename one")
        event_streams(self.windows, self)
        return self

    @model_validator(mode="after")
    def _every_column_comes_from_one_place(self) -> Self:
        windowed = Counter(name for window in self.windows for name in window.columns)
        joined = windowed + Counter(name for join in self.joins for name in join.columns)
        derived = {column.name for column in self.columns if column.expression is not None}
        for name, count in joined.items():
            if name not in self.names:
                raise ValueError(f"a join gives the column {name!r}, which is not in columns")
            if count > 1 or name in derived:
                raise ValueError(f"column {name!r} comes from two places; keep one join, window or expression")
        if not self.read_columns:
            raise ValueError("no column is read from the source; expected one at least")
        known = set(self.read_columns)
        for join in self.joins:
            for name in join.on:
                if name not in known:
                    raise ValueError(f"a join is on {name!r}, which is neither read nor joined before it")
            known.update(join.columns)
        for name in self.source.columns:
            if name not in self.read_columns:
                raise ValueError(f"source.columns names {name!r}, which is not read from the source")
        return self


@dataclass(frozen=True)
class Ingested:
    """What became of the rows.

    Attributes
    ----------
    quarantine
        Object key of the quarantine table, ``None`` if every row was good.
    reused
        Whether the snapshot was there already.
    """

    snapshot_id: str
    rows: RowAccount
    quarantine: str | None
    reused: bool


def ingest(
    spec: DataSpec,
    *,
    folder: Path,
    store: ObjectStore,
    settings: Settings,
    progress: Callable[[int], None],
    limit: int | None = None,
) -> Ingested:
    """Read, join, validate, and take a snapshot; nothing is left behind half written.

    Parameters
    ----------
    folder
        The use case's folder, where relative paths start.
    progress
        Called after each batch with the number of rows in it.
    limit
        Read only this many rows, the first ones.

    Raises
    ------
    SourceError
        The source cannot be read, lacks columns, or has no rows.
    TooManyBadRows
        More rows are bad than ``max_bad_rows``; their quarantine table is kept, and the message says where.
    DataError
        No row is left.
    """
    reader = spec.source.open(folder, settings)
    names = {name: spec.source.columns.get(name, name) for name in spec.read_columns}
    schema = {column.name: DTYPES[column.type] for column in spec.own_columns}
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aforo-ingest-")))
        staging = stack.enter_context(Staging(temporary / "staging", schema, spec.key))
        collectors = [
            stack.enter_context(EventCollector(stream, temporary / "events" / stream.stream)) for stream in spec.streams
        ]
        quarantine = Quarantine(temporary)
        own = spec.model_copy(update={"columns": spec.own_columns})
        validation = Validation(own, spec.joins, quarantine, folder, settings, collectors)
        read = 0
        for batch in first_rows(reader.batches(list(dict.fromkeys(names.values()))), limit):
            raw = batch.table.select(**names)
            quarantine.add_broken(batch.file, batch.broken)
            rows, numbers = validation.sift(raw, batch.numbers, batch.file)
            staging.add(rows, numbers, batch.file)
            read += raw.height + len(batch.broken)
            validation.quarantined += len(batch.broken)
            progress(raw.height + len(batch.broken))
        if not read:
            raise SourceError(f"{spec.source.name} has no rows below its header", hint="check the path or the query")
        staged = staging.finish(quarantine)
        if collectors:
            staged = _with_windows(staged, spec, collectors, temporary / "windowed")
        account = RowAccount(
            read=read,
            kept=sum(part.rows for part in staged.parts),
            quarantined=validation.quarantined + staged.same_key,
            duplicates=staged.same_row,
            set_aside=dict(validation.set_aside),
        )
        if not account.balances:
            raise AssertionError(f"rows were lost: {account}")
        key = quarantine.store(store)
        _refuse_too_many(spec, account, quarantine, key)
        if not account.kept:
            raise DataError(
                f"{spec.source.name}: none of {read} rows is left; set aside: {account.set_aside}",
                hint="check the conditions of set_aside",
            )
        snapshots = Snapshots(store)
        private = frozenset(column.name for column in spec.columns if column.private)
        manifest, reused = snapshots.publish(staged.parts, staged.statistics, source=spec.source.name, private=private)
    logger.info("snapshot taken", extra={"snapshot_id": manifest.snapshot_id, "reused": reused, **account.model_dump()})
    return Ingested(manifest.snapshot_id, account, key, reused)


def _with_windows(staged: Staged, spec: DataSpec, collectors: Sequence[EventCollector], folder: Path) -> Staged:
    """Return the rows with the columns over windows, one part in memory at a time."""
    every = [collector.finish() for collector in collectors]
    windowed = tuple(column for column in spec.columns if column not in spec.own_columns)
    with PartWriter(folder, {column.name: DTYPES[column.type] for column in spec.columns}) as writer:
        for part in staged.parts:
            rows = pl.read_parquet(part.path)
            for panes in every:
                panes.refuse_own_events(rows, spec.source.name)
                rows = panes.add_columns_to(rows)
            rows = rows.with_columns(pl.col(column.name).cast(DTYPES[column.type]) for column in windowed)
            for violation in violations(rows, windowed):
                raise DataError(
                    f"{spec.source.name}: the window column {violation.column!r} {violation.reason} "
                    f"in {violation.rows.sum()} row(s)",
                    hint="widen its bounds in `columns`: they are of our own making",
                )
            writer.write(rows.select(spec.names))
            part.path.unlink()
        writer.close()
    return Staged(writer.parts, writer.statistics, same_row=staged.same_row, same_key=staged.same_key)


def _rows_in(share: float, rows: int) -> int:
    # In decimals, as the share was written: 0.29 of 100 rows are 29, and not 28.999...
    return int(Decimal(str(share)) * rows)


def _refuse_too_many(spec: DataSpec, account: RowAccount, quarantine: Quarantine, key: str | None) -> None:
    limit = spec.max_bad_rows if isinstance(spec.max_bad_rows, int) else _rows_in(spec.max_bad_rows, account.read)
    if account.quarantined <= limit:
        return
    private = {column.name for column in spec.columns if column.private}
    lines = [f"  {count} x {column or 'row'} {reason}" for (column, reason), count in quarantine.reasons.most_common(5)]
    shown = []
    for file, row, column, value, reason, _ in quarantine.examples(5).iter_rows():
        is_shown = value is not None and private.isdisjoint((column or "").split(", "))
        shown.append(f"  {file} row {row}: {column or 'row'}{f' = {value!r}' if is_shown else ''} {reason}")
    raise TooManyBadRows(
        "\n".join(
            [
                f"{spec.source.name}: {account.quarantined} of {account.read} rows are bad; allowed are {limit}",
                "most frequent:",
                *lines,
                "first:",
                *shown,
            ]
        ),
        hint=f"see {key} in the store for all of them; mend the source, correct the contract, or raise max_bad_rows",
    )
