"""A snapshot is named by its content, and is whole or absent."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from aforo.data.parts import PartWriter, rows_per_part
from aforo.data.snapshots import Snapshots
from aforo.errors import DataError, SnapshotDamaged, StoreUnavailable
from aforo.storage import LocalStore

TABLE = pl.DataFrame(
    {
        "city": ["Oslo", "Lima", None, "Oslo"],
        "amount": [1.5, None, 2.5, -1.0],
        "number": [1, 2, 3, 4],
        "late": [True, False, None, True],
        "day": [dt.date(2013, 1, 1), None, dt.date(2012, 1, 1), dt.date(2013, 1, 1)],
        "moment": pl.Series([dt.datetime(2013, 1, 1, hour, tzinfo=dt.UTC) for hour in range(4)]),
    }
)


@pytest.fixture
def snapshots(store: LocalStore) -> Snapshots:
    return Snapshots(store)


def test_what_was_taken_is_loaded_and_scanned(snapshots: Snapshots) -> None:
    manifest = snapshots.take([TABLE.head(1), TABLE.tail(3)], source="test")

    assert manifest.rows == 4
    assert snapshots.load(manifest.snapshot_id).equals(TABLE)
    assert snapshots.scan(manifest.snapshot_id).collect().equals(TABLE)
    assert snapshots.read_manifest(manifest.snapshot_id) == manifest
    assert snapshots.verify(manifest.snapshot_id) == manifest


def test_the_id_depends_on_the_rows_and_not_on_how_they_come(snapshots: Snapshots, tmp_path: Path) -> None:
    whole = snapshots.take([TABLE], source="one")
    pieces = Snapshots(LocalStore(tmp_path / "elsewhere")).take([TABLE.slice(n, 1) for n in range(4)], source="two")

    assert pieces.snapshot_id == whole.snapshot_id
    assert whole.source == "one"
    assert pieces.source == "two"


@pytest.mark.parametrize(
    "other",
    [
        TABLE.reverse(),
        TABLE.head(3),
        TABLE.rename({"city": "town"}),
        TABLE.select("amount", "city", "number", "late", "day", "moment"),
        TABLE.with_columns(pl.col("number").cast(pl.Float64)),
        TABLE.with_columns(city=pl.col("city").fill_null("")),
    ],
    ids=["order", "rows", "name", "columns", "type", "null"],
)
def test_another_table_has_another_id(snapshots: Snapshots, other: pl.DataFrame) -> None:
    assert snapshots.take([other], source="test").snapshot_id != snapshots.take([TABLE], source="test").snapshot_id


_WRITE = """
import sys
from pathlib import Path
import numpy as np
import polars as pl
from aforo.data.snapshots import Snapshots
from aforo.storage import LocalStore

rng = np.random.default_rng(1)
table = pl.DataFrame({
    "number": rng.normal(size=700_000),
    "whole": rng.integers(0, 1_000, 700_000),
    "text": pl.Series(rng.integers(0, 90_000, 700_000)).cast(pl.String),
})
batch = int(sys.argv[2])
frames = (table.slice(start, batch) for start in range(0, table.height, batch))
print(Snapshots(LocalStore(Path(sys.argv[1]))).take(frames, source="test").snapshot_id)
"""


def test_other_processes_threads_and_batches_give_the_same_id(tmp_path: Path) -> None:
    ids = {
        subprocess.run(
            [sys.executable, "-c", _WRITE, str(tmp_path / threads), batch],
            env={"POLARS_MAX_THREADS": threads, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads, batch in (("1", "700000"), ("3", "33333"))
    }

    assert len(ids) == 1


def test_parts_have_the_same_rows_however_they_come(tmp_path: Path) -> None:
    table = pl.DataFrame({"a": np.arange(10_000)})
    digests = []
    for batch in (1, 999, 10_000):
        writer = PartWriter(tmp_path / str(batch), dict(table.schema), part_rows=3_000)
        for start in range(0, 10_000, batch):
            writer.write(table.slice(start, batch))
        parts = writer.close()
        assert [part.rows for part in parts] == [3_000, 3_000, 3_000, 1_000]
        digests.append([part.sha256 for part in parts])

    assert digests[0] == digests[1] == digests[2]


def test_neither_the_bytes_nor_the_figures_depend_on_the_pieces_that_rows_come_in(tmp_path: Path) -> None:
    number = pl.int_range(10_000, eager=True)
    rows = pl.DataFrame({"x": (number * 0.1).sin(), "text": "t" + (number % 7).cast(pl.String), "whole": number})
    rows = rows.with_columns(pl.when(pl.col("whole") > 9_000).then(None).otherwise(pl.col("text")).alias("text"))
    found = []
    for size in (10_000, 1_024, 333):
        with PartWriter(tmp_path / str(size), dict(rows.schema), 4_096) as writer:
            for piece in rows.iter_slices(size):
                writer.write(piece.filter(pl.lit(True)))
            parts = [(part.rows, part.sha256) for part in writer.close()]
        found.append((parts, writer.statistics.columns()))

    assert found[0] == found[1] == found[2]


def test_wide_tables_have_fewer_rows_a_part() -> None:
    assert rows_per_part(1) == 1 << 20
    assert rows_per_part(64) == 1 << 18
    assert rows_per_part(1_000_000) == 1 << 10


def test_the_manifest_says_what_each_column_looks_like(snapshots: Snapshots) -> None:
    figures = {column.name: column for column in snapshots.take([TABLE], source="test").columns}

    assert (figures["city"].nulls, figures["city"].top) == (1, {"Oslo": 2, "Lima": 1})
    assert (figures["amount"].minimum, figures["amount"].maximum, figures["amount"].mean) == (-1.0, 2.5, 1.0)
    assert (figures["late"].nulls, figures["late"].mean) == (1, pytest.approx(2 / 3))
    assert (figures["day"].minimum, figures["day"].maximum) == ("2012-01-01", "2013-01-01")
    assert figures["moment"].maximum == "2013-01-01T03:00:00+00:00"


def test_the_values_of_a_private_column_are_not_in_the_manifest(snapshots: Snapshots, store: LocalStore) -> None:
    manifest = snapshots.take([TABLE], source="test", private=frozenset({"city"}))

    assert b"Oslo" not in store.read(f"snapshots/{manifest.snapshot_id}/manifest.json")
    assert snapshots.take([TABLE], source="test").snapshot_id == manifest.snapshot_id


def test_a_changed_part_is_named(snapshots: Snapshots, store: LocalStore) -> None:
    snapshot_id = snapshots.take([TABLE], source="test").snapshot_id
    data = bytearray(store.read(f"snapshots/{snapshot_id}/part-00000.parquet"))
    data[len(data) // 2] ^= 1
    store.write(f"snapshots/{snapshot_id}/part-00000.parquet", bytes(data))

    for read in (snapshots.verify, snapshots.load):
        with pytest.raises(SnapshotDamaged, match=r"part-00000\.parquet has the SHA-256"):
            read(snapshot_id)


def test_a_missing_part_is_named(snapshots: Snapshots, store: LocalStore) -> None:
    snapshot_id = snapshots.take([TABLE], source="test").snapshot_id
    store.delete(f"snapshots/{snapshot_id}/part-00000.parquet")

    with pytest.raises(SnapshotDamaged, match=r"part-00000\.parquet is missing"):
        snapshots.verify(snapshot_id)


def test_a_changed_manifest_is_noticed(snapshots: Snapshots, store: LocalStore) -> None:
    manifest = snapshots.take([TABLE], source="test")
    part = manifest.parts[0].model_copy(update={"sha256": "0" * 64})
    forged = manifest.model_copy(update={"parts": (part,)})
    store.write(f"snapshots/{manifest.snapshot_id}/manifest.json", forged.model_dump_json().encode())

    with pytest.raises(SnapshotDamaged, match="manifest was changed"):
        snapshots.load(manifest.snapshot_id)


def test_a_snapshot_that_does_not_exist_is_named(snapshots: Snapshots) -> None:
    with pytest.raises(DataError, match="there is no snapshot abc"):
        snapshots.load("abc")


def test_a_table_without_rows_is_no_snapshot(snapshots: Snapshots) -> None:
    with pytest.raises(DataError, match="no rows"):
        snapshots.take([TABLE.clear()], source="test")


class FailingStore(LocalStore):
    """A store that is full after some uploads."""

    def __init__(self, folder: Path, uploads: int) -> None:
        super().__init__(folder)
        self._left = uploads

    def upload(self, path: Path, key: str, *, move: bool = False) -> None:
        if not self._left:
            raise StoreUnavailable("no space left")
        self._left -= 1
        super().upload(path, key, move=move)


def _frames() -> Iterator[pl.DataFrame]:
    # Two parts.
    wide = {f"c{n}": pl.repeat(n, 2 * (1 << 20), dtype=pl.Int8, eager=True) for n in range(2)}
    yield pl.DataFrame(wide)


def test_a_snapshot_whose_upload_breaks_off_does_not_exist_and_can_be_taken_again(tmp_path: Path) -> None:
    broken = Snapshots(FailingStore(tmp_path, uploads=1))

    with pytest.raises(StoreUnavailable):
        broken.take(_frames(), source="test")

    keys = list(LocalStore(tmp_path).list("snapshots/"))
    assert [key.rpartition("/")[2] for key in keys] == ["part-00000.parquet"]
    snapshot_id = keys[0].split("/")[1]
    assert not broken.exists(snapshot_id)
    assert Snapshots(LocalStore(tmp_path)).take(_frames(), source="test").snapshot_id == snapshot_id
    assert broken.exists(snapshot_id)


def test_an_interrupted_take_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()

    def frames() -> Iterator[pl.DataFrame]:
        yield TABLE
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Snapshots(LocalStore(tmp_path / "store")).take(frames(), source="test")

    assert list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / "store").exists()
