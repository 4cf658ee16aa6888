from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from aforo.features import Encoder
from aforo.features.one_hot import OneHotSpec
from aforo.features.scale import ScaleSpec
from aforo.models.estimators.gradients import integrated_gradients, scores
from aforo.models.estimators.neural_network import NeuralNetworkSpec
from aforo.models.network_weights import column_shares, network_weights
from aforo.models.training import fit_candidate


def numbers(*shape: int) -> np.ndarray:
    n = np.arange(np.prod(shape)).reshape(shape)
    return np.sin(1.7 * n + 0.3)


LAYERS = [
    (numbers(4, 6), numbers(6) / 2),
    (numbers(6, 5) * 0.8, numbers(5) / 3),
    (numbers(5, 3), numbers(3) / 4),
]
BASELINE = np.array([0.1, -0.2, 0.3, 0.0])


def test_they_are_captums_of_the_same_network():
    # captum 0.9.0 with torch 2.13.0, the layers above as torch.nn.Linear in float64 with ReLU between them:
    # IntegratedGradients(network).attribute(X, baselines, target=[0, 1, 2], n_steps=50, method="riemann_middle")
    by_captum = [
        [0.020112962951, -1.873304326475, -1.746840785593, 1.402233058432],
        [-0.568748110621, 0.225538593962, -0.378164615097, 0.305904029337],
        [0.048432570055, 0.219892516683, 1.79885499829, 0.176337877621],
    ]

    found = integrated_gradients(LAYERS, numbers(3, 4) * 2, BASELINE, np.array([0, 1, 2]), steps=50)

    # captum keeps the places of its steps in float32.
    assert found == pytest.approx(np.array(by_captum), abs=1e-6)


@pytest.mark.parametrize("output", [0, 1, 2])
def test_they_add_up_to_the_difference_of_the_scores(output: int):
    X = np.random.default_rng(0).normal(size=(50, 4)) * 2
    outputs = np.full(50, output)
    gained = scores(LAYERS, X)[:, output] - scores(LAYERS, BASELINE[None])[0, output]
    missed = [
        np.abs(integrated_gradients(LAYERS, X, BASELINE, outputs, steps=steps).sum(axis=1) - gained).max()
        for steps in (100, 10_000)
    ]

    assert missed[0] < 0.1
    assert missed[1] < missed[0] / 20


def test_of_a_linear_model_they_are_weight_times_distance():
    weights, bias = np.array([[2.0], [-3.0]]), np.array([0.5])
    found = integrated_gradients([(weights, bias)], np.array([[1.0, 1.0]]), np.array([0.5, 0.0]), np.array([0]))

    assert found == pytest.approx(np.array([[1.0, -3.0]]))


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    rows = 1_500
    table = pl.DataFrame(
        {
            "carrier": rng.choice(["AA", "B6", "UA"], rows),
            "origin": rng.choice(["JFK", "LGA"], rows),
            "wind": rng.normal(size=rows),
            "noise": rng.normal(size=rows),
        }
    )
    logit = 2 * table["wind"].to_numpy() + 3 * (table["carrier"] == "AA").to_numpy() - 1
    return table.with_columns(late=rng.random(rows) < 1 / (1 + np.exp(-logit)))


def test_a_network_goes_by_the_columns_that_decide(flights: pl.DataFrame):
    fitted = fit_candidate(
        NeuralNetworkSpec(hidden=(8,), learning_rate=0.01, epochs=10),
        features=(OneHotSpec(columns=("carrier", "origin")), ScaleSpec(columns=("wind", "noise"))),
        task="binary",
        classes=("no", "yes"),
        train=flights.head(1_000),
        validation=flights.tail(500),
        target="late",
        seed=1,
    )

    weights = network_weights(fitted, flights.head(1_000), flights.tail(500))

    assert list(weights) == ["carrier", "origin", "wind", "noise"]
    # Mean of |2 wind| is 1.6; of 3 (AA - 1/3), 4/3.
    assert weights["wind"] == pytest.approx(1.6, rel=0.3)
    assert weights["carrier"] == pytest.approx(4 / 3, rel=0.3)
    assert max(weights["origin"], weights["noise"]) < 0.4


def test_each_column_of_the_matrix_belongs_to_the_raw_column_it_is_made_from(flights: pl.DataFrame):
    features = (OneHotSpec(columns=("carrier", "origin")), ScaleSpec(columns=("wind",)))
    encoder = Encoder([feature.build() for feature in features]).fit(flights)

    shares = column_shares(encoder, flights.head(200))

    owners = [encoder.columns[place] for place in shares.argmax(axis=1)]
    assert owners == [name.partition("=")[0] for name in encoder.names_]
    assert set(np.unique(shares)) <= {0.0, 0.5, 1.0}
    assert shares.sum(axis=1) == pytest.approx(np.ones(len(encoder.names_)))
