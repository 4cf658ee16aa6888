"""Snapshots: immutable tables, named by their content.

``snapshots/<id>/part-00000.parquet, ...`` and, written last, ``snapshots/<id>/manifest.json``: a snapshot without a
manifest does not exist. The id is the SHA-256 of the schema and of each part's SHA-256. Parts are written so that
their bytes depend on the rows alone (`aforo.data.parts`), which makes the id independent of folder, machine, time
and batch sizes. Another version of Polars may write other bytes, and so give the same rows another id.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import Field, ValidationError

from aforo.contracts.specification import Specification
from aforo.data.parts import Part, PartWriter
from aforo.data.statistics import ColumnStatistics, TableStatistics
from aforo.errors import DataError, SnapshotDamaged
from aforo.storage import ObjectMissing, ObjectStore


class PartRecord(Specification):
    """One Parquet file of a snapshot."""

    name: str
    rows: int
    size_bytes: int
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class SnapshotManifest(Specification):
    """What is in a snapshot.

    Attributes
    ----------
    snapshot_id
        SHA-256 of the content, in hex.
    source
        Where the rows came from when the snapshot was taken first; no part of the id.
    columns
        Names, types and figures, in the table's order.
    """

    format: Literal[1] = 1
    snapshot_id: str
    rows: int
    parts: tuple[PartRecord, ...]
    columns: tuple[ColumnStatistics, ...]
    source: str


class Snapshots:
    """The snapshots in a store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def take(
        self, frames: Iterable[pl.DataFrame], *, source: str, private: frozenset[str] = frozenset()
    ) -> SnapshotManifest:
        """Store the rows of all frames, in order, as one snapshot; the one that exists already, if it does.

        Parameters
        ----------
        frames
            One schema; at least one row in all.
        private
            Columns whose values must not appear in the manifest.
        """
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="aforo-snapshot-"))
            writer: PartWriter | None = None
            for frame in frames:
                writer = writer or stack.enter_context(PartWriter(Path(folder), dict(frame.schema)))
                writer.write(frame)
            if writer is None or not writer.close():
                raise DataError(f"{source}: there are no rows to take a snapshot of")
            manifest, _ = self.publish(writer.parts, writer.statistics, source=source, private=private)
            return manifest

    def publish(
        self,
        parts: Sequence[Part],
        statistics: TableStatistics,
        *,
        source: str,
        private: frozenset[str] = frozenset(),
    ) -> tuple[SnapshotManifest, bool]:
        """Move written parts into the store; return the manifest, and whether the snapshot was there already."""
        columns = statistics.columns(private)
        records = tuple(
            PartRecord(name=part.path.name, rows=part.rows, size_bytes=part.size_bytes, sha256=part.sha256)
            for part in parts
        )
        snapshot_id = _content_id(columns, records)
        if self.exists(snapshot_id):
            return self.read_manifest(snapshot_id), True
        for part in parts:
            self._store.upload(part.path, f"snapshots/{snapshot_id}/{part.path.name}", move=True)
        manifest = SnapshotManifest(
            snapshot_id=snapshot_id,
            rows=sum(part.rows for part in parts),
            parts=records,
            columns=columns,
            source=source,
        )
        self._store.write(_manifest_key(snapshot_id), manifest.model_dump_json(indent=2).encode(), if_absent=True)
        return manifest, False

    def exists(self, snapshot_id: str) -> bool:
        return self._store.exists(_manifest_key(snapshot_id))

    def read_manifest(self, snapshot_id: str) -> SnapshotManifest:
        """Return the manifest.

        Raises
        ------
        DataError
            There is no such snapshot.
        SnapshotDamaged
            The manifest is not the one that gave the snapshot its id.
        """
        try:
            text = self._store.read(_manifest_key(snapshot_id))
        except ObjectMissing as error:
            raise DataError(f"there is no snapshot {snapshot_id}", hint="ingest the data again") from error
        try:
            manifest = SnapshotManifest.model_validate_json(text)
        except ValidationError as error:
            raise SnapshotDamaged(f"the manifest of snapshot {snapshot_id} cannot be read: {error}") from error
        if _content_id(manifest.columns, manifest.parts) != snapshot_id:
            raise _damaged(snapshot_id, "its manifest was changed")
        return manifest

    def load(self, snapshot_id: str) -> pl.DataFrame:
        """Return all rows in memory; every part is compared with its recorded hash on the way."""
        return pl.concat(self.parts(snapshot_id))

    def parts(self, snapshot_id: str) -> Iterator[pl.DataFrame]:
        """Yield the rows part by part, each compared with its recorded hash: memory holds one part.

        Raises
        ------
        SnapshotDamaged
            A part is missing or was changed; the message names it.
        """
        for part in self.read_manifest(snapshot_id).parts:
            yield pl.read_parquet(io.BytesIO(self._whole(snapshot_id, part)))

    def scan(self, snapshot_id: str) -> pl.LazyFrame:
        """Return the rows lazily, for tables larger than memory; use `verify` where the hashes matter."""
        manifest = self.read_manifest(snapshot_id)
        urls = [self._store.url(f"snapshots/{snapshot_id}/{part.name}") for part in manifest.parts]
        return pl.scan_parquet(urls, storage_options=self._store.scan_options() or None, glob=False)

    def verify(self, snapshot_id: str) -> SnapshotManifest:
        """Compare every part with its recorded hash, and return the manifest.

        Raises
        ------
        SnapshotDamaged
            A part is missing or was changed; the message names it.
        """
        manifest = self.read_manifest(snapshot_id)
        for part in manifest.parts:
            self._whole(snapshot_id, part)
        return manifest

    def _whole(self, snapshot_id: str, part: PartRecord) -> bytes:
        try:
            data = self._store.read(f"snapshots/{snapshot_id}/{part.name}")
        except ObjectMissing as error:
            raise _damaged(snapshot_id, f"{part.name} is missing") from error
        found = hashlib.sha256(data).hexdigest()
        if found != part.sha256:
            raise _damaged(snapshot_id, f"{part.name} has the SHA-256 {found}, recorded was {part.sha256}")
        return data


def _manifest_key(snapshot_id: str) -> str:
    return f"snapshots/{snapshot_id}/manifest.json"


def _content_id(columns: Sequence[ColumnStatistics], parts: Sequence[PartRecord]) -> str:
    content = {
        "format": 1,
        "schema": [[column.name, column.type] for column in columns],
        "parts": [[part.rows, part.sha256] for part in parts],
    }
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def _damaged(snapshot_id: str, what: str) -> SnapshotDamaged:
    return SnapshotDamaged(
        f"snapshot {snapshot_id} is not what was recorded: {what}",
        hint="restore it from a backup, or remove the snapshot's objects and ingest again",
    )
