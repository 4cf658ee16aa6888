"""Validate: the snapshot is whole, every row is accounted for, and there is something to learn from."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from pydantic import TypeAdapter

from aforo.contracts.run import IngestManifest, RowAccount, RunKey, ValidateManifest
from aforo.data.anomalies import anomalies
from aforo.data.profiles import edges_of, profile_of, recorded_ranges
from aforo.data.report import snapshot_report
from aforo.data.snapshots import SnapshotManifest
from aforo.data.statistics import ColumnStatistics
from aforo.errors import DataError
from aforo.evaluation.fairness import FairnessSpec, Representation, concerns, represent
from aforo.use_case import UseCase
from aforo.workflows.fitting import groups_of
from aforo.workflows.provenance import inputs_of
from aforo.workflows.wiring import Platform

logger = logging.getLogger(__name__)

REPRESENTATION: TypeAdapter[tuple[Representation, ...]] = TypeAdapter(tuple[Representation, ...])
"""How what is known of groups of people in the data is written."""


def run(use_case: UseCase, run_key: RunKey, platform: Platform) -> ValidateManifest:
    """Check a run's snapshot before anything is learnt from it.

    Raises
    ------
    SnapshotDamaged
        The stored bytes are not those that were recorded.
    DataError
        Rows are unaccounted for, or the target has a single value.
    """
    started = time.monotonic()
    ingested = platform.runs.read(use_case.name, run_key, IngestManifest)
    inputs = inputs_of(use_case, ingested)
    snapshot = platform.snapshots.read_manifest(ingested.snapshot_id)
    if not ingested.rows.balances or snapshot.rows != ingested.rows.kept:
        raise DataError(
            f"{use_case.name}: rows do not add up: {ingested.rows.model_dump()}, and the snapshot has {snapshot.rows}",
            hint=f"ingest again with `aforo ingest {use_case.name} --run-key {run_key}`",
        )
    _refuse_schema_of_another_contract(use_case, snapshot)
    _refuse_constant_target(use_case, snapshot)
    represented = () if use_case.fairness is None else _represent(use_case, use_case.fairness, snapshot, platform)
    warnings = [*anomalies(snapshot.columns, snapshot.rows, use_case.data), *concerns(represented)]
    for warning in warnings:
        logger.warning(warning, extra={"use_case": use_case.name})
    page = _report(use_case, snapshot, ingested.rows, warnings, platform)
    key = platform.runs.key(use_case.name, run_key, "validate", "report.html")
    platform.runs.write_bytes(key, page)
    fairness = _write(use_case, run_key, represented, platform) if represented else None
    return platform.runs.write(
        ValidateManifest(
            use_case=use_case.name,
            run_key=run_key,
            inputs=inputs,
            seconds=time.monotonic() - started,
            snapshot_id=ingested.snapshot_id,
            rows=ingested.rows,
            warnings=tuple(warnings),
            report=key,
            fairness=fairness,
        )
    )


def _represent(
    use_case: UseCase, fairness: FairnessSpec, snapshot: SnapshotManifest, platform: Platform
) -> tuple[Representation, ...]:
    """Look at the groups of people in all rows, of whose columns only those that matter are held in memory."""
    read = {column.name for column in use_case.inputs} | {name for names in fairness.by for name in names}
    read |= {use_case.data.target.name} | {use_case.evaluation.bootstrap.by or use_case.data.target.name}
    names = [name for name in use_case.data.names if name in read]
    table = platform.snapshots.scan(snapshot.snapshot_id).select(names).collect()
    return represent(
        table,
        use_case.data,
        use_case.contract,
        use_case.targets(table),
        fairness,
        groups=groups_of(use_case, table),
        confidence=use_case.evaluation.bootstrap.confidence,
        seed=use_case.seed,
    )


def _write(use_case: UseCase, run_key: RunKey, represented: Sequence[Representation], platform: Platform) -> str:
    key = platform.runs.key(use_case.name, run_key, "validate", "fairness.json")
    return platform.runs.write_bytes(key, REPRESENTATION.dump_json(tuple(represented), indent=2))


def _report(
    use_case: UseCase, snapshot: SnapshotManifest, rows: RowAccount, warnings: list[str], platform: Platform
) -> bytes:
    """Look at every row once, comparing each part with its recorded hash, and put what is seen on one page."""
    private = frozenset(column.name for column in use_case.data.columns if column.private)
    parts = platform.snapshots.parts(snapshot.snapshot_id)
    profiles = profile_of(parts, edges_of([recorded_ranges(snapshot.columns)]), private)
    page = snapshot_report(use_case.title, snapshot, profiles, contract=use_case.data, account=rows, warnings=warnings)
    return page.encode()


def _refuse_schema_of_another_contract(use_case: UseCase, snapshot: SnapshotManifest) -> None:
    found = tuple(column.name for column in snapshot.columns)
    if found != use_case.data.names:
        raise DataError(
            f"{use_case.name}: snapshot {snapshot.snapshot_id} has the columns {', '.join(found)}; "
            f"the contract has {', '.join(use_case.data.names)}",
            hint="the contract has changed since the snapshot was taken; ingest again",
        )


def _refuse_constant_target(use_case: UseCase, snapshot: SnapshotManifest) -> None:
    target = _column(snapshot, use_case.data.target.name)
    if target.minimum == target.maximum and target.minimum is not None:
        raise DataError(
            f"{use_case.name}: every row has the target {target.name!r} = {target.minimum!r}",
            hint="check the target's expression and what is set aside",
        )


def _column(snapshot: SnapshotManifest, name: str) -> ColumnStatistics:
    return next(column for column in snapshot.columns if column.name == name)
