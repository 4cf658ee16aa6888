"""How good the probabilities are as probabilities: Brier score, log loss, expected calibration error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aforo.contracts.prediction import TaskKind
from aforo.evaluation.answers import Answers
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.metrics.statistic import Floats, Metric, Statistic, of_mean, of_sums

CLASSES: tuple[TaskKind, ...] = ("binary", "multiclass")

# scikit-learn's choice: the smallest step of float64 keeps a certain and wrong answer finite.
_SMALLEST = float(np.finfo(np.float64).eps)


def claims(answers: Answers) -> tuple[Floats, Floats]:
    """Return what is claimed and what came true, each of shape (N,).

    A binary task claims the probability of its positive class. With several classes the claim is the
    confidence in the answered class, and it comes true when that class is the right one.
    """
    if answers.task == "binary":
        return answers.probabilities[:, 1], (answers.y == 1).astype(np.float64)
    return answers.probabilities.max(axis=1), (answers.labels == answers.y).astype(np.float64)


def equal_width_edges(bins: int) -> Floats:
    """Return the inner edges of ``bins`` bins of equal width between 0 and 1."""
    return np.linspace(0, 1, bins + 1)[1:-1]


def equal_mass_edges(claimed: Floats, bins: int) -> Floats:
    """Return inner edges so that each bin holds about as many rows; equal claims share a bin."""
    return np.unique(np.quantile(claimed, np.linspace(0, 1, bins + 1)[1:-1]))


def calibration_error(bins: int, edges: Callable[[Floats, int], Floats]) -> Callable[[Answers, Clusters], Statistic]:
    """Return the preparation of an expected calibration error over ``bins`` bins with the given edges."""

    def prepare(answers: Answers, clusters: Clusters) -> Statistic:
        claimed, came_true = claims(answers)
        inner = edges(claimed, bins)
        gaps = np.zeros((len(answers), len(inner) + 2))
        gaps[np.arange(len(answers)), np.searchsorted(inner, claimed, side="left")] = came_true - claimed
        gaps[:, -1] = 1
        return of_sums(gaps, clusters, lambda s_RD: np.abs(s_RD[:, :-1]).sum(axis=1) / s_RD[:, -1])

    return prepare


def _brier(answers: Answers, clusters: Clusters) -> Statistic:
    if answers.task == "binary":
        return of_mean((answers.probabilities[:, 1] - (answers.y == 1)) ** 2, clusters)
    misses = answers.probabilities - _one_hot(answers)
    return of_mean((misses**2).sum(axis=1), clusters)


def _log_loss(answers: Answers, clusters: Clusters) -> Statistic:
    of_the_truth = answers.probabilities[np.arange(len(answers)), answers.y]
    return of_mean(-np.log(np.clip(of_the_truth, _SMALLEST, 1)), clusters)


def _one_hot(answers: Answers) -> NDArray[np.float64]:
    return np.asarray(np.eye(answers.probabilities.shape[1])[answers.y])


BRIER = Metric("brier", "Brier score", CLASSES, False, _brier)
"""Mean squared miss of the probability: of the positive class in a binary task, summed over the classes otherwise.
A proper score with bounds, so that one row cannot decide. Brier, Verification of forecasts, 1950."""

LOG_LOSS = Metric("log_loss", "Log loss", CLASSES, False, _log_loss)
"""Mean negative logarithm of the probability of what came true, in nats. One certain and wrong answer costs 36."""


def ece(bins: int) -> Metric:
    """Return the expected calibration error over bins of equal width.

    References
    ----------
    Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, 2015; for several classes
    Guo et al., On Calibration of Modern Neural Networks, 2017.
    """
    prepare = calibration_error(bins, lambda _, count: equal_width_edges(count))
    return Metric("ece", "Expected calibration error", CLASSES, False, prepare)


def adaptive_ece(bins: int) -> Metric:
    """Return the expected calibration error over bins of equal numbers of rows.

    Where most probabilities lie close together, equal widths leave most bins empty; these do not.

    References
    ----------
    Nixon et al., Measuring Calibration in Deep Learning, 2019.
    """
    prepare = calibration_error(bins, equal_mass_edges)
    return Metric("adaptive_ece", "Adaptive calibration error", CLASSES, False, prepare)
