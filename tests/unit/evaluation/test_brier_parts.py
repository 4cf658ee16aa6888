from __future__ import annotations

import numpy as np
import pytest

from aforo.evaluation import Answers
from aforo.evaluation.reliability import brier_parts, class_calibration


def binary(p: list[float], y: list[int]) -> Answers:
    p_yes = np.array(p)
    return Answers("binary", np.array(y), probabilities=np.column_stack([1 - p_yes, p_yes]))


def test_the_parts_of_the_brier_score_by_hand():
    # Two bins: claims of 0.2 that come true once in four, and of 0.8 that come true three times in four.
    parts = brier_parts(binary([0.2] * 4 + [0.8] * 4, [0, 0, 0, 1, 1, 1, 1, 0]), bins=2)

    # Reliability: (0.2 - 0.25)^2 in both bins. Resolution: (0.25 - 0.5)^2 in both. Uncertainty: 0.5 * 0.5.
    assert parts.reliability == pytest.approx(0.0025)
    assert parts.resolution == pytest.approx(0.0625)
    assert parts.uncertainty == pytest.approx(0.25)
    assert parts.within_bins == pytest.approx(0)
    # (3 * 0.2^2 + 0.8^2) / 4 in both.
    assert parts.score == pytest.approx(0.19)


def test_the_parts_add_up_whatever_the_bins_hide():
    rng = np.random.default_rng(0)
    p = rng.random(500)
    answers = binary(p.tolist(), (rng.random(500) < p).astype(int).tolist())

    parts = brier_parts(answers, bins=3)

    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins
    assert total == pytest.approx(parts.score)
    assert abs(parts.within_bins) > 1e-3
    assert abs(brier_parts(answers, bins=100).within_bins) < abs(parts.within_bins)


def test_each_class_is_looked_at_against_the_rest():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]])
    answers = Answers("multiclass", np.array([0, 2, 1, 1]), probabilities=probabilities)

    found = class_calibration(answers, ("a", "b", "c"), bins=2)

    assert [one.label for one in found] == ["a", "b", "c"]
    assert [one.share for one in found] == [0.25, 0.5, 0.25]
    assert found[0].claimed == pytest.approx(1.5 / 4)
    # Claims of 0.6 twice, true once; 0.2 and 0.1, never true: (2 * |0.6 - 0.5| + 2 * 0.15) / 4.
    assert found[0].ece == pytest.approx(0.125)
    # The summands of the three classes are the Brier score of the whole.
    whole = np.mean(((probabilities - np.eye(3)[answers.y]) ** 2).sum(axis=1))
    assert sum(one.brier.score for one in found) == pytest.approx(whole)


def test_of_two_classes_the_positive_one_is_looked_at():
    assert [one.label for one in class_calibration(binary([0.2, 0.9], [0, 1]), ("no", "yes"))] == ["yes"]
