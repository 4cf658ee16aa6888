from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract
from aforo.export.inference import GraphPredictor
from aforo.graph import Graph
from aforo.workflows.background import choose_background

INPUTS = (
    ColumnContract(name="size", type="number", role="feature"),
    ColumnContract(name="seats", type="integer", role="feature", nullable=True),
    ColumnContract(name="town", type="string", role="feature", nullable=True),
    ColumnContract(name="member", type="boolean", role="feature"),
)
CONTRACT = PredictionContract(use_case="shop", task="regression", target="paid", inputs=INPUTS, coverage=0.9)


@pytest.fixture(scope="module")
def predictor() -> GraphPredictor:
    """The size squared."""
    graph = Graph("squared")
    size, *_ = [graph.input(column.name, kind="text" if column.type == "string" else "number") for column in INPUTS]
    value = graph.add("Mul", size, size)
    graph.output(value, "value", width=1)
    graph.output(graph.beside([value, value]), "interval", width=2)
    return GraphPredictor(graph.to_bytes(), CONTRACT)


@pytest.fixture(scope="module")
def train() -> pl.DataFrame:
    rng = np.random.default_rng(5)
    return pl.DataFrame(
        {
            "size": rng.lognormal(0, 1, 5_000),
            "seats": pl.Series([None, 2, 2, 4, 9] * 1_000),
            "town": pl.Series(["Oslo", "Lima", None, "Lima", "Oslo"] * 1_000),
            "member": [True, True, False, True, False] * 1_000,
            "other": 0,
        }
    )


def test_the_mean_answer_of_the_background_is_that_of_the_part(predictor: GraphPredictor, train: pl.DataFrame):
    chosen = choose_background(predictor, train, seed=1)
    answers = np.array([row["size"] ** 2 for row in chosen.rows])

    whole = train["size"].to_numpy() ** 2
    by_chance = whole.std() / np.sqrt(len(answers))
    assert len(answers) == 32
    assert abs(answers.mean() - whole.mean()) < 0.4 * by_chance
    assert abs(np.median(answers) - np.median(whole)) < 0.05 * np.median(whole)


def test_a_background_row_is_a_row_of_the_part(predictor: GraphPredictor, train: pl.DataFrame):
    rows = set(train.select(column.name for column in INPUTS).iter_rows())

    assert all(tuple(row.values()) in rows for row in choose_background(predictor, train, seed=1).rows)


def test_the_typical_row_has_medians_and_the_most_frequent_values(predictor: GraphPredictor, train: pl.DataFrame):
    typical = choose_background(predictor, train, seed=1).typical

    # Seats are 2, 2, 4, 9 where known, and 2 is the lower median; Lima and Oslo are as frequent, and Lima comes first.
    assert typical == {
        "size": pytest.approx(np.median(train["size"].to_numpy()), rel=0.01),
        "seats": 2,
        "town": "Lima",
        "member": True,
    }


def test_what_is_mostly_missing_is_missing_in_the_typical_row(predictor: GraphPredictor, train: pl.DataFrame):
    rare = train.with_columns(town=pl.lit(None, pl.String), seats=pl.Series([None, None, None, 4, 9] * 1_000))

    typical = choose_background(predictor, rare, seed=1).typical
    assert (typical["town"], typical["seats"]) == (None, None)


def test_a_part_of_few_rows_is_its_own_background(predictor: GraphPredictor, train: pl.DataFrame):
    assert len(choose_background(predictor, train.head(3), seed=1).rows) == 3


def test_the_same_seed_chooses_the_same_rows(predictor: GraphPredictor, train: pl.DataFrame):
    large = pl.concat([train] * 3)

    assert choose_background(predictor, large, seed=1) == choose_background(predictor, large, seed=1)
    assert choose_background(predictor, large, seed=1) != choose_background(predictor, large, seed=2)
