"""What each split does beyond the common suite, and what is said where one tears apart or leaves out."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from aforo.data.splits import (
    LEFT_OUT,
    SplitSpec,
    SplitSpecification,
    StratifiedSplit,
    missing_slices,
    spanning_keys,
)

ADAPTER: TypeAdapter[SplitSpecification] = TypeAdapter(SplitSpec)
DAY = {"day": pl.Date()}


def split(**document: Any) -> SplitSpecification:
    return ADAPTER.validate_python(document)


def test_a_sequential_split_puts_each_day_into_its_period() -> None:
    spec = split(
        kind="sequential", column="t", validation_from="2013-03-01", calibration_from="2013-03-11",
        test_from="2013-03-21", gap_days=2,
    )  # fmt: skip
    midnight = dt.datetime(2013, 3, 1, tzinfo=dt.UTC)
    offsets = {-3: 0, -2: LEFT_OUT, -1: LEFT_OUT, 0: 1, 7: 1, 8: LEFT_OUT, 10: 2, 17: 2, 18: LEFT_OUT, 20: 3, 999: 3}
    late = dt.timedelta(hours=23, minutes=59)

    rows = pl.DataFrame({"t": [midnight + dt.timedelta(days=days) + late for days in offsets]})

    assert spec.build().assign(rows).to_list() == list(offsets.values())


def test_a_seasonal_split_has_the_book_s_days() -> None:
    spec = split(kind="seasonal", column="day", until={"train": 20, "validation": 23, "calibration": 25})
    days = pl.date_range(dt.date(2012, 2, 1), dt.date(2012, 2, 29), eager=True)

    parts = spec.build().assign(pl.DataFrame({"day": days})).to_list()

    assert parts == [0] * 20 + [1] * 3 + [2] * 2 + [3] * 4


def test_the_day_of_a_timestamp_is_that_of_utc() -> None:
    spec = split(kind="seasonal", column="t", until={"train": 20, "validation": 23, "calibration": 25})
    evening = pl.Series([dt.datetime(2013, 1, 21, 1, tzinfo=dt.UTC)]).dt.convert_time_zone("America/New_York")

    assert spec.build().assign(pl.DataFrame({"t": evening})).to_list() == [1]


def test_balanced_seeds_bring_a_rare_slice_into_every_part_and_leave_the_others_alone() -> None:
    rows = pl.DataFrame({"id": range(5_000), "carrier": ["HA"] * 12 + ["OO"] * 20 + ["UA"] * 4_968})
    options: dict[str, Any] = {"by": ("carrier",), "key": ("id",), "shares": (60, 15, 10, 15)}
    plain = StratifiedSplit(**options)

    seeds = plain.balance(rows)
    parts = StratifiedSplit(**options, seeds=seeds).assign(rows)

    for carrier, total in (("HA", 12), ("OO", 20)):
        counts = [(parts.filter(rows["carrier"] == carrier) == part).sum() for part in range(4)]
        assert all(
            abs(count - total * share / 100) <= 1 for count, share in zip(counts, options["shares"], strict=True)
        )
    assert not missing_slices(rows["carrier"], parts)
    untouched = ~rows["carrier"].is_in(list(seeds))
    assert parts.filter(untouched).equals(plain.assign(rows).filter(untouched))
    assert StratifiedSplit(**options, seeds=seeds).balance(rows) == seeds


def test_a_missing_value_is_a_stratum_of_its_own() -> None:
    rows = pl.DataFrame({"id": range(400), "maybe": [None] * 400}, schema_overrides={"maybe": pl.String})
    spec = split(kind="stratified", by=["maybe"], key=["id"])

    first, other = (s.build().assign(rows) for s in (spec, spec.model_copy(update={"seeds": {"": 3}})))

    assert first.null_count() == 0
    assert not first.equals(other)


def test_spanning_values_are_counted_and_shown() -> None:
    customers = pl.Series("customer", ["ann", "ann", "bob", "cy", "cy", None, None])

    assert (
        spanning_keys(customers, pl.Series([0, 3, 0, 1, 2, 0, 3], dtype=pl.UInt8))
        == "2 of 3 values of 'customer' span parts, for example ann, cy"
    )
    assert spanning_keys(customers, pl.Series([0, 0, 0, 1, 1, 0, 3], dtype=pl.UInt8)) is None


def test_a_row_that_is_left_out_tears_nothing_apart() -> None:
    assert spanning_keys(pl.Series("k", ["a", "a"]), pl.Series([0, LEFT_OUT], dtype=pl.UInt8)) is None


def test_a_missing_slice_is_named_with_its_part() -> None:
    carriers = pl.Series("carrier", ["AA", "HA", "AA", "AA", "HA", "OO"])
    parts = pl.Series([0, 0, 1, 3, 3, 0], dtype=pl.UInt8)

    assert missing_slices(carriers, parts) == [
        "2 of 3 values of 'carrier' have no row in validation: HA, OO",
        "1 of 3 values of 'carrier' have no row in test: OO",
    ]


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (
            {"kind": "sequential", "column": "day", "validation_from": "2013-02-01", "calibration_from": "2013-02-03",
             "test_from": "2013-03-01", "gap_days": 2},
            "calibration_from is 2 days after validation_from; expected more than gap_days, which is 2",
        ),
        ({"kind": "sequential", "column": "day", "validation_from": "soon"}, "valid date"),
        (
            {"kind": "seasonal", "column": "day", "until": {"train": 20, "validation": 20, "calibration": 25}},
            "the block of days 21 to 20 has 0 days; expected more than gap_days, which is 0",
        ),
        (
            {"kind": "seasonal", "column": "day", "gap_days": 3},
            "the block of days 19 to 21 has 3 days; expected more than gap_days, which is 3",
        ),
        (
            {"kind": "grouped", "by": ["site"], "pinned": {"test": ["Oslo"], "train": ["Oslo"]}},
            "pinned names the group 'Oslo' 2 times; a group belongs to one part",
        ),
        ({"kind": "stratified", "by": []}, "at least 1 item"),
        ({"kind": "stratified", "by": ["a"], "seeds": {"x": -1}}, "greater than or equal to 0"),
    ],
)  # fmt: skip
def test_a_split_that_contradicts_itself_is_refused(document: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        ADAPTER.validate_python(document)


@pytest.mark.parametrize(
    ("document", "dialect", "text"),
    [
        (
            {"kind": "sequential", "column": "day", "validation_from": "2013-02-01", "calibration_from": "2013-03-01",
             "test_from": "2013-04-01", "gap_days": 1},
            "bigquery",
            "['train', 'left_out', 'validation', 'left_out', 'calibration', 'left_out', 'test']"
            "[OFFSET(RANGE_BUCKET(`day`, "
            "[DATE '2013-01-31', DATE '2013-02-01', DATE '2013-02-28', DATE '2013-03-01', DATE '2013-03-31', "
            "DATE '2013-04-01']))]",
        ),
        (
            {"kind": "fingerprint", "key": ["day"], "salt": "it's \\"},
            "bigquery",
            "['train', 'validation', 'calibration', 'test'][OFFSET(RANGE_BUCKET(ABS(MOD(FARM_FINGERPRINT("
            "CONCAT('it\\'s \\\\', CAST(`day` AS STRING))), 100)), [60, 75, 85]))]",
        ),
        (
            {"kind": "seasonal", "column": "day"},
            "postgres",
            "(ARRAY['left_out', 'left_out', 'train', 'left_out', 'validation', 'left_out', 'calibration', 'left_out', "
            "'test'])[1 + width_bucket(EXTRACT(DAY FROM \"day\")::int, ARRAY[1, 1, 19, 19, 22, 22, 25, 25])]",
        ),
    ],
)  # fmt: skip
def test_the_sql_reads_as_a_person_would_write_it(document: dict[str, Any], dialect: Any, text: str) -> None:
    assert ADAPTER.validate_python(document).build().sql(DAY, dialect) == text
