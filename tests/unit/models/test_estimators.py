"""The estimators against hand calculations, scikit-learn, and their own promises."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

from aforo.errors import TrainingError
from aforo.models.estimators import Examples, Task
from aforo.models.estimators.boosted_trees import BoostedTrees
from aforo.models.estimators.historical_rate import HistoricalRate
from aforo.models.estimators.linear import LinearModel
from aforo.models.estimators.neural_network import NeuralNetwork

BINARY = Task("binary", ("no", "yes"))
MULTICLASS = Task("multiclass", ("a", "b", "c"))
REGRESSION = Task("regression")


def examples(task: Task, rows: int, seed: int, *, missing: bool = False) -> Examples:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 5)).round(2)  # rounded, so that values are repeated and thresholds hit
    value = X[:, 0] * X[:, 1] + np.abs(X[:, 2]) + rng.normal(0, 0.3, rows)
    if missing:
        X[rng.random(X.shape) < 0.1] = np.nan
    if task.is_regression:
        return Examples(X, value)
    return Examples(X, np.digitize(value, [0.3, 1.2] if task.width == 3 else [0.8]))


def test_a_group_counts_half_at_as_many_rows_as_the_smoothing() -> None:
    train = Examples(np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([1, 1, 0, 0]))

    rate = HistoricalRate(BINARY, levels=1, smoothing=2.0).fit(train, train, seed=0)

    # Overall 0.5; group 0 has a rate of 1 in 2 rows: (2 + 2 * 0.5) / (2 + 2) = 0.75. Unseen: the overall rate.
    assert rate.predict(np.array([[0.0], [1.0], [-1.0]]))[:, 1].tolist() == [0.75, 0.25, 0.5]


def test_a_group_falls_back_to_the_coarser_one() -> None:
    train = Examples(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), np.array([6.0, 12.0, 0.0]))

    mean = HistoricalRate(REGRESSION, levels=2, smoothing=1.0).fit(train, train, seed=0)

    # Overall 6; first column 0: (18 + 6) / 3 = 8; both (0, 1): (12 + 8) / 2 = 10.
    found = mean.predict(np.array([[0.0, 1.0], [0.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]))
    assert found[:, 0].tolist() == [10.0, 8.0, 6.0, 6.0]


def test_too_many_groups_are_refused() -> None:
    codes = np.stack([np.arange(2000.0)] * 2, axis=1)
    train = Examples(codes, np.zeros(2000))

    with pytest.raises(TrainingError, match="4,004,001 groups of 1 numbers are more than 1,000,000"):
        HistoricalRate(REGRESSION, levels=2).fit(train, train, seed=0)


def test_ridge_is_scikit_learns_on_standardised_columns() -> None:
    train = examples(REGRESSION, 200, 1)
    scale = train.X.std(axis=0)
    expected = Ridge(alpha=3.0).fit(train.X / scale, train.y).predict(train.X / scale)

    found = LinearModel(REGRESSION, penalty=3.0).fit(train, train, seed=0).predict(train.X)

    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-10)


def test_the_scale_of_a_column_changes_nothing_for_a_linear_model() -> None:
    train = examples(BINARY, 500, 1)
    stretched = Examples(train.X * np.array([1e6, 1e-6, 1, 1, 1]) + 5.0, train.y)

    found = LinearModel(BINARY).fit(stretched, stretched, seed=0).predict(stretched.X)

    np.testing.assert_allclose(found, LinearModel(BINARY).fit(train, train, seed=0).predict(train.X), atol=1e-6)


def test_a_solver_that_does_not_converge_is_an_error() -> None:
    train = examples(MULTICLASS, 500, 1)

    with pytest.raises(TrainingError, match="did not converge in 1 iterations"):
        LinearModel(MULTICLASS, max_iterations=1).fit(train, train, seed=0)


@pytest.mark.parametrize("task", [BINARY, MULTICLASS, REGRESSION], ids=lambda task: task.kind)
def test_boosted_trees_are_scikit_learns(task: Task) -> None:
    train, later = examples(task, 1000, 1, missing=True), examples(task, 500, 2, missing=True).X
    kind = HistGradientBoostingRegressor if task.is_regression else HistGradientBoostingClassifier
    reference = kind(max_iter=20, early_stopping=False, random_state=0).fit(train.X, train.y)
    expected = reference.predict(later)[:, None] if task.is_regression else reference.predict_proba(later)

    # Judged on its own training rows, the loss falls with every tree, and all are kept.
    found = BoostedTrees(task, trees=20, patience=20).fit(train, train, seed=0).predict(later)

    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_trees_after_the_lowest_validation_loss_are_dropped() -> None:
    train, validation = examples(BINARY, 300, 1), examples(BINARY, 300, 2)
    few = BoostedTrees(BINARY, trees=200, learning_rate=0.5, patience=200).fit(train, validation, seed=0)
    count = len(few.trees_.trees)

    def loss(trees: int) -> float:
        model = BoostedTrees(BINARY, trees=trees, learning_rate=0.5).fit(train, train, seed=0)
        return float(-np.log(model.predict(validation.X)[np.arange(300), validation.y]).mean())

    assert 1 < count < 200
    assert loss(count) < min(loss(count - 1), loss(count + 1))


def test_no_tree_at_all_leaves_the_overall_rate() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    train, validation = Examples(X, np.arange(200) % 2), Examples(X, 1 - np.arange(200) % 2)

    trees = BoostedTrees(BINARY, learning_rate=1.0).fit(train, validation, seed=0)

    assert trees.trees_.trees == ()
    np.testing.assert_allclose(trees.predict(X), 0.5)


def test_a_network_stops_early_and_keeps_its_best_weights() -> None:
    train, validation = examples(BINARY, 300, 1), examples(BINARY, 300, 2)

    def loss(epochs: int, patience: int) -> float:
        network = NeuralNetwork(BINARY, hidden=(64,), learning_rate=0.02, epochs=epochs, patience=patience)
        found = network.fit(train, validation, seed=0).predict(validation.X)
        return float(-np.log(found[np.arange(300), validation.y]).mean())

    overfitted_and_restored = loss(60, 60)

    assert overfitted_and_restored <= min(loss(epochs, 60) for epochs in (1, 5, 20))
    assert loss(60, 3) <= loss(1, 60)


def test_a_network_learns_what_a_linear_model_cannot() -> None:
    train, validation = examples(REGRESSION, 3000, 1), examples(REGRESSION, 1000, 2)

    def error(model: NeuralNetwork | LinearModel) -> float:
        return float(np.mean((model.fit(train, validation, seed=0).predict(validation.X)[:, 0] - validation.y) ** 2))

    assert error(NeuralNetwork(REGRESSION, learning_rate=3e-3)) < 0.3 * error(LinearModel(REGRESSION))


def test_a_network_that_diverges_is_an_error() -> None:
    train = examples(REGRESSION, 300, 1)

    with pytest.raises(TrainingError, match=r"validation loss is (nan|inf) with learning_rate 1e\+30"):
        NeuralNetwork(REGRESSION, learning_rate=1e30).fit(train, train, seed=0)


def test_fitting_a_network_leaves_torch_as_it_was() -> None:
    import torch

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    train = examples(BINARY, 100, 1)

    NeuralNetwork(BINARY, epochs=1).fit(train, train, seed=0)

    assert torch.rand(1) == expected
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
