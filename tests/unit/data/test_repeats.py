"""Work once for each different row: what it gives is what the work gives for every row."""

from __future__ import annotations

import polars as pl
import pytest

from aforo.data.repeats import once_each

DAYS = pl.DataFrame({"month": [1, 1, None, 2, 2, 2], "name": ["a", "a", "b", None, None, "a"]})
LENGTHS = {
    "in runs": [5, 9, 7, 6, 11, 12],
    "scattered": [1] * 6,
}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_each_row_gets_what_the_work_gives_for_it(lengths: list[int]) -> None:
    rows = pl.concat(DAYS[[place]] for place, length in enumerate(lengths) for _ in range(length))
    asked = []

    def work(few: pl.DataFrame) -> pl.Series:
        asked.append(few)
        return few.select(pl.format("{}-{}", pl.col("month").fill_null(0), pl.col("name").fill_null("?"))).to_series()

    results = once_each(rows, work)

    by_hand = ["1-a", "1-a", "0-b", "2-?", "2-?", "2-a"]
    assert results.to_list() == [by_hand[place] for place, length in enumerate(lengths) for _ in range(length)]
    assert [few.height for few in asked] == [4]


def test_no_rows_give_no_results() -> None:
    assert once_each(DAYS.clear(), lambda few: few.get_column("name")).to_list() == []
