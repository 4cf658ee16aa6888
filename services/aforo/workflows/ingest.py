"""Ingest: from the sources to a snapshot, with every row accounted for."""

from __future__ import annotations

import time

from aforo.contracts.run import IngestManifest, RowAccount, RunKey
from aforo.data.ingestion import Ingested, ingest
from aforo.data.snapshots import SnapshotManifest
from aforo.use_case import UseCase
from aforo.workflows.provenance import inputs_of
from aforo.workflows.wiring import Platform


def run(
    use_case: UseCase,
    run_key: RunKey,
    platform: Platform,
    *,
    snapshot: str | None = None,
    limit: int | None = None,
) -> IngestManifest:
    """Read the sources, set the bad rows apart, and take a snapshot of the good ones.

    Unlike the later steps it always reads again: only the sources know whether they have changed.

    Parameters
    ----------
    snapshot
        Id of a snapshot to use again instead of reading the sources.
    limit
        Read only this many rows, the first ones.

    Raises
    ------
    DataError
        The sources cannot be read, or too many rows are bad.
    """
    started = time.monotonic()
    taken = (
        read_sources(use_case, platform, limit=limit)
        if snapshot is None
        else _of_snapshot(platform.snapshots.read_manifest(snapshot))
    )
    return platform.runs.write(
        IngestManifest(
            use_case=use_case.name,
            run_key=run_key,
            inputs=inputs_of(use_case, snapshot=snapshot, limit=limit),
            seconds=time.monotonic() - started,
            snapshot_id=taken.snapshot_id,
            rows=taken.rows,
            quarantine=taken.quarantine,
            reused=taken.reused,
            given=snapshot is not None,
            limit=limit,
        )
    )


def read_sources(use_case: UseCase, platform: Platform, *, limit: int | None = None) -> Ingested:
    """Take a snapshot of what the sources hold now; the one that exists already, if it is the same."""
    with platform.progress("ingest", unit="rows") as advance:
        return ingest(
            use_case.data,
            folder=use_case.folder,
            store=platform.store,
            settings=platform.settings,
            progress=advance,
            limit=limit,
        )


def _of_snapshot(snapshot: SnapshotManifest) -> Ingested:
    rows = RowAccount(read=snapshot.rows, kept=snapshot.rows, quarantined=0, duplicates=0, set_aside={})
    return Ingested(snapshot.snapshot_id, rows, quarantine=None, reused=True)
