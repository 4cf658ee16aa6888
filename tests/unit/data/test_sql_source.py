"""Queries against a real PostgreSQL, and against SQLite."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text

from aforo.data.ingestion import Ingested
from aforo.data.snapshots import Snapshots
from aforo.data.sources import SqlSource
from aforo.data.sources.sql import expand_url
from aforo.errors import SettingsError, SourceError, StoreUnavailable
from aforo.settings import Settings
from aforo.storage import LocalStore

Ingest = Callable[..., Ingested]


def execute(url: str, *statements: str) -> None:
    engine = sqlalchemy.create_engine(expand_url(url, {}), poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_a_query_on_postgres_becomes_a_snapshot(
    postgres_url: str, store: LocalStore, run_ingest: Ingest, columns: list[dict[str, Any]]
) -> None:
    columns += [
        {"name": "day", "type": "date", "role": "info"},
        {"name": "moment", "type": "timestamp", "role": "time"},
        {"name": "price", "type": "number", "role": "info", "nullable": True},
    ]
    execute(
        postgres_url,
        "CREATE TABLE sales (id bigint, city text, amount double precision, late boolean, day date,"
        " moment timestamptz, price numeric(10, 2))",
        "INSERT INTO sales VALUES (1, 'Oslo', 1.5, true, '2013-01-31', '2013-01-31 10:00+02', 9.99),"
        " (2, 'Lima', 'NaN', false, '2013-02-01', '2013-02-01 00:00+00', NULL)",
    )

    ingested = run_ingest(
        source={"kind": "sql", "url": postgres_url, "query": "SELECT * FROM sales ORDER BY id;"}, columns=columns
    )

    assert Snapshots(store).load(ingested.snapshot_id).rows() == [
        (1, "Oslo", 1.5, True, dt.date(2013, 1, 31), dt.datetime(2013, 1, 31, 8, tzinfo=dt.UTC), 9.99),
        (2, "Lima", None, False, dt.date(2013, 2, 1), dt.datetime(2013, 2, 1, tzinfo=dt.UTC), None),
    ]


def test_a_large_result_comes_in_batches_and_equals_the_same_rows_in_a_csv(
    postgres_url: str, tmp_path: Path, settings: Settings, run_ingest: Ingest
) -> None:
    query = (
        "SELECT n AS id, CASE WHEN n % 3 = 0 THEN 'Oslo' ELSE 'Lima' END AS city, (n % 100)::float8 AS amount,"
        " n % 2 = 0 AS late FROM generate_series(1, 100000) AS n"
    )
    (tmp_path / "table.csv").write_text(
        "id,city,amount,late\n"
        + "".join(f"{n},{'Lima' if n % 3 else 'Oslo'},{n % 100},{n % 2 == 0}\n" for n in range(1, 100_001))
    )

    source = SqlSource(url=postgres_url, query=query)
    batches = list(source.open(tmp_path, settings).batches(["id"]))

    assert len(batches) > 2
    assert [batch.numbers[0] for batch in batches] == [batch.table["id"][0] for batch in batches]
    assert run_ingest(source=source.model_dump()).snapshot_id == run_ingest().snapshot_id


def test_the_order_of_columns_in_the_query_does_not_matter(
    postgres_url: str, store: LocalStore, run_ingest: Ingest
) -> None:
    query = "SELECT true AS late, 'Oslo' AS \"City\", 1 AS id, 2.5 AS amount"

    ingested = run_ingest(source={"kind": "sql", "url": postgres_url, "query": query, "columns": {"city": "City"}})

    assert Snapshots(store).load(ingested.snapshot_id).rows() == [(1, "Oslo", 2.5, True)]


def test_a_query_that_postgres_refuses_says_why(postgres_url: str, run_ingest: Ingest) -> None:
    with pytest.raises(SourceError, match='relation "nothing" does not exist'):
        run_ingest(source={"kind": "sql", "url": postgres_url, "query": "SELECT * FROM nothing"})


def test_a_missing_column_is_named(postgres_url: str, run_ingest: Ingest) -> None:
    with pytest.raises(SourceError, match="no column 'city', 'amount', 'late'; it has: id"):
        run_ingest(source={"kind": "sql", "url": postgres_url, "query": "SELECT 1 AS id"})


def test_a_query_without_rows_is_refused(postgres_url: str, run_ingest: Ingest) -> None:
    query = "SELECT 1 AS id, 'Oslo' AS city, 1.0 AS amount, true AS late WHERE 1 = 0"

    with pytest.raises(SourceError, match="has no rows"):
        run_ingest(source={"kind": "sql", "url": postgres_url, "query": query})


def test_a_value_of_another_type_in_sqlite_is_a_bad_row(
    tmp_path: Path, run_ingest: Ingest, quarantined: Callable[[Ingested], list[dict[str, Any]]]
) -> None:
    url = f"sqlite:///{tmp_path / 'sales.db'}"
    execute(
        url,
        "CREATE TABLE sales (id, city, amount, late)",
        "INSERT INTO sales VALUES (1, 'Oslo', 1, 1), (2, 'Oslo', 'much', 0), (3, 'Oslo', 2.5, 0)",
    )

    ingested = run_ingest(source={"kind": "sql", "url": url, "query": "SELECT * FROM sales"}, max_bad_rows=1)

    [line] = quarantined(ingested)
    assert (line["row"], line["column"], line["value"]) == (2, "amount", "much")


def test_a_server_that_does_not_answer_is_unavailable(run_ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALES_PASSWORD", "sesame")
    url = "postgresql://me:${SALES_PASSWORD}@127.0.0.1:9/sales"

    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:9.*does not answer") as caught:
        run_ingest(source={"kind": "sql", "url": url, "query": "SELECT 1"})
    assert "sesame" not in str(caught.value)


def test_variables_are_filled_in_and_the_installed_driver_is_chosen() -> None:
    url = expand_url("postgresql://me:${PASSWORD}@host/db", {"PASSWORD": "p-w"})

    assert url.drivername == "postgresql+psycopg2"
    assert url.password == "p-w"


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(SettingsError, match="PASSWORD is not set"):
        expand_url("postgresql://me:${PASSWORD}@host/db", {})


@pytest.mark.parametrize("url", ["no url", "nosuchdialect://host/db"])
def test_what_is_no_database_url_is_refused(tmp_path: Path, settings: Settings, url: str) -> None:
    with pytest.raises(SourceError):
        SqlSource(url=url, query="SELECT 1").open(tmp_path, settings)
