"""A contract inferred from rows keeps those rows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
import yaml

from aforo.data.inference import as_yaml, infer_columns
from aforo.data.ingestion import DataSpec, ingest
from aforo.errors import DataError
from aforo.settings import Settings
from aforo.storage import LocalStore

TEXT = {
    "id": ["a1", "a2", "a3", "a4"],
    "count": ["1", "2", "", "7.0"],
    "size": ["1.5", "2", "-3e2", ""],
    "sold": ["true", "False", "t", "f"],
    "day": ["2013-01-31", "2013-02-01", "2013-02-02", "2013-02-03"],
    "at": ["2013-01-31T10:00:00Z", "2013-02-01 11:00", "2013-02-01", "2013-02-02T00:00:00+02:00"],
    "zip": ["00700", "10001", "10002", "00700"],
    "colour": ["red", "blue", "red", "green"],
    "empty": ["", "", "", ""],
}


def kinds(table: pl.DataFrame, size: int = 3) -> dict[str, str]:
    return {column.name: column.type for column in infer_columns(table.iter_slices(size))}


def test_text_gets_the_narrowest_type_that_all_of_it_has() -> None:
    assert kinds(pl.DataFrame(TEXT)) == {
        "id": "string",
        "count": "integer",
        "size": "number",
        "sold": "boolean",
        "day": "date",
        "at": "timestamp",
        "zip": "string",  # a leading zero is lost in a number
        "colour": "string",
        "empty": "string",
    }


def test_typed_columns_keep_their_type() -> None:
    table = pl.DataFrame(
        {
            "flag": [True, False],
            "day": [dt.date(2013, 1, 1), dt.date(2013, 1, 2)],
            "midnight": [dt.datetime(2013, 1, 1, tzinfo=dt.UTC), dt.datetime(2013, 1, 2, tzinfo=dt.UTC)],
            "whole": [1.0, 2.0],
            "share": [0.5, 1.0],
        }
    )

    assert kinds(table) == {
        "flag": "boolean", "day": "date", "midnight": "timestamp", "whole": "integer", "share": "number"
    }  # fmt: skip


def test_bounds_categories_gaps_and_the_key_are_those_that_were_seen() -> None:
    columns = {column.name: column for column in infer_columns(pl.DataFrame(TEXT).iter_slices(3))}

    assert (columns["size"].minimum, columns["size"].maximum, columns["size"].nullable) == (-300, 2, True)
    assert columns["colour"].categories == ("blue", "green", "red")
    assert columns["id"].categories is None
    assert [name for name, column in columns.items() if "key" in column.role] == ["id"]


def test_a_value_that_returns_in_another_part_is_no_key() -> None:
    table = pl.DataFrame({"id": [1, 2, 3, 1]})

    assert [column.role[0] for column in infer_columns(table.iter_slices(2))] == ["feature"]


def test_many_values_are_no_categories() -> None:
    (column,) = infer_columns([pl.DataFrame({"word": [f"w{number % 31}" for number in range(62)]})])

    assert column.categories is None


def test_what_is_printed_can_be_pasted_and_every_row_keeps_it(
    tmp_path: Path, store: LocalStore, settings: Settings
) -> None:
    table = pl.DataFrame(TEXT)
    table.write_csv(tmp_path / "data.csv")
    printed = as_yaml(infer_columns([table]))
    pasted = printed.replace("name: sold, type: boolean, role: feature", "name: sold, type: boolean, role: target")

    spec = DataSpec.model_validate({"source": {"kind": "csv", "path": "data.csv"}, **yaml.safe_load(pasted)})
    ingested = ingest(spec, folder=tmp_path, store=store, settings=settings, progress=lambda _: None)

    assert (ingested.rows.kept, ingested.rows.quarantined) == (4, 0)
    assert "{name: count, type: integer, role: feature, minimum: 1, maximum: 7, nullable: true}" in printed


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (pl.DataFrame({"a": []}, schema={"a": pl.String}), "there are no rows to infer a contract from"),
        (pl.DataFrame({"2013 sales": [1]}), "'2013 sales' is no name for a column"),
    ],
)
def test_what_cannot_be_a_contract_is_refused(table: pl.DataFrame, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        infer_columns([table])
