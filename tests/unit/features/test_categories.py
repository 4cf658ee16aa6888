"""Categories: one-hot and ordinal, by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from aforo.errors import DataError, TrainingError
from aforo.features import OneHotSpec, OrdinalSpec
from aforo.features.categories import Categories
from aforo.features.feature import Missing

ROWS = pl.DataFrame({"city": ["Oslo", "Lima", None, "Lima", "Quito"], "hour": [8, 8, None, 17, 8]})
LATER = pl.DataFrame({"city": ["Lima", "Bergen", None], "hour": [17, 3, None]})


def test_one_hot_has_a_column_per_category_in_order_of_value() -> None:
    feature = OneHotSpec(columns=("city", "hour")).build().fit(ROWS)

    assert feature.names_ == (
        *("city=missing", "city=Lima", "city=Oslo", "city=Quito"),
        *("hour=8", "hour=17", "hour=missing"),
    )
    assert feature.transform(ROWS.head(1)).tolist() == [[0, 0, 1, 0, 1, 0, 0]]


def test_one_hot_gives_zeros_to_what_it_has_not_seen() -> None:
    feature = OneHotSpec(columns=("city", "hour")).build().fit(ROWS)

    assert feature.transform(LATER).tolist() == [[0, 1, 0, 0, 0, 1, 0], [0] * 7, [1, 0, 0, 0, 0, 0, 1]]


def test_other_gathers_the_rare_and_the_unseen() -> None:
    feature = OneHotSpec(columns=("city",), max_categories=1, unseen="other").build().fit(ROWS)

    assert feature.names_ == ("city=Lima", "city=other")
    assert feature.transform(LATER).tolist() == [[1, 0], [0, 1], [0, 1]]


def test_ordinal_gives_codes_in_order_of_value_and_missing_to_the_unseen() -> None:
    codes = OrdinalSpec(columns=("city", "hour")).build().fit(ROWS).transform(pl.concat([ROWS, LATER]))

    np.testing.assert_array_equal(codes[:, 0], [2, 1, 0, 1, 3, 1, np.nan, 0])
    np.testing.assert_array_equal(codes[:, 1], [0, 0, 2, 1, 0, 1, np.nan, 2])


def test_ordinal_by_frequency_gives_0_to_the_most_frequent() -> None:
    feature = OrdinalSpec(columns=("city",), order="frequency", unseen=-1).build().fit(ROWS)

    assert feature.transform(pl.DataFrame({"city": ["Lima", None, "Oslo", "Quito", "?"]}))[:, 0].tolist() == [
        0,
        1,
        2,
        3,
        -1,
    ]


def test_a_category_that_is_too_rare_is_unseen() -> None:
    feature = OrdinalSpec(columns=("city",), min_count=2, unseen=-1).build().fit(ROWS)

    assert feature.transform(ROWS)[:, 0].tolist() == [-1, 0, -1, 0, -1]


def test_a_column_of_rare_values_only_is_refused_by_name() -> None:
    with pytest.raises(TrainingError, match="column 'city' has no value that appears in 3 training rows"):
        OrdinalSpec(columns=("city",), min_count=3).build().fit(ROWS)


def test_an_empty_text_is_a_missing_one() -> None:
    codes = Categories.learn(ROWS, "city").codes(pl.DataFrame({"city": ["", None]}), default=-1)

    assert codes.tolist() == [0.0, 0.0]


def test_texts_of_any_polars_type_have_the_same_codes() -> None:
    as_categorical = ROWS.with_columns(pl.col("city").cast(pl.Categorical))

    assert Categories.learn(as_categorical, "city") == Categories.learn(ROWS, "city")


def test_a_date_is_neither_text_nor_number() -> None:
    rows = pl.DataFrame({"day": ["2013-01-01"]}).with_columns(pl.col("day").str.to_date())

    with pytest.raises(DataError, match="'day' is of type Date; expected numbers"):
        OrdinalSpec(columns=("day",)).build().fit(rows)


def test_missing_says_what_may_be_filled_in() -> None:
    with pytest.raises(ValueError, match="most_frequent"):
        Missing.model_validate({"fill": "middle"})
