"""Parquet files on this machine and in a real S3 store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from aforo.data.ingestion import DataSpec, Ingested, ingest
from aforo.data.snapshots import Snapshots
from aforo.data.sources import CsvSource, ParquetSource
from aforo.errors import DataError, SourceError
from aforo.settings import Settings
from aforo.storage import LocalStore, S3Store, open_store

Ingest = Callable[..., Ingested]


def table(rows: int) -> pl.DataFrame:
    return pl.DataFrame({"id": range(rows)}).with_columns(
        city=pl.when(pl.col("id") % 2 == 0).then(pl.lit("Oslo")).otherwise(pl.lit("Lima")),
        amount=(pl.col("id") % 100).cast(pl.Float32),
        late=pl.col("id") % 3 == 0,
    )


def test_the_same_rows_in_other_files_and_types_give_the_same_snapshot(tmp_path: Path, run_ingest: Ingest) -> None:
    whole = table(300_000)
    whole.write_csv(tmp_path / "table.csv")
    for number in range(3):
        part = whole.slice(number * 100_000, 100_000).with_columns(pl.col("city").cast(pl.Categorical))
        part.write_parquet(tmp_path / f"part-{number}.parquet", row_group_size=7_777)

    parquet = run_ingest(source={"kind": "parquet", "path": "part-*.parquet"})

    assert parquet.snapshot_id == run_ingest().snapshot_id


def test_rows_are_numbered_within_their_file(tmp_path: Path, settings: Settings) -> None:
    table(300_000).write_parquet(tmp_path / "t.parquet")

    batches = list(ParquetSource(path="t.parquet").open(tmp_path, settings).batches(["id"]))

    assert len(batches) > 1
    assert all((batch.numbers == batch.table["id"].to_numpy() + 1).all() for batch in batches)


def test_a_column_of_a_type_that_never_fits_is_refused(tmp_path: Path, run_ingest: Ingest) -> None:
    table(10).with_columns(amount=pl.lit(None, pl.Date)).write_parquet(tmp_path / "t.parquet")

    with pytest.raises(DataError, match="column 'amount' has the type Date"):
        run_ingest(source={"kind": "parquet", "path": "t.parquet"})


def test_a_missing_column_is_named(tmp_path: Path, run_ingest: Ingest) -> None:
    table(10).drop("city").write_parquet(tmp_path / "t.parquet")

    with pytest.raises(SourceError, match=r"t\.parquet has no column 'city'; it has: id, amount, late"):
        run_ingest(source={"kind": "parquet", "path": "t.parquet"})


@pytest.mark.parametrize("keep", [0, 10, 20_000])
def test_a_truncated_file_is_refused(tmp_path: Path, run_ingest: Ingest, keep: int) -> None:
    table(50_000).write_parquet(tmp_path / "whole.parquet")
    (tmp_path / "t.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:keep])

    with pytest.raises(SourceError, match=r"t\.parquet is not a whole Parquet file"):
        run_ingest(source={"kind": "parquet", "path": "t.parquet"})


def test_a_snapshot_made_from_and_in_an_s3_store_equals_the_one_of_this_machine(
    tmp_path: Path, s3_settings: Settings, columns: list[dict[str, Any]], run_ingest: Ingest
) -> None:
    raw = f"{s3_settings.s3_bucket_prefix}raw"
    remote = S3Store.from_settings(s3_settings)
    table(3_000).write_csv(tmp_path / "table.csv")
    for number in range(3):
        table(3_000).slice(number * 1_000, 1_000).write_parquet(tmp_path / f"{number}.parquet")
        remote.upload(tmp_path / f"{number}.parquet", f"{raw}/sales/{number}.parquet")
    remote.upload(tmp_path / "table.csv", f"{raw}/sales/deeper/table.csv")
    store = open_store(s3_settings)

    def run(source: dict[str, str]) -> Ingested:
        spec = DataSpec.model_validate({"source": source, "columns": columns})
        return ingest(spec, folder=tmp_path, store=store, settings=s3_settings, progress=lambda _: None)

    parquet = run({"kind": "parquet", "path": f"s3://{raw}/sales/*.parquet"})
    csv = run({"kind": "csv", "path": f"s3://{raw}/sales/*/table.csv"})

    assert parquet.snapshot_id == csv.snapshot_id == run_ingest().snapshot_id
    assert csv.reused
    assert not parquet.reused
    snapshots = Snapshots(store)
    snapshots.verify(parquet.snapshot_id)
    assert snapshots.scan(parquet.snapshot_id).collect().equals(snapshots.load(parquet.snapshot_id))


def test_an_object_that_is_not_there_is_named(tmp_path: Path, s3_settings: Settings) -> None:
    raw = f"{s3_settings.s3_bucket_prefix}raw"

    with pytest.raises(SourceError, match=f"no file matches 's3://{raw}/nothing.csv'"):
        CsvSource(path=f"s3://{raw}/nothing.csv").open(tmp_path, s3_settings)


def test_an_s3_source_needs_no_s3_store(tmp_path: Path, s3_settings: Settings, store: LocalStore) -> None:
    raw = f"{s3_settings.s3_bucket_prefix}raw"
    S3Store.from_settings(s3_settings).write(f"{raw}/t.csv", b"a\n1\n")

    [batch] = CsvSource(path=f"s3://{raw}/t.csv").open(tmp_path, s3_settings).batches(["a"])

    assert batch.table["a"].to_list() == ["1"]


def test_a_big_file_is_read_once_and_in_order_whatever_its_row_groups(tmp_path: Path, settings: Settings) -> None:
    rows = 2_300_000
    pl.DataFrame({"id": pl.int_range(rows, eager=True)}).write_parquet(tmp_path / "big.parquet", row_group_size=300_007)

    batches = list(ParquetSource(path="big.parquet").open(tmp_path, settings).batches(["id"]))

    assert (
        pl.concat(batch.table for batch in batches).get_column("id").equals(pl.int_range(rows, eager=True).alias("id"))
    )
    assert [int(number) for batch in batches for number in batch.numbers] == list(range(1, rows + 1))
    # Nothing is held for long: a batch is no more than a part of a row group or two.
    assert max(batch.table.height for batch in batches) <= 300_007
