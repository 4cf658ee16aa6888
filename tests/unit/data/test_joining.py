"""Columns looked up in another table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from pydantic import TypeAdapter

from aforo.data.ingestion import Ingested
from aforo.data.joining import Join
from aforo.data.snapshots import Snapshots
from aforo.errors import DataError, SourceError, TooManyBadRows, UseCaseError
from aforo.storage import LocalStore

Ingest = Callable[..., Ingested]

PEOPLE = {"name": "people", "type": "integer", "role": "feature", "nullable": True}


def join(**changes: Any) -> dict[str, Any]:
    return {
        "source": {"kind": "csv", "path": "cities.csv"},
        "on": {"city": "town"},
        "columns": {"people": "inhabitants"},
        **changes,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "table.csv").write_text("id,city,amount,late\n1,Lima,1,true\n2,Oslo,2,true\n3,Lima,3,false\n")
    (tmp_path / "cities.csv").write_text("town,inhabitants,area\nOslo,700000,454\nRome,2700000,1285\n")
    return tmp_path


def test_each_row_keeps_its_place_and_gains_columns_or_nothing(
    folder: Path, store: LocalStore, run_ingest: Ingest, columns: list[dict[str, Any]]
) -> None:
    ingested = run_ingest(columns=[*columns, PEOPLE], joins=[join()])

    table = Snapshots(store).load(ingested.snapshot_id)
    assert table.select("id", "people").rows() == [(1, None), (2, 700_000), (3, None)]


def test_a_joined_column_may_be_an_expression_over_text(
    folder: Path, store: LocalStore, run_ingest: Ingest, columns: list[dict[str, Any]]
) -> None:
    density = {"name": "density", "type": "number", "role": "feature", "nullable": True}
    expression = "CAST(inhabitants AS DOUBLE) / CAST(area AS DOUBLE)"

    ingested = run_ingest(columns=[*columns, density], joins=[join(columns={"density": expression})])

    assert Snapshots(store).load(ingested.snapshot_id)["density"][1] == 700_000 / 454


def test_keys_are_compared_as_values_and_not_as_text(
    folder: Path, store: LocalStore, run_ingest: Ingest, columns: list[dict[str, Any]]
) -> None:
    (folder / "weights.csv").write_text("id,people\n001,5\n2.0,6\n")

    ingested = run_ingest(
        columns=[*columns, PEOPLE],
        joins=[{"source": {"kind": "csv", "path": "weights.csv"}, "on": ["id"], "columns": {"people": "people"}}],
    )

    assert Snapshots(store).load(ingested.snapshot_id)["people"].to_list() == [5, 6, None]


def test_a_missing_value_equals_nothing(
    folder: Path, store: LocalStore, run_ingest: Ingest, columns: list[dict[str, Any]]
) -> None:
    columns[1]["nullable"] = True
    (folder / "table.csv").write_text("id,city,amount,late\n1,,1,true\n2,Oslo,2,true\n")
    (folder / "cities.csv").write_text("town,inhabitants\n,5\n,6\nOslo,7\n")

    ingested = run_ingest(columns=[*columns, PEOPLE], joins=[join()])

    assert Snapshots(store).load(ingested.snapshot_id)["people"].to_list() == [None, 7]


def test_a_bad_value_in_the_other_table_is_quarantined_with_the_rows_that_use_it(
    folder: Path, run_ingest: Ingest, columns: list[dict[str, Any]], quarantined: Callable[..., list[dict[str, Any]]]
) -> None:
    (folder / "cities.csv").write_text("town,inhabitants\nOslo,7\nLima,many\nRome,most\n")

    with pytest.raises(TooManyBadRows, match="row 1: people = 'many' is not a whole number"):
        run_ingest(columns=[*columns, PEOPLE], joins=[join()])

    ingested = run_ingest(columns=[*columns, PEOPLE], joins=[join()], max_bad_rows=2)
    assert ingested.rows.kept == 1
    assert [line["row"] for line in quarantined(ingested)] == [1, 3]


def test_two_rows_of_one_key_in_the_other_table_are_refused(
    folder: Path, run_ingest: Ingest, columns: list[dict[str, Any]]
) -> None:
    (folder / "cities.csv").write_text("town,inhabitants\nOslo,7\nRome,8\nOslo,9\n")

    with pytest.raises(DataError, match=r"cities\.csv has several rows for 1 key\(s\), for example city=Oslo"):
        run_ingest(columns=[*columns, PEOPLE], joins=[join()])


def test_a_key_of_another_type_is_refused(folder: Path, run_ingest: Ingest, columns: list[dict[str, Any]]) -> None:
    with pytest.raises(DataError, match="key column 'town' has 'Oslo'; expected integer, like 'id'"):
        run_ingest(columns=[*columns, PEOPLE], joins=[join(on={"id": "town"})])


def test_a_column_that_the_other_table_lacks_is_named(
    folder: Path, run_ingest: Ingest, columns: list[dict[str, Any]]
) -> None:
    with pytest.raises(SourceError, match=r"cities\.csv has no column 'citizens'; it has: town, inhabitants, area"):
        run_ingest(columns=[*columns, PEOPLE], joins=[join(columns={"people": "citizens"})])


def test_an_expression_on_text_that_needs_a_cast_says_so(
    folder: Path, run_ingest: Ingest, columns: list[dict[str, Any]]
) -> None:
    with pytest.raises(UseCaseError, match="CAST them first"):
        run_ingest(columns=[*columns, PEOPLE], joins=[join(columns={"people": "FLOOR(inhabitants)"})])


def test_a_joined_table_without_rows_is_refused(
    folder: Path, run_ingest: Ingest, columns: list[dict[str, Any]]
) -> None:
    (folder / "cities.csv").write_text("town,inhabitants\n")

    with pytest.raises(DataError, match=r"cities\.csv has no rows"):
        run_ingest(columns=[*columns, PEOPLE], joins=[join()])


def test_the_rows_of_typed_files_are_joined_as_those_of_text(
    folder: Path, run_ingest: Ingest, columns: list[dict[str, Any]]
) -> None:
    pl.DataFrame({"town": ["Oslo", "Rome"], "inhabitants": [700_000, 2_700_000]}).write_parquet(folder / "c.parquet")
    parquet = join(source={"kind": "parquet", "path": "c.parquet"})

    assert (
        run_ingest(columns=[*columns, PEOPLE], joins=[parquet]).snapshot_id
        == run_ingest(columns=[*columns, PEOPLE], joins=[join()]).snapshot_id
    )


def test_on_is_a_word_although_yaml_reads_it_as_true() -> None:
    document = yaml.safe_load("{source: {kind: csv, path: x}, on: [a], columns: {b: c}}")

    assert True in document
    assert TypeAdapter(Join).validate_python(document).on == {"a": "a"}
