"""Retention: what is old and what nothing refers to any more, and how it goes.

A run (``runs/<use case>/<run key>/``), a snapshot or a quarantine table goes as a whole, once nothing was written to it
for a while, unless something refers to it:

- the ledger: the run, the snapshot and the report of every version that ever was champion;
- an alias: the run and the snapshot of the version it names;
- a registered version: its snapshot, from which it can be rebuilt. Delete the version in MLflow to let that go;
- the manifest of a run that stays: every snapshot and object it names.

MLflow keeps its own bucket, and the prediction log is not touched. A training that begins at the very moment an old
snapshot of the same rows goes will find it damaged, fail, and succeed when it is started again.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from aforo.contracts.specification import Specification
from aforo.errors import LedgerError
from aforo.registry.versions import CHAMPION
from aforo.storage import ObjectStore, StoredObject
from aforo.workflows.wiring import Platform

logger = logging.getLogger(__name__)

Kind = Literal["run", "snapshot", "quarantine"]

_MANIFEST = "/manifest.json"
_QUARANTINE = "snapshots/quarantine/"


class Removal(Specification):
    """Something that nothing refers to.

    Attributes
    ----------
    prefix
        What its objects' keys begin with.
    written_at
        When the last of them was written, UTC, ISO 8601.
    """

    kind: Kind
    prefix: str
    objects: int
    size_bytes: int
    written_at: str


class RetentionPlan(Specification):
    """What goes, and how many runs, snapshots and quarantine tables stay."""

    older_than_days: int
    removals: tuple[Removal, ...]
    kept: int

    @property
    def size_bytes(self) -> int:
        return sum(removal.size_bytes for removal in self.removals)


@dataclass(frozen=True)
class _Item:
    """Objects that stay or go together."""

    kind: Kind
    prefix: str
    objects: tuple[StoredObject, ...]

    @property
    def written_at(self) -> datetime:
        return max(entry.modified_at for entry in self.objects)


def plan_retention(platform: Platform, *, older_than_days: int, now: datetime | None = None) -> RetentionPlan:
    """Return what `prune` would remove; nothing is changed.

    Parameters
    ----------
    older_than_days
        What was written to since then stays, whatever refers to it.
    now
        The clock.

    Raises
    ------
    LedgerError
        The ledger was tampered with, or it and the registry name different champions: then what is referred to is
        not known.
    StoreUnavailable
        The store, the ledger or the registry does not answer.
    """
    before = (now or datetime.now(UTC)) - timedelta(days=older_than_days)
    items = list(_items(platform.store))
    referred = _referred(platform)
    young = {item.prefix for item in items if item.written_at > before}
    staying = [item for item in items if item.kind == "run" and (item.prefix in young or item.prefix in referred)]
    for item in staying:
        referred |= _named_in_manifests(platform.store, item)
    gone = [item for item in items if item.prefix not in young and item.prefix not in referred]
    return RetentionPlan(
        older_than_days=older_than_days,
        removals=tuple(
            Removal(
                kind=item.kind,
                prefix=item.prefix,
                objects=len(item.objects),
                size_bytes=sum(entry.size_bytes for entry in item.objects),
                written_at=item.written_at.isoformat(timespec="seconds"),
            )
            for item in gone
        ),
        kept=len(items) - len(gone),
    )


def prune(platform: Platform, *, older_than_days: int, now: datetime | None = None) -> RetentionPlan:
    """Remove what `plan_retention` returns, and return it. Can be stopped at any time, and repeated.

    Takes the parameters of `plan_retention`, and raises what it raises; then nothing was removed.
    """
    plan = plan_retention(platform, older_than_days=older_than_days, now=now)
    for removal in plan.removals:
        # A snapshot without its manifest does not exist: one that went half is not taken for whole.
        keys = sorted(platform.store.list(removal.prefix), key=lambda key: not key.endswith(_MANIFEST))
        for key in keys:
            platform.store.delete(key)
        logger.info("removed", extra=removal.model_dump())
    return plan


def _items(store: ObjectStore) -> Iterator[_Item]:
    groups: dict[tuple[Kind, str], list[StoredObject]] = defaultdict(list)
    for entry in store.entries("runs"):
        groups["run", _run_prefix(entry.key)].append(entry)
    for entry in store.entries("snapshots"):
        if entry.key.startswith(_QUARANTINE):
            groups["quarantine", entry.key].append(entry)
        else:
            groups["snapshot", _snapshot_prefix(entry.key.split("/")[1])].append(entry)
    for (kind, prefix), entries in groups.items():
        yield _Item(kind, prefix, tuple(entries))


def _referred(platform: Platform) -> set[str]:
    """Return the prefixes of all that ledger, aliases and registered versions refer to."""
    platform.ledger.verify()
    champions: dict[str, str] = {}
    referred = set()
    for row in platform.ledger.history():
        champions[row.use_case] = row.version
        referred |= {_run_prefix(f"runs/{row.use_case}/{row.run_key}/"), _snapshot_prefix(row.snapshot_id)}
        if row.report is not None:
            referred |= _prefixes_of(row.report)
    for model in sorted({*platform.versions.models(), *champions}):
        aliases = platform.versions.aliases(model)
        if aliases.get(CHAMPION) != champions.get(model):
            raise LedgerError(
                f"{model}: the ledger's champion is {champions.get(model, 'none')}, the registry's "
                f"{aliases.get(CHAMPION, 'none')}; what may go is not known, and nothing was removed",
                hint="check that AFORO_LEDGER_URL and MLFLOW_TRACKING_URI belong to the same platform",
            )
        for version in platform.versions.all(model):
            referred.add(_snapshot_prefix(version.tags.get("snapshot_id", "")))
            if version.version in aliases.values():
                referred.add(_run_prefix(f"runs/{model}/{version.tags.get('run_key', '')}/"))
    return referred


def _named_in_manifests(store: ObjectStore, run: _Item) -> set[str]:
    named: set[str] = set()
    for entry in run.objects:
        if entry.key.endswith(_MANIFEST):
            manifest = json.loads(store.read(entry.key))
            named.add(_snapshot_prefix(str(manifest.get("snapshot_id"))))
            for text in _texts(manifest):
                named |= _prefixes_of(text)
    return named


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _prefixes_of(key: str) -> set[str]:
    """Return the prefix of what the object belongs to; none if the text is no object's key."""
    if key.startswith(_QUARANTINE):
        return {key}
    if key.startswith("snapshots/"):
        return {_snapshot_prefix(key.split("/")[1])}
    return {_run_prefix(key)} if key.startswith("runs/") else set()


def _run_prefix(key: str) -> str:
    """Return ``runs/<use case>/<run key>/`` of an object's key."""
    return "/".join(key.split("/")[:3]) + "/"


def _snapshot_prefix(snapshot_id: str) -> str:
    return f"snapshots/{snapshot_id}/"
