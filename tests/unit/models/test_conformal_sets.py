"""Sets of labels keep their promise on new rows, whatever the model, and are those of another implementation."""

from __future__ import annotations

import numpy as np
import pytest

from aforo.contracts.prediction import LabelSets
from aforo.errors import TrainingError
from aforo.models.calibration import fit_sets, label_sets


def rows(count: int, seed: int, *, trust: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return claimed probabilities of four classes, and labels drawn from the true ones; ``trust`` 1 is honest."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 4)) * 1.5
    truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(4, p=p) for p in truth])
    claimed = np.exp(trust * logits) / np.exp(trust * logits).sum(axis=1, keepdims=True)
    return claimed, y


def test_threshold_and_sets_by_hand():
    # The true labels got 0.9, 0.7, 0.5, 0.2. Of coverage 0.6, the ceil(5 * 0.6) = 3rd largest decides.
    outputs = np.array([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5], [0.8, 0.2]])

    rule = fit_sets(outputs, np.array([0, 1, 1, 1]), coverage=0.6)

    assert rule == LabelSets(coverage=0.6, threshold=0.5, calibration_rows=4)
    assert label_sets(rule, np.array([[0.5, 0.5], [0.51, 0.49]])).tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize(
    ("coverage", "labels", "held", "sizes"),
    [
        # MAPIE 1.6.0, SplitConformalClassifier(conformity_score="lac", prefit=True)
        (0.8, 1371, 0.746, [1, 637, 352, 10, 0]),
        (0.9, 1895, 0.861, [0, 308, 499, 183, 10]),
    ],
)
def test_the_sets_are_those_of_mapie(coverage: float, labels: int, held: float, sizes: list[int]):
    rule = fit_sets(*rows(200, 0), coverage=coverage)
    outputs, y = rows(1000, 1)

    sets = label_sets(rule, outputs)

    assert sets.sum() == labels
    assert sets[np.arange(1000), y].mean() == pytest.approx(held)
    assert np.bincount(sets.sum(axis=1), minlength=5).tolist() == sizes


@pytest.mark.parametrize("trust", [1.0, 3.0, 0.3], ids=["honest", "too sure", "too modest"])
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_coverage_is_within_one_percent_of_nominal_over_20_seeds(trust: float, coverage: float):
    held = []
    for seed in range(20):
        outputs, y = rows(4000, seed, trust=trust)
        rule = fit_sets(outputs[:2000], y[:2000], coverage=coverage)
        held.append(label_sets(rule, outputs[2000:])[np.arange(2000), y[2000:]].mean())

    assert abs(np.mean(held) - coverage) <= 0.01


def test_too_few_rows_are_refused_with_how_many_are_needed():
    outputs, y = rows(8, 0)

    with pytest.raises(TrainingError, match=r"coverage 0\.9 needs 9 calibration rows or more, got 8"):
        fit_sets(outputs, y, coverage=0.9)


def test_equal_probabilities_hold_more_than_is_promised():
    y = np.array([0, 1] * 50)

    assert label_sets(fit_sets(np.full((100, 2), 0.5), y, coverage=0.6), np.array([[0.5, 0.5]])).all()
