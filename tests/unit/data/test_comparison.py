"""What differs between two tables; distances beside scipy's."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from aforo.data.comparison import Comparison, Difference, Tables, compare


def tables(frame: pl.DataFrame, size: int = 97) -> Tables:
    return lambda: frame.iter_slices(size)


def of(comparison: Comparison, column: str) -> Difference:
    return next(difference for difference in comparison.differences if difference.column == column)


def test_the_distance_of_numbers_is_that_of_kolmogorov_and_smirnov() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.normal(0, 1, 4_000), rng.normal(0.3, 1.2, 3_000)

    found = of(compare(tables(pl.DataFrame({"x": before})), tables(pl.DataFrame({"x": after}))), "x")

    exact = ks_2samp(before, after).statistic
    assert exact - 0.005 < found.distance <= exact + 1e-12
    assert found.stands_out


def test_the_bound_of_chance_is_smirnov_s() -> None:
    """sqrt(ln(2 / 0.001) / 2 * (1/n + 1/m)), whose p-value by scipy's asymptotic formula is 0.001."""
    rng = np.random.default_rng(2)
    found = of(
        compare(tables(pl.DataFrame({"x": rng.random(4_000)})), tables(pl.DataFrame({"x": rng.random(3_000)}))), "x"
    )

    assert found.chance == pytest.approx(np.sqrt(np.log(2_000) / 2 * (1 / 4_000 + 1 / 3_000)))
    assert not found.stands_out


def test_chance_alone_hardly_ever_stands_out() -> None:
    rng = np.random.default_rng(3)
    names = [f"c{number}" for number in range(300)]
    sides = [
        pl.DataFrame(
            {
                name: rng.integers(0, 5, 500).astype(str) if place % 2 else rng.random(500)
                for place, name in enumerate(names)
            }
        )
        for _ in range(2)
    ]

    found = compare(tables(sides[0]), tables(sides[1]))

    assert sum(difference.stands_out for difference in found.differences) <= 3


def test_the_value_that_moved_most_is_named_with_what_came_and_went() -> None:
    before = pl.DataFrame({"carrier": ["AA"] * 50 + ["UA"] * 40 + ["OO"] * 10})
    after = pl.DataFrame({"carrier": ["AA"] * 20 + ["UA"] * 75 + ["HA"] * 5})

    found = of(compare(tables(before), tables(after)), "carrier")

    assert (found.distance, found.where) == (pytest.approx(0.35), "UA")
    assert (found.new_values, found.lost_values) == (("HA",), ("OO",))
    assert found.stands_out


def test_a_gap_that_opens_stands_out_though_the_values_are_the_same() -> None:
    before = pl.DataFrame({"x": [1.0, 2.0] * 100})
    after = pl.DataFrame({"x": [1.0, 2.0, None, None] * 50})

    found = of(compare(tables(before), tables(after)), "x")

    assert (found.distance, found.missing) == (0.0, (0.0, 0.5))
    assert found.stands_out


def test_columns_that_came_went_or_changed_their_type_are_named() -> None:
    before = pl.DataFrame({"a": [1], "b": [1.0], "c": ["x"]})
    after = pl.DataFrame({"a": [1.5], "c": ["x"], "d": [True]})

    found = compare(tables(before), tables(after))

    assert (found.added_columns, found.removed_columns) == (("d",), ("b",))
    assert found.retyped == {"a": ("Int64", "Float64")}
    assert [difference.column for difference in found.differences] == ["c"]


def test_dates_and_timestamps_are_compared_along_time() -> None:
    days = pl.date_range(dt.date(2013, 1, 1), dt.date(2013, 12, 31), eager=True)
    before = pl.DataFrame({"day": days, "t": days.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")})

    found = compare(tables(before), tables(before.tail(182)))

    # Of 365 days the last 182 are left: half of the days lie before the first of them.
    assert of(found, "day").distance == of(found, "t").distance == pytest.approx(183 / 365)


def test_private_values_do_not_show() -> None:
    before, after = pl.DataFrame({"name": ["ann"] * 9}), pl.DataFrame({"name": ["bob"] * 9})

    found = compare(tables(before), tables(after), private=frozenset({"name"}))

    assert "ann" not in found.model_dump_json()
    assert "bob" not in found.model_dump_json()


@settings(max_examples=25)
@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1), st.integers(1, 9))
def test_a_table_does_not_differ_from_itself_however_it_is_cut(values: list[float | None], size: int) -> None:
    frame = pl.DataFrame({"x": values}, schema={"x": pl.Float64})

    found = of(compare(tables(frame), tables(frame, size)), "x")

    assert found.distance in (0.0, None)
    assert not found.stands_out
