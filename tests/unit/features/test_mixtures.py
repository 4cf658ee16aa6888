"""Values that stand for several: what each feature makes of them, in Python and in the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest

from aforo.errors import TrainingError
from aforo.features import Encoder, NumericSpec, OneHotSpec, OrdinalSpec
from aforo.graph import Graph

MIXTURES = {"payment": {"card": {"credit": 0.6, "debit": 0.3, "gift": 0.1}}}
TRAIN = pl.DataFrame(
    {"payment": ["card", "card", "gift", "debit", "credit", "cash"], "shop": ["a", "b", "a", "b", "a", "b"]}
)
ASKED = pl.DataFrame({"payment": ["card", "gift", "cheque", None], "shop": ["b", "a", "c", None]})


def run(encoder: Encoder, table: pl.DataFrame) -> np.ndarray:
    graph = Graph("mixtures")
    inputs = {name: graph.input(name, kind="text") for name in encoder.columns}
    graph.output(encoder.add_to(graph, inputs), "matrix", width=len(encoder.names_))
    session = onnxruntime.InferenceSession(graph.to_bytes(), providers=["CPUExecutionProvider"])
    columns = {name: table[name].fill_null("").to_numpy().astype(object).reshape(-1, 1) for name in encoder.columns}
    return session.run(None, columns)[0]


def encode(feature: Any, table: pl.DataFrame = ASKED) -> np.ndarray:
    """Fit on TRAIN, and see that the graph says the same as Python about TRAIN and about the table."""
    encoder = Encoder([feature.build()], MIXTURES).fit(TRAIN)
    for rows in (TRAIN, table):
        np.testing.assert_array_equal(run(encoder, rows), encoder.transform(rows))
    return encoder.transform(table)


def test_one_hot_gives_the_vector_of_shares() -> None:
    matrix = encode(OneHotSpec(columns=("shop", "payment")))

    # shop=a, shop=b, then payment=cash, credit, debit, gift: a card is no category of its own.
    assert matrix.tolist() == [
        [0, 1, 0, 0.6, 0.3, 0.1],
        [1, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_the_share_of_a_category_that_was_left_out_goes_to_other() -> None:
    matrix = encode(OneHotSpec(columns=("payment",), max_categories=2, unseen="other"))

    # cash and credit are kept, of four that are equally frequent those that sort first.
    assert matrix[0] == pytest.approx([0, 0.6, 0.4])
    assert matrix[1:].tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 1]]


def test_a_category_that_training_never_met_has_no_column_for_its_share() -> None:
    rows = TRAIN.filter(pl.col("payment") != "gift")
    encoder = Encoder([OneHotSpec(columns=("payment",)).build()], MIXTURES).fit(rows)

    assert encoder.names_ == ("payment=cash", "payment=credit", "payment=debit")
    assert encoder.transform(ASKED)[0].tolist() == [0, 0.6, 0.3]
    np.testing.assert_array_equal(run(encoder, ASKED), encoder.transform(ASKED))


def test_to_an_ordinal_it_is_a_value_that_it_does_not_know() -> None:
    matrix = encode(OrdinalSpec(columns=("payment",), unseen=-1))

    assert matrix.tolist() == [[-1], [3], [-1], [-1]]


def test_a_missing_value_can_stand_for_several() -> None:
    mixtures = {"payment": {"": {"credit": 0.5, "cash": 0.5}}}
    encoder = Encoder([OneHotSpec(columns=("payment",)).build()], mixtures).fit(TRAIN)

    assert encoder.transform(ASKED)[3].tolist() == [0, 0.5, 0.5, 0, 0]
    np.testing.assert_array_equal(run(encoder, ASKED), encoder.transform(ASKED))


def test_a_feature_that_can_make_nothing_of_it_is_refused() -> None:
    with pytest.raises(TrainingError, match="NumericFeature reads column 'payment', which is bridged"):
        Encoder([NumericSpec(columns=("payment",)).build()], MIXTURES)
