"""Training-serving skew of a registered version: what it was asked, by the prediction log, beside its snapshot."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl

from aforo.contracts.specification import Specification
from aforo.data.profiles import ColumnProfile
from aforo.data.skew import Skew, SkewSpec, skew
from aforo.data.skew_report import skew_report
from aforo.errors import DataError
from aforo.monitoring.prediction_log import WHEN_NOTHING_IS_RECORDED, PredictionLog
from aforo.registry.bundle import read_bundle
from aforo.use_case import UseCase
from aforo.workflows.wiring import Platform


class SkewReport(Specification):
    """How what a version was asked differs from what it learnt from.

    Attributes
    ----------
    since, until
        First and last day of the log that was asked for, in UTC; ``None`` for no bound.
    """

    use_case: str
    version: str
    snapshot_id: str
    since: date | None
    until: date | None
    found: Skew

    @property
    def holds(self) -> bool:
        return not self.found.skewed


def run(
    use_case: UseCase,
    asked: str,
    platform: Platform,
    *,
    bounds: SkewSpec | None = None,
    since: date | None = None,
    until: date | None = None,
) -> tuple[SkewReport, str]:
    """Compare the rows that a version predicted with the snapshot it was trained on; memory does not grow with either.

    Parameters
    ----------
    asked
        Number or alias of the version.
    bounds
        From where on a column is skewed; by default as ``use_case.yaml`` says.
    since, until
        First and last day of the log, in UTC.

    Returns
    -------
    SkewReport
        The finding.
    str
        The same as a page of HTML.

    Raises
    ------
    ModelNotFound
        There is no such version.
    DataError
        It has no recorded rows.
    """
    registered = platform.versions.resolve(use_case.name, asked)
    with tempfile.TemporaryDirectory(prefix="aforo-skew-") as temporary:
        folder = platform.versions.download(use_case.name, registered.version, Path(temporary) / "bundle")
        bundle = read_bundle(folder, platform.signing_key)
    inputs, snapshot_id = bundle.contract.inputs, bundle.manifest.lineage.snapshot_id
    found, profiles = skew(
        platform.snapshots.read_manifest(snapshot_id),
        platform.snapshots.parts(snapshot_id),
        _rows(use_case.name, registered.version, platform, since, until),
        inputs,
        bounds or use_case.skew,
    )
    report = SkewReport(
        use_case=use_case.name,
        version=registered.version,
        snapshot_id=snapshot_id,
        since=since,
        until=until,
        found=found,
    )
    return report, _page(report, profiles)


def _rows(
    name: str, version: str, platform: Platform, since: date | None, until: date | None
) -> Iterator[pl.DataFrame]:
    """Yield the rows that the version predicted, also those of a shadow, table by table; refuse if there are none."""
    is_recorded = False
    for table in PredictionLog(platform.store).tables(name, since=since, until=until):
        ours = table.filter(pl.col("version") == version)
        if ours.height:
            is_recorded = True
            yield ours.get_column("features").struct.unnest()
    if not is_recorded:
        raise DataError(
            f"no row that {name} version {version} predicted is recorded",
            hint=WHEN_NOTHING_IS_RECORDED,
        )


def _page(report: SkewReport, profiles: tuple[tuple[ColumnProfile, ColumnProfile], ...]) -> str:
    days = " ".join(f"{word} {day}" for word, day in (("from", report.since), ("to", report.until)) if day is not None)
    said = f"Rows asked of version {report.version}{f', {days},' if days else ''} beside snapshot {report.snapshot_id}"
    return skew_report(f"{report.use_case}: what is asked and what was learnt", said, report.found, profiles)
