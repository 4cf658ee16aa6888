"""How good the answered labels are: accuracy and macro F1."""

from __future__ import annotations

import numpy as np

from aforo.evaluation.answers import Answers
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.metrics.statistic import Floats, Metric, Statistic, of_mean, of_sums


def _accuracy(answers: Answers, clusters: Clusters) -> Statistic:
    return of_mean((answers.labels == answers.y).astype(np.float64), clusters)


def _macro_f1(answers: Answers, clusters: Clusters) -> Statistic:
    classes = answers.probabilities.shape[1]
    true_NK, answered_NK = np.eye(classes)[answers.y], np.eye(classes)[answers.labels]

    def figure(sums: Floats) -> Floats:
        hits, marked = sums[:, :classes], sums[:, classes:]
        # A class that neither occurs nor is answered has no F1: the mean is over the others.
        f1 = np.divide(2 * hits, marked, out=np.full_like(hits, np.nan), where=marked > 0)
        return np.asarray(np.nanmean(f1, axis=1))

    return of_sums(np.hstack([true_NK * answered_NK, true_NK + answered_NK]), clusters, figure)


ACCURACY = Metric("accuracy", "Accuracy", ("binary", "multiclass"), True, _accuracy)
"""Share of rows whose answered label is right."""

MACRO_F1 = Metric("macro_f1", "Macro F1", ("binary", "multiclass"), True, _macro_f1)
"""Harmonic mean of precision and recall, averaged over the classes: a rare class counts as much as a common one."""
