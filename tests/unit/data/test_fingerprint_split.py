"""A row's part follows from its key alone, by the function that BigQuery has."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aforo.data.splits import FingerprintSplit, FingerprintSplitSpec, Shares, split_digest
from aforo.data.splits.digest import SplitDigest
from aforo.data.splits.keytext import fingerprint, key_text
from aforo.errors import DataError

DAYS = pl.DataFrame({"date": pl.date_range(dt.date(2000, 1, 1), dt.date(2013, 12, 31), eager=True)})


def signed(texts: list[str]) -> list[int]:
    return pl.DataFrame({"t": texts}).select(fingerprint(pl.col("t")).reinterpret(signed=True)).to_series().to_list()


def test_the_fingerprint_equals_bigquery_s_documented_values() -> None:
    # Google Cloud, "Hash functions": FARM_FINGERPRINT(CONCAT(CAST(x AS STRING), y, CAST(z AS STRING))).
    rows = pl.DataFrame({"x": [1, 2, 3], "y": ["foo", "apple", ""], "z": [True, False, True]})
    text = pl.concat_str([key_text(name, dtype) for name, dtype in rows.schema.items()])

    assert rows.select(fingerprint(text).reinterpret(signed=True)).to_series().to_list() == [
        -1541654101129638711,
        2794438866806483259,
        -4880158226897771312,
    ]


def test_a_row_is_where_sql_puts_it() -> None:
    """ABS(MOD(FARM_FINGERPRINT(key), 100)) below 60, 75, 85 or above."""
    texts = [f"key {number}" for number in range(2_000)]
    percents = [abs(value) % 100 for value in signed(texts)]
    expected = [sum(percent >= edge for edge in (60, 75, 85)) for percent in percents]

    parts = FingerprintSplitSpec(key=("k",)).build().assign(pl.DataFrame({"k": texts}))

    assert parts.to_list() == expected
    assert parts.dtype == pl.UInt8
    assert min(signed(texts)) < 0 < max(signed(texts))


def test_shares_come_close_to_what_was_asked() -> None:
    parts = FingerprintSplitSpec(key=("date",)).build().assign(DAYS)

    counts = parts.value_counts().sort("part")["count"].to_list()

    # Four standard deviations of a binomial count over 5,114 days.
    for count, share in zip(counts, (0.60, 0.15, 0.10, 0.15), strict=True):
        assert abs(count - share * len(DAYS)) < 4 * (len(DAYS) * share * (1 - share)) ** 0.5


def test_a_row_stays_in_its_part_when_rows_are_added_or_reordered() -> None:
    split = FingerprintSplitSpec(key=("date",)).build()
    before = dict(zip(DAYS["date"], split.assign(DAYS), strict=True))
    more = pl.concat([pl.DataFrame({"date": [dt.date(1999, 1, 1)]}), DAYS.reverse()])

    after = dict(zip(more["date"], split.assign(more), strict=True))

    assert {day: after[day] for day in before} == before


def test_rows_of_one_key_stay_together() -> None:
    rows = pl.DataFrame({"date": DAYS["date"].to_list() * 3, "flight": range(3 * len(DAYS))})

    parts = FingerprintSplitSpec(key=("date",)).build().assign(rows)

    assert rows.with_columns(parts).group_by("date").agg(pl.col("part").n_unique())["part"].max() == 1


def test_a_table_that_is_scanned_is_split_as_one_in_memory() -> None:
    split = FingerprintSplitSpec(key=("date",)).build()

    assert split.assign(DAYS.lazy()).equals(split.assign(DAYS))


def test_another_salt_is_another_split() -> None:
    plain = FingerprintSplitSpec(key=("date",)).build().assign(DAYS)

    assert not plain.equals(FingerprintSplitSpec(key=("date",), salt="b").build().assign(DAYS))


@given(st.lists(st.text(), min_size=1))
def test_every_row_has_one_part(texts: list[str]) -> None:
    parts = FingerprintSplit(key=("k",), shares=(25, 25, 25, 25)).assign(pl.DataFrame({"k": texts}))

    assert len(parts) == len(texts)
    assert set(parts) <= {0, 1, 2, 3}


def test_a_part_may_have_no_rows() -> None:
    shares = Shares(train=80, validation=0, calibration=0, test=20)

    assert set(FingerprintSplitSpec(key=("date",), shares=shares).build().assign(DAYS)) == {0, 3}


@pytest.mark.parametrize(
    "shares",
    [{"train": 60, "validation": 15, "calibration": 10, "test": 14}, {"train": 0, "test": 75}, {"train": 60.5}],
)
def test_shares_that_do_not_add_up_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=r"add up to 99|need a share|valid integer"):
        Shares.model_validate(shares)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [(["a", None], "1 rows have no value"), ([1.5, 2.0], "is a Float64, which has no one text")],
)
def test_a_key_without_one_text_is_refused(values: list[object], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        FingerprintSplitSpec(key=("k",)).build().assign(pl.DataFrame({"k": values}))


def test_a_key_that_is_not_in_the_table_is_named() -> None:
    with pytest.raises(DataError, match="key month is not in the table: date"):
        FingerprintSplitSpec(key=("month",)).build().assign(DAYS)


def test_timestamps_are_written_as_bigquery_writes_them() -> None:
    moments = pl.DataFrame(
        {
            "m": [
                dt.datetime(2013, 1, 31, 10, tzinfo=dt.UTC),
                dt.datetime(2013, 1, 31, 10, 0, 0, 250_000, tzinfo=dt.UTC),
                dt.datetime(2013, 1, 31, 10, 0, 0, 1, tzinfo=dt.UTC),
            ]
        }
    )

    assert moments.select(key_text("m", moments.schema["m"])).to_series().to_list() == [
        "2013-01-31 10:00:00+00",
        "2013-01-31 10:00:00.250+00",
        "2013-01-31 10:00:00.000001+00",
    ]


def test_the_digest_ignores_the_order_of_rows_and_nothing_else() -> None:
    keys = pl.DataFrame({"a": [1, 2, 3], "b": ["x", "y", None]})
    parts = pl.Series([0, 1, 3], dtype=pl.UInt8)
    digest = split_digest(keys, parts)

    assert split_digest(keys.reverse(), parts.reverse()) == digest
    assert len(digest) == 64
    assert split_digest(keys, pl.Series([0, 1, 2])) != digest
    assert split_digest(keys.head(2), parts.head(2)) != digest
    assert split_digest(keys.with_columns(b=pl.lit("x")), parts) != digest


def test_the_digest_tells_keys_apart_whose_texts_run_together() -> None:
    part = pl.Series([0])

    assert split_digest(pl.DataFrame({"a": ["1"], "b": ["23"]}), part) != split_digest(
        pl.DataFrame({"a": ["12"], "b": ["3"]}), part
    )


def test_a_batch_where_keys_repeat_gets_the_parts_that_its_rows_get_alone() -> None:
    """Above 10,000 rows with few keys each key is placed once, and a column may even be called `part`."""
    rows = pl.DataFrame({"part": [f"key {number % 700}" for number in range(20_000)]})
    split = FingerprintSplitSpec(key=("part",)).build()

    assert split.assign(rows).equals(split.assign(rows.lazy()))


def test_a_missing_key_is_refused_where_keys_repeat() -> None:
    rows = pl.DataFrame({"k": ["a", None, "b", "c"] * 5_000})

    with pytest.raises(DataError, match="5000 rows have no value in the split's key"):
        FingerprintSplitSpec(key=("k",)).build().assign(rows)


def test_the_digest_of_batches_is_that_of_the_whole() -> None:
    keys = pl.DataFrame({"a": range(1_000)})
    parts = FingerprintSplitSpec(key=("a",)).build().assign(keys)
    digest = SplitDigest(1_000)

    for start in range(0, 1_000, 300):
        digest.add(keys.slice(start, 300), parts.slice(start, 300))

    assert digest.hexdigest() == split_digest(keys, parts)
