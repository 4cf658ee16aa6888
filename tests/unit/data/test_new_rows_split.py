"""The split over a bridge: rows of the older schema are for training, or for nothing."""

from __future__ import annotations

import datetime as dt

import polars as pl
import psycopg2
import pytest

from aforo.contracts.run import PARTS
from aforo.data.splits import LABELS, LEFT_OUT, FingerprintSplit, NewRowsSplit, postgres_functions
from aforo.errors import DataError

SINCE = dt.date(2013, 7, 1)
INNER = FingerprintSplit(key=("id",), shares=(40, 20, 20, 20))
MOMENTS = [dt.datetime(2013, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=12 * n) for n in range(730)]
TABLE = pl.DataFrame({"id": range(730), "moment": MOMENTS}).with_columns(day=pl.col("moment").dt.date())


@pytest.mark.parametrize("column", ["day", "moment"])
def test_old_rows_are_in_train_or_in_no_part_and_all_others_stay_where_they_were(column: str) -> None:
    before = INNER.assign(TABLE)
    after = NewRowsSplit(INNER, column=column, since=SINCE).assign(TABLE)
    is_old = TABLE["day"] < SINCE

    assert set(after.filter(is_old)) == {PARTS.index("train"), LEFT_OUT}
    assert after.filter(~is_old).equals(before.filter(~is_old))
    assert after.filter(before == PARTS.index("train")).unique().to_list() == [PARTS.index("train")]


def test_a_row_has_the_same_part_alone_as_among_others() -> None:
    split = NewRowsSplit(INNER, column="day", since=SINCE)

    assert pl.concat(split.assign(row) for row in TABLE.iter_slices(1)).equals(split.assign(TABLE))


def test_a_row_of_which_nobody_knows_whether_it_is_old_is_refused() -> None:
    split = NewRowsSplit(INNER, column="day", since=SINCE)
    table = TABLE.with_columns(day=pl.when(pl.col("id") < 2).then(None).otherwise(pl.col("day")))

    with pytest.raises(DataError, match="2 rows have no value in the split's key"):
        split.assign(table)


def test_postgres_puts_every_row_into_the_same_part(postgres_url: str) -> None:
    split = NewRowsSplit(INNER, column="moment", since=SINCE)
    connection = psycopg2.connect(postgres_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'America/New_York'")
            cursor.execute(postgres_functions())
            values = ", ".join(f"({n}, '{moment.isoformat()}')" for n, moment, _ in TABLE.iter_rows())
            rows = f"SELECT id, said::timestamptz AS moment FROM (VALUES {values}) AS given (id, said)"
            cursor.execute(f"SELECT {split.sql(TABLE.schema, 'postgres')} FROM ({rows}) AS t ORDER BY id")
            found = [part for (part,) in cursor.fetchall()]
    finally:
        connection.close()

    assert found == [LABELS[code] for code in split.assign(TABLE)]


def test_bigquery_is_asked_the_same() -> None:
    sql = NewRowsSplit(INNER, column="day", since=SINCE).sql(TABLE.schema, "bigquery")

    assert sql.startswith("CASE WHEN `day` IS NULL THEN NULL WHEN `day` < DATE '2013-07-01' AND ['train', ")
    assert " <> 'train' THEN 'left_out' ELSE ['train', " in sql
