"""What holds for every kind of feature, by being in the union."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from aforo.errors import DataError, TrainingError
from aforo.features import Encoder, FeatureSpec
from aforo.features.feature import Feature, FeatureSpecification

Run = Callable[[Feature | Encoder, pl.DataFrame], np.ndarray]

ADAPTER: TypeAdapter[FeatureSpecification] = TypeAdapter(FeatureSpec)
KINDS = [kind.model_fields["kind"].default for kind in get_args(get_args(FeatureSpec)[0])]
NUMBERS_ONLY = {"numeric", "scale"}
NUMBER_COLUMNS = [("number",), ("whole",), ("truth",), ("number", "whole", "truth"), ("same_number", "number")]
TEXT_COLUMNS = [("text",), ("text", "other_text"), ("text", "whole"), ("same_text",)]
# Every kind is tried as it is, and with these.
VARIANTS = {
    "numeric": [{"missing": {"fill": "median", "indicator": True}}, {"missing": {"fill": -1}}],
    "scale": [
        {"method": "min_max"},
        {"method": "robust", "clip": [0.05, 0.95], "missing": {"fill": "most_frequent", "indicator": True}},
        {"clip": [0, 1], "missing": {"fill": 0}},
    ],
    "one_hot": [{"unseen": "other"}, {"max_categories": 2}, {"min_count": 20, "unseen": "other"}],
    "ordinal": [{"unseen": -1}, {"order": "frequency", "max_categories": 3}, {"min_count": 20}],
}
ALL_KINDS = [
    {"kind": kind, "columns": columns, **variant}
    for kind in KINDS
    for variant in [{}, *VARIANTS.get(kind, [])]
    for columns in NUMBER_COLUMNS + ([] if kind in NUMBERS_ONLY else TEXT_COLUMNS)
    # The rarest values of these columns are more frequent than any `min_count` here, or there would be none left.
    if not (columns == ("number",) or "number" in columns) or variant.get("min_count", 1) == 1
]


@pytest.fixture(params=ALL_KINDS, ids=lambda document: "-".join(map(str, document.values())))
def spec(request: pytest.FixtureRequest) -> FeatureSpecification:
    return ADAPTER.validate_python(request.param)


def test_fitting_again_learns_the_same(spec: FeatureSpecification, table: pl.DataFrame) -> None:
    feature = spec.build().fit(table)
    first = feature.transform(table)

    np.testing.assert_array_equal(feature.fit(table).transform(table), first)
    np.testing.assert_array_equal(spec.build().fit(table).transform(table), first)


def test_every_output_column_has_a_name_of_its_own(spec: FeatureSpecification, table: pl.DataFrame) -> None:
    feature = spec.build().fit(table)

    assert feature.transform(table).shape == (table.height, len(feature.names_))
    assert len(set(feature.names_)) == len(feature.names_)


def test_the_graph_says_the_same_on_training_rows(
    spec: FeatureSpecification, table: pl.DataFrame, run_feature: Run
) -> None:
    feature = spec.build().fit(table)

    np.testing.assert_allclose(run_feature(feature, table), feature.transform(table), rtol=1e-15, atol=0)


def test_the_graph_says_the_same_on_rows_that_training_did_not_have(
    spec: FeatureSpecification, table: pl.DataFrame, strange_table: pl.DataFrame, run_feature: Run
) -> None:
    feature = spec.build().fit(table)

    np.testing.assert_allclose(
        run_feature(feature, strange_table), feature.transform(strange_table), rtol=1e-15, atol=0
    )


def test_a_row_is_encoded_alone_as_it_is_among_others(
    spec: FeatureSpecification, table: pl.DataFrame, strange_table: pl.DataFrame, run_feature: Run
) -> None:
    feature = spec.build().fit(table)
    together = feature.transform(strange_table)
    alone = [strange_table.slice(row, 1) for row in range(strange_table.height)]

    np.testing.assert_array_equal(np.vstack([feature.transform(row) for row in alone]), together)
    np.testing.assert_array_equal(run_feature(feature, alone[-1]), run_feature(feature, strange_table)[-1:])


def test_transforming_learns_nothing(
    spec: FeatureSpecification, table: pl.DataFrame, strange_table: pl.DataFrame
) -> None:
    feature = spec.build().fit(table)
    before = feature.transform(table)

    feature.transform(strange_table)

    np.testing.assert_array_equal(feature.transform(table), before)


def test_no_rows_give_an_empty_matrix(spec: FeatureSpecification, table: pl.DataFrame, run_feature: Run) -> None:
    feature = spec.build().fit(table)

    assert feature.transform(table.head(0)).shape == (0, len(feature.names_))
    assert run_feature(feature, table.head(0)).shape == (0, len(feature.names_))


def test_the_yaml_survives_a_round_trip(spec: FeatureSpecification) -> None:
    assert ADAPTER.validate_json(spec.model_dump_json()) == spec


def test_the_column_order_of_the_table_does_not_matter(spec: FeatureSpecification, table: pl.DataFrame) -> None:
    feature = spec.build().fit(table)

    np.testing.assert_array_equal(feature.transform(table.select(reversed(table.columns))), feature.transform(table))


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_the_table_lacks_is_named(kind: str, table: pl.DataFrame) -> None:
    feature = ADAPTER.validate_python({"kind": kind, "columns": ["nowhere"]}).build()

    with pytest.raises(DataError, match="no column 'nowhere'"):
        feature.fit(table)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_named_twice_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match="columns named twice: text"):
        ADAPTER.validate_python({"kind": kind, "columns": ["text", "text"]})


@pytest.mark.parametrize("kind", KINDS)
def test_a_misspelt_field_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match="colums"):
        ADAPTER.validate_python({"kind": kind, "columns": ["text"], "colums": 1})


@pytest.mark.parametrize("kind", sorted(NUMBERS_ONLY))
def test_a_kind_for_numbers_refuses_texts(kind: str, table: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="'text' is of type String; expected numbers"):
        ADAPTER.validate_python({"kind": kind, "columns": ["text"]}).build().fit(table)


@pytest.mark.parametrize("kind", sorted(NUMBERS_ONLY))
def test_infinite_training_values_are_refused_by_name(kind: str) -> None:
    with pytest.raises(TrainingError, match="'x' holds an infinite number in 1 training rows"):
        ADAPTER.validate_python({"kind": kind, "columns": ["x"]}).build().fit(pl.DataFrame({"x": [1.0, float("inf")]}))


@pytest.mark.parametrize("document", [d for d in ALL_KINDS if d["columns"] in (("text", "whole"), ("number",))])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_graph_and_python_agree_on_arbitrary_values(
    document: dict[str, object], table: pl.DataFrame, run_feature: Run, data: st.DataObject
) -> None:
    texts = st.one_of(
        st.none(), st.sampled_from(["Lima", "東京", "A", "a"]), st.text(max_size=5).filter(lambda t: "\0" not in t)
    )
    numbers = st.one_of(st.none(), st.floats(-1e9, 1e9), st.sampled_from(table["number"].drop_nulls().to_list()))
    wholes = st.one_of(st.none(), st.integers(-5, 12))
    rows = pl.DataFrame(
        {
            "text": pl.Series(data.draw(st.lists(texts, min_size=3, max_size=3)), dtype=pl.String),
            "number": pl.Series(data.draw(st.lists(numbers, min_size=3, max_size=3)), dtype=pl.Float64),
            "whole": pl.Series(data.draw(st.lists(wholes, min_size=3, max_size=3)), dtype=pl.Int64),
        }
    )
    feature = ADAPTER.validate_python(document).build().fit(table)

    np.testing.assert_allclose(run_feature(feature, rows), feature.transform(rows), rtol=1e-15, atol=0)


def test_an_encoder_puts_all_kinds_side_by_side(
    table: pl.DataFrame, strange_table: pl.DataFrame, run_feature: Run
) -> None:
    features = [ADAPTER.validate_python({"kind": kind, "columns": ["number", "whole"]}).build() for kind in KINDS]
    encoder = Encoder(features).fit(table)
    expected = np.hstack([feature.transform(strange_table) for feature in features])

    assert encoder.columns == ("number", "whole")
    np.testing.assert_array_equal(encoder.transform(strange_table), expected)
    np.testing.assert_allclose(run_feature(encoder, strange_table), expected, rtol=1e-15, atol=0)
