"""What there is to say about data: what a table's columns are, and what has changed between two snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl

from aforo.contracts.table import ColumnContract
from aforo.data.comparison import Comparison, compare
from aforo.data.differences import row_differences
from aforo.data.inference import infer_columns
from aforo.data.profiles import edges_of, profile_of, recorded_ranges
from aforo.data.report import snapshot_report
from aforo.data.snapshots import SnapshotManifest
from aforo.data.sources import CsvSource, ParquetSource, Source
from aforo.errors import SourceError
from aforo.settings import Settings
from aforo.use_case import load_use_case
from aforo.workflows.wiring import Platform


def infer(data: str, settings: Settings) -> tuple[ColumnContract, ...]:
    """Return a contract for all columns of a file, or of a use case's source.

    Raises
    ------
    SourceError
        It is a file of another kind.
    UseCaseError
        It is neither a file nor a use case.
    DataError
        Records cannot be read as rows, or there are none.
    """
    source, folder = _source(data, settings)
    return infer_columns(_tables(source, folder, settings))


def compare_snapshots(
    before: str, after: str, key: tuple[str, ...], platform: Platform
) -> tuple[Comparison, list[str]]:
    """Return how two snapshots' columns differ, and their rows in sentences; rows are compared in memory.

    Parameters
    ----------
    key
        Columns that identify a row; empty if its whole content does.
    """
    snapshots = platform.snapshots
    private = _private(snapshots.read_manifest(before)) | _private(snapshots.read_manifest(after))
    found = compare(partial(snapshots.parts, before), partial(snapshots.parts, after), private=private)
    rows = row_differences(snapshots.load(before), snapshots.load(after), key, private=private)
    return found, rows


def snapshot_page(manifest: SnapshotManifest, platform: Platform) -> str:
    """Return the snapshot on one page of HTML."""
    parts = platform.snapshots.parts(manifest.snapshot_id)
    profiles = profile_of(parts, edges_of([recorded_ranges(manifest.columns)]), _private(manifest))
    return snapshot_report(manifest.source, manifest, profiles)


def _tables(source: Source, folder: Path, settings: Settings) -> Iterator[pl.DataFrame]:
    reader = source.open(folder, settings)
    for batch in reader.batches(list(reader.columns)):
        if batch.broken:
            raise SourceError(
                f"{source.name}: row {batch.broken[0].number}: {batch.broken[0].reason}",
                hint="mend the row; nothing can be inferred from what cannot be read",
            )
        yield batch.table


def _private(manifest: SnapshotManifest) -> frozenset[str]:
    """The columns whose values are not on record, although they have some."""
    return frozenset(c.name for c in manifest.columns if c.minimum is None and c.nulls < manifest.rows)


def _source(data: str, settings: Settings) -> tuple[Source, Path]:
    path = Path(data)
    if not path.is_file():
        use_case = load_use_case(settings.use_cases, data)
        return use_case.data.source, use_case.folder
    if path.suffix == ".parquet":
        return ParquetSource(path=str(path.absolute())), path.parent
    if ".csv" in path.suffixes:
        return CsvSource(path=str(path.absolute())), path.parent
    raise SourceError(f"{data}: its name ends in {path.suffix!r}; expected .csv, .csv.gz, .csv.zip or .parquet")
