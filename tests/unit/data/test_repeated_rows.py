"""Of rows with one key the first stays; the others are counted, and kept apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from aforo.contracts.run import RowAccount
from aforo.data.ingestion import Ingested
from aforo.data.quarantine import Quarantine
from aforo.data.snapshots import Snapshots
from aforo.data.staging import Staging
from aforo.errors import TooManyBadRows
from aforo.storage import LocalStore

Ingest = Callable[..., Ingested]
Lines = Callable[[Ingested], list[dict[str, Any]]]


def test_a_row_that_is_there_twice_is_a_duplicate_and_no_bad_row(
    tmp_path: Path, store: LocalStore, run_ingest: Ingest, quarantined: Lines
) -> None:
    (tmp_path / "table.csv").write_text(
        "id,city,amount,late\n1,Oslo,,true\n2,Lima,2,true\n1,Oslo,,true\n1,Oslo,,true\n"
    )

    ingested = run_ingest()

    assert ingested.rows == RowAccount(read=4, kept=2, quarantined=0, duplicates=2, set_aside={})
    assert Snapshots(store).load(ingested.snapshot_id)["id"].to_list() == [1, 2]
    lines = quarantined(ingested)
    assert [(line["row"], line["column"], line["value"]) for line in lines] == [(3, "id", "1"), (4, "id", "1")]
    assert {line["reason"] for line in lines} == {"repeats an earlier row"}


def test_a_key_with_two_contents_is_a_bad_row(
    tmp_path: Path, store: LocalStore, run_ingest: Ingest, quarantined: Lines
) -> None:
    (tmp_path / "table.csv").write_text("id,city,amount,late\n1,Oslo,1,true\n2,Lima,2,true\n1,Oslo,3,true\n")

    with pytest.raises(TooManyBadRows, match=r"table\.csv row 3: id = '1' has the key of an earlier row"):
        run_ingest()

    ingested = run_ingest(max_bad_rows=1)
    assert ingested.rows == RowAccount(read=3, kept=2, quarantined=1, duplicates=0, set_aside={})
    assert Snapshots(store).load(ingested.snapshot_id)["amount"].to_list() == [1.0, 2.0]
    [line] = quarantined(ingested)
    assert line["record"] == '{"id":1,"city":"Oslo","amount":3.0,"late":true}'


def test_without_a_key_the_whole_row_identifies_it(
    tmp_path: Path, run_ingest: Ingest, columns: list[dict[str, Any]]
) -> None:
    columns[0]["role"] = "info"
    (tmp_path / "table.csv").write_text("id,city,amount,late\n1,Oslo,,true\n1,Oslo,3,true\n1,Oslo,,true\n")

    ingested = run_ingest(columns=columns)

    assert ingested.rows == RowAccount(read=3, kept=2, quarantined=0, duplicates=1, set_aside={})


def test_a_repeat_is_found_in_another_file(tmp_path: Path, run_ingest: Ingest, quarantined: Lines) -> None:
    (tmp_path / "a.csv").write_text("id,city,amount,late\n1,Oslo,1,true\n2,Oslo,1,true\n")
    (tmp_path / "b.csv").write_text("id,city,amount,late\n3,Oslo,1,true\n2,Oslo,1,true\n")

    [line] = quarantined(run_ingest(source={"kind": "csv", "path": "*.csv"}))

    assert (line["file"], line["row"]) == ("b.csv", 2)


def test_repeats_are_found_across_parts_and_ranges_of_hashes(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    keys = rng.integers(0, 8_000, 10_000)
    values = rng.integers(0, 3, 10_000)
    table = pl.DataFrame({"key": keys, "value": values})
    collected = Staging(tmp_path / "staging", dict(table.schema), ("key",), rows_per_part=1_024, hashes_at_once=1_000)
    for start in range(0, 10_000, 777):
        rows = table.slice(start, 777)
        collected.add(rows, np.arange(start + 1, start + 1 + rows.height), "table")

    staged = collected.finish(Quarantine(tmp_path))

    kept = pl.concat(pl.read_parquet(part.path) for part in staged.parts)
    first: dict[int, int] = {}
    same_row = same_key = 0
    for key, value in zip(keys.tolist(), values.tolist(), strict=True):
        if key not in first:
            first[key] = value
        elif first[key] == value:
            same_row += 1
        else:
            same_key += 1
    assert kept.rows() == list(first.items())
    assert (staged.same_row, staged.same_key) == (same_row, same_key)
    assert len(staged.parts) == -(-len(first) // 1_024)


def test_equal_hashes_of_different_keys_lose_no_row(tmp_path: Path) -> None:
    table = pl.DataFrame({"key": [1, 2, 3, 2]})
    collected = Staging(
        tmp_path / "staging",
        dict(table.schema),
        ("key",),
        hash_rows=lambda rows: pl.repeat(7, rows.height, dtype=pl.UInt64, eager=True),
    )
    collected.add(table, np.arange(1, 5), "table")

    staged = collected.finish(Quarantine(tmp_path))

    assert pl.read_parquet(staged.parts[0].path)["key"].to_list() == [1, 2, 3]
    assert staged.same_row == 1
