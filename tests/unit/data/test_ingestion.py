"""Every row is accounted for, and bad input is refused in words that say what and where."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from aforo.contracts.run import RowAccount
from aforo.data.ingestion import DataSpec, Ingested
from aforo.data.snapshots import Snapshots
from aforo.errors import DataError, SourceError, TooManyBadRows, UseCaseError
from aforo.storage import LocalStore

Ingest = Callable[..., Ingested]
Lines = Callable[[Ingested], list[dict[str, Any]]]


def test_good_rows_become_a_snapshot_in_the_types_of_the_contract(
    tmp_path: Path, store: LocalStore, run_ingest: Ingest
) -> None:
    (tmp_path / "table.csv").write_text("late,id,ignored,city,amount\ntrue,1,x,Oslo,1.5\nfalse,2,y,Lima,\n")

    ingested = run_ingest()

    table = Snapshots(store).load(ingested.snapshot_id)
    assert table.rows() == [(1, "Oslo", 1.5, True), (2, "Lima", None, False)]
    assert table.schema == {"id": pl.Int64, "city": pl.String, "amount": pl.Float64, "late": pl.Boolean}
    assert ingested.rows == RowAccount(read=2, kept=2, quarantined=0, duplicates=0, set_aside={})
    assert ingested.quarantine is None
    assert not ingested.reused


def test_bad_rows_are_quarantined_with_row_column_value_and_reason(
    tmp_path: Path, run_ingest: Ingest, quarantined: Lines
) -> None:
    (tmp_path / "table.csv").write_text(
        "id,city,amount,late\n"
        "1,Oslo,1,true\n"
        "two,Oslo,1,true\n"
        "3,Rome,1,true\n"
        "4,Oslo,101,true\n"
        "5,Oslo,-1,maybe\n"
        "6,Oslo,1,\n"
        "7,Oslo\n"
        "8,Oslo,1,true,more\n"
        "9,,inf,false\n"
    )

    ingested = run_ingest(max_bad_rows=8)

    assert ingested.rows == RowAccount(read=9, kept=1, quarantined=8, duplicates=0, set_aside={})
    assert [
        (line["row"], line["column"], line["value"], line["reason"])
        for line in sorted(quarantined(ingested), key=lambda line: (line["row"], line["column"] or ""))
    ] == [
        (2, "id", "two", "is not a whole number up to 2**53"),
        (3, "city", "Rome", "is none of Oslo, Lima"),
        (4, "amount", "101.0", "is above 100 EUR"),
        (5, "late", "maybe", "is neither true nor false"),
        (6, "late", None, "is missing"),
        (7, None, None, "expected 4 fields, found 2"),
        (8, None, None, "expected 4 fields, found 5"),
        (9, "amount", "inf", "is not a finite number"),
    ]


def test_the_quarantine_keeps_the_record_as_the_source_gave_it(
    tmp_path: Path, run_ingest: Ingest, quarantined: Lines
) -> None:
    (tmp_path / "table.csv").write_text("id,city,amount,late\n1,Oslo,1,true\nx,Lima,2,true\n")

    [line] = quarantined(run_ingest(max_bad_rows=1))

    assert line["file"] == "table.csv"
    assert json.loads(line["record"]) == {"id": "x", "city": "Lima", "amount": "2", "late": "true"}


def test_a_row_with_two_bad_values_counts_once_and_has_two_lines(
    tmp_path: Path, run_ingest: Ingest, quarantined: Lines
) -> None:
    (tmp_path / "table.csv").write_text("id,city,amount,late\n1,Oslo,1,true\nx,Lima,y,true\n")

    ingested = run_ingest(max_bad_rows=1)

    assert ingested.rows.quarantined == 1
    assert [line["column"] for line in quarantined(ingested)] == ["id", "amount"]


def test_a_wrong_type_in_row_100_001_is_found_there(tmp_path: Path, store: LocalStore, run_ingest: Ingest) -> None:
    lines = [f"{number},Oslo,1,true" for number in range(1, 150_001)]
    lines[100_000] = "100001,Oslo,much,true"
    (tmp_path / "table.csv").write_text("id,city,amount,late\n" + "\n".join(lines) + "\n")

    with pytest.raises(
        TooManyBadRows, match=r"table\.csv row 100001: amount = 'much' is not a finite number"
    ) as caught:
        run_ingest()

    assert "1 of 150000 rows are bad; allowed are 0" in str(caught.value)
    kept = [key for key in store.list("snapshots/") if key in str(caught.value)]
    assert len(kept) == 1
    assert list(store.list("snapshots/")) == kept


def test_all_missing_columns_are_named_at_once(tmp_path: Path, store: LocalStore, run_ingest: Ingest) -> None:
    (tmp_path / "table.csv").write_text("id,town,late\n1,Oslo,true\n")

    with pytest.raises(SourceError, match=r"table\.csv has no column 'city', 'amount'; it has: id, town, late"):
        run_ingest()
    assert list(store.list("snapshots/")) == []


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(tmp_path: Path, run_ingest: Ingest, content: bytes) -> None:
    (tmp_path / "table.csv").write_bytes(content)

    with pytest.raises(SourceError, match=r"table\.csv is empty"):
        run_ingest()


@pytest.mark.parametrize("content", ["id,city,amount,late\n", "id,city,amount,late"])
def test_a_header_without_rows_is_refused(tmp_path: Path, run_ingest: Ingest, content: str) -> None:
    (tmp_path / "table.csv").write_text(content)

    with pytest.raises(SourceError, match=r"has no rows below its header|is empty"):
        run_ingest()


def _packed(rows: int) -> bytes:
    text = "id,city,amount,late\n" + "".join(f"{n},Oslo,{n % 100}.{n * 7919 % 1000},true\n" for n in range(rows))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.csv", text)
    return buffer.getvalue()


def test_a_truncated_zip_is_refused(tmp_path: Path, store: LocalStore, run_ingest: Ingest) -> None:
    whole = _packed(10_000)
    (tmp_path / "table.csv.zip").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(SourceError, match=r"table\.csv\.zip is damaged or cut short"):
        run_ingest(source={"kind": "csv", "path": "table.csv.zip"})
    assert list(store.list("snapshots/")) == []


def test_a_zip_with_a_flipped_byte_is_refused(tmp_path: Path, run_ingest: Ingest) -> None:
    damaged = bytearray(_packed(10_000))
    damaged[len(damaged) // 2] ^= 0xFF
    (tmp_path / "table.csv.zip").write_bytes(damaged)

    with pytest.raises(SourceError, match=r"table\.csv\.zip is damaged or cut short"):
        run_ingest(source={"kind": "csv", "path": "table.csv.zip"})


def test_a_truncated_gzip_is_refused(tmp_path: Path, run_ingest: Ingest) -> None:
    whole = gzip.compress(b"id,city,amount,late\n" + b"1,Oslo,1,true\n" * 10_000)
    (tmp_path / "table.csv.gz").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(SourceError, match=r"table\.csv\.gz is damaged or cut short"):
        run_ingest(source={"kind": "csv", "path": "table.csv.gz"})


def test_rows_are_set_aside_by_the_first_condition_that_holds(tmp_path: Path, run_ingest: Ingest) -> None:
    (tmp_path / "table.csv").write_text(
        "id,city,amount,late\n1,Oslo,1,true\n2,Oslo,,\n3,Oslo,5,\n4,Oslo,200,true\n5,Oslo,,true\n"
    )

    ingested = run_ingest(
        set_aside=[
            {"reason": "unlabelled", "where": "late IS NULL"},
            {"reason": "unpaid", "where": "amount IS NULL"},
            {"reason": "huge", "where": "amount > 150"},
            {"reason": "never", "where": "id < 0"},
        ]
    )

    assert ingested.rows.set_aside == {"unlabelled": 2, "unpaid": 1, "huge": 1, "never": 0}
    assert ingested.rows.kept == 1


def test_a_condition_need_not_be_computable_for_rows_that_are_set_aside_before_it(
    tmp_path: Path, run_ingest: Ingest, columns: list[dict[str, Any]]
) -> None:
    columns.append({"name": "day", "type": "string", "role": "info"})
    (tmp_path / "table.csv").write_text(
        "id,city,amount,late,day\n1,Oslo,1,true,2013-01-05\n2,Oslo,1,true,unknown\n3,Oslo,1,true,2012-12-31\n"
    )
    early = {"reason": "early", "where": "DATE(day) < DATE('2013-01-01')"}
    unknown = {"reason": "unknown", "where": "day = 'unknown'"}

    ingested = run_ingest(columns=columns, set_aside=[unknown, early])

    assert (ingested.rows.set_aside, ingested.rows.kept) == ({"unknown": 1, "early": 1}, 1)
    with pytest.raises(DataError, match="set_aside 'early' cannot be computed for some rows"):
        run_ingest(columns=columns, set_aside=[early, unknown])


def test_no_row_left_is_an_error(tmp_path: Path, store: LocalStore, run_ingest: Ingest) -> None:
    (tmp_path / "table.csv").write_text("id,city,amount,late\n1,Oslo,1,true\n")

    with pytest.raises(DataError, match=r"none of 1 rows is left.*everything"):
        run_ingest(set_aside=[{"reason": "everything", "where": "id > 0"}])
    assert list(store.list("snapshots/")) == []


def test_a_missing_target_is_a_bad_row_unless_set_aside(tmp_path: Path, run_ingest: Ingest) -> None:
    (tmp_path / "table.csv").write_text("id,city,amount,late\n1,Oslo,1,true\n2,Oslo,1,\n")

    with pytest.raises(TooManyBadRows, match="late is missing"):
        run_ingest()


def test_bad_rows_may_be_allowed_as_a_share(tmp_path: Path, run_ingest: Ingest) -> None:
    rows = [f"{number},Oslo,{'x' if number < 29 else 1},true" for number in range(100)]
    (tmp_path / "table.csv").write_text("id,city,amount,late\n" + "\n".join(rows))

    assert run_ingest(max_bad_rows=0.29).rows.quarantined == 29
    with pytest.raises(TooManyBadRows, match="29 of 100 rows are bad; allowed are 28"):
        run_ingest(max_bad_rows=0.28)


def test_a_private_value_is_not_in_the_message(
    tmp_path: Path, run_ingest: Ingest, columns: list[dict[str, Any]]
) -> None:
    columns[2]["private"] = True
    (tmp_path / "table.csv").write_text("id,city,amount,late\n1,Oslo,sesame,true\n")

    with pytest.raises(TooManyBadRows, match="row 1: amount is not a finite number") as caught:
        run_ingest(columns=columns)
    assert "sesame" not in str(caught.value)


def test_an_expression_uses_the_columns_above_it(
    tmp_path: Path, store: LocalStore, run_ingest: Ingest, columns: list[dict[str, Any]]
) -> None:
    columns += [
        {"name": "double", "type": "number", "role": "info", "nullable": True, "expression": "amount * 2"},
        {"name": "quadruple", "type": "number", "role": "info", "nullable": True, "expression": "double * 2"},
    ]
    (tmp_path / "table.csv").write_text("id,city,amount,late\n1,Oslo,1.5,true\n2,Oslo,,true\n")

    table = Snapshots(store).load(run_ingest(columns=columns).snapshot_id)

    assert table["quadruple"].to_list() == [6.0, None]


@pytest.mark.parametrize("years", [2, 2_000])
def test_a_date_is_the_same_whether_it_is_worked_out_once_a_day_or_once_a_row(
    tmp_path: Path, store: LocalStore, run_ingest: Ingest, columns: list[dict[str, Any]], years: int
) -> None:
    columns += [{"name": name, "type": "integer", "role": "info"} for name in ("year", "month", "day")]
    date = "DATE(CONCAT(year, '-', month, '-', day))"
    columns.append({"name": "date", "type": "date", "role": "info", "expression": date})
    number = pl.int_range(24_000, eager=True)
    table = pl.DataFrame(
        {
            "id": number,
            "city": "Oslo",
            "amount": 1.0,
            "late": True,
            "year": number % years + 1000,
            "month": number % 12 + 1,
            "day": number % 28 + 1,
        }
    )
    table.write_parquet(tmp_path / "table.parquet")

    found = Snapshots(store).load(
        run_ingest(source={"kind": "parquet", "path": "table.parquet"}, columns=columns).snapshot_id
    )

    expected = table.select(pl.date("year", "month", "day")).to_series()
    assert found["date"].equals(expected)


def test_a_date_that_there_is_not_is_refused_where_days_repeat_as_well(
    tmp_path: Path, run_ingest: Ingest, columns: list[dict[str, Any]]
) -> None:
    columns += [
        {"name": "day", "type": "integer", "role": "info"},
        {"name": "date", "type": "date", "role": "info", "expression": "DATE(CONCAT('2013-02-', day))"},
    ]
    rows = "".join(f"{n},Oslo,1,true,{31 if n == 19_999 else n % 28 + 1}\n" for n in range(20_000))
    (tmp_path / "table.csv").write_text("id,city,amount,late,day\n" + rows)

    with pytest.raises(DataError, match="column 'date' cannot be computed for some rows"):
        run_ingest(columns=columns)


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("amonut * 2", r"names 'amonut'; it may use: id, city, amount, late"),
        ("amount *", "is not an SQL expression"),
        ("no_such_function(amount)", "is not an SQL expression"),
    ],
)
def test_a_wrong_expression_is_refused_before_a_row_is_read(
    tmp_path: Path, run_ingest: Ingest, columns: list[dict[str, Any]], expression: str, complaint: str
) -> None:
    columns.append({"name": "derived", "type": "number", "role": "info", "expression": expression})
    (tmp_path / "table.csv").write_text("id,city,amount,late\nnot,even,one,row\n")

    with pytest.raises(UseCaseError, match=complaint):
        run_ingest(columns=columns)


def test_a_set_aside_that_is_no_condition_is_refused(tmp_path: Path, run_ingest: Ingest) -> None:
    (tmp_path / "table.csv").write_text("id,city,amount,late\n1,Oslo,1,true\n")

    with pytest.raises(UseCaseError, match="'amount' gives Float64; expected a condition"):
        run_ingest(set_aside=[{"reason": "odd", "where": "amount"}])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"source": {"kind": "cvs", "path": "x"}}, "'csv', 'parquet', 'sql', 'package'"),
        ({"source": {"kind": "csv", "path": "x", "columns": {"town": "City"}}}, "'town', which is not read"),
        (
            {"joins": [{"source": {"kind": "csv", "path": "x"}, "on": ["city"], "columns": {"people": "n"}}]},
            "'people', which is not in columns",
        ),
        (
            {"joins": [{"source": {"kind": "csv", "path": "x"}, "on": ["amount"], "columns": {"amount": "n"}}]},
            "'amount', which is neither read nor joined",
        ),
    ],
)
def test_a_data_section_that_does_not_hang_together_is_refused(
    columns: list[dict[str, Any]], change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        DataSpec.model_validate({"source": {"kind": "csv", "path": "x"}, "columns": columns, **change})


def test_the_same_rows_give_the_same_snapshot_and_reuse_it(
    tmp_path: Path, store: LocalStore, run_ingest: Ingest
) -> None:
    (tmp_path / "table.csv").write_text("id,city,amount,late\n1,Oslo,1,true\n2,Lima,2.50,false\n")
    (tmp_path / "copy.csv").write_text('"amount","late","id","city"\n1.0,1,1,Oslo\n2.5,0,2,Lima\n')

    first = run_ingest()
    again = run_ingest(source={"kind": "csv", "path": "copy.csv"})

    assert again.snapshot_id == first.snapshot_id
    assert again.reused
    assert len(list(store.list("snapshots/"))) == 2


def test_one_changed_value_gives_another_snapshot(tmp_path: Path, run_ingest: Ingest) -> None:
    (tmp_path / "table.csv").write_text("id,city,amount,late\n1,Oslo,1,true\n")
    first = run_ingest()
    (tmp_path / "table.csv").write_text("id,city,amount,late\n1,Oslo,1,false\n")

    assert run_ingest().snapshot_id != first.snapshot_id


_CELLS = st.sampled_from(["1", "2", "3", "x", "", "Oslo", "Lima", "true", "false", "7.5", "-1", '"a,b"'])


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(_CELLS, min_size=3, max_size=5), min_size=1, max_size=20))
def test_every_row_read_is_accounted_for(
    tmp_path: Path, run_ingest: Ingest, columns: list[dict[str, Any]], rows: list[list[str]]
) -> None:
    (tmp_path / "table.csv").write_text("id,city,amount,late\n" + "".join(",".join(row) + "\n" for row in rows))
    good = "99,Oslo,1,true\n"
    with (tmp_path / "table.csv").open("a") as file:
        file.write(good)

    account = run_ingest(max_bad_rows=1.0, set_aside=[{"reason": "lima", "where": "city = 'Lima'"}]).rows

    assert account.read == len(rows) + 1
    assert account.balances
    assert account.kept >= 1
