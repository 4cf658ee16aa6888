"""How well scores order the rows: ROC AUC and average precision, one class against the rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aforo.evaluation.answers import Answers
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.metrics.statistic import Floats, Metric, Statistic


class _Ranked:
    """Rows of one class against the rest, sorted by falling score, equal scores held together."""

    def __init__(self, scores: Floats, positive: NDArray[np.bool_], clusters: Clusters) -> None:
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        # Tied rows cannot be ordered: sums are read at the last row of each run of equal scores.
        self._ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
        self._codes = clusters.codes[order]
        self._positive = positive[order].astype(np.float64)

    def sums(self, weights_G: Floats) -> tuple[Floats, Floats]:
        """Return the weights of positive and of all rows down to the end of each run of ties."""
        weights = weights_G[self._codes]
        return np.cumsum(weights * self._positive)[self._ends], np.cumsum(weights)[self._ends]


def _area(ranked: _Ranked, weights_G: Floats) -> float:
    positives, rows = ranked.sums(weights_G)
    negatives = rows - positives
    if positives[-1] == 0 or negatives[-1] == 0:
        return float("nan")
    # Trapezoids: a tie between a positive and a negative counts one half.
    return float(np.trapezoid(np.append(0, positives), np.append(0, negatives)) / (positives[-1] * negatives[-1]))


def _average_precision(ranked: _Ranked, weights_G: Floats) -> float:
    positives, rows = ranked.sums(weights_G)
    if positives[-1] == 0:
        return float("nan")
    # Runs of weight 0 at the top have neither precision nor recall.
    precision = np.divide(positives, rows, out=np.zeros_like(rows), where=rows > 0)
    return float(np.sum(np.diff(positives, prepend=0) * precision) / positives[-1])


def _prepare(answers: Answers, clusters: Clusters) -> list[_Ranked]:
    classes = [1] if answers.task == "binary" else range(answers.probabilities.shape[1])
    return [_Ranked(answers.probabilities[:, k], answers.y == k, clusters) for k in classes]


def _roc_auc(answers: Answers, clusters: Clusters) -> Statistic:
    ranked = _prepare(answers, clusters)
    return lambda weights_RG: np.array([np.mean([_area(r, w_G) for r in ranked]) for w_G in weights_RG])


def _average(answers: Answers, clusters: Clusters) -> Statistic:
    ranked = _prepare(answers, clusters)
    return lambda weights_RG: np.array([np.mean([_average_precision(r, w_G) for r in ranked]) for w_G in weights_RG])


ROC_AUC = Metric("roc_auc", "ROC AUC", ("binary", "multiclass"), True, _roc_auc)
"""Probability that a positive row scores above a negative one; several classes: mean over the classes, each
against the rest. Hanley and McNeil, The meaning and use of the area under a ROC curve, 1982."""

AVERAGE_PRECISION = Metric("average_precision", "Average precision", ("binary", "multiclass"), True, _average)
"""Precision averaged over the gains in recall, without interpolation; several classes as for ROC AUC."""
