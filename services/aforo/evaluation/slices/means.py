"""The mean of something within each slice, how far chance moves it, and what survives many tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aforo.evaluation.answers import Answers, Floats, Integers
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.slices.cutting import Cut


@dataclass(frozen=True, eq=False)
class SliceMeans:
    """Per slice (S), the mean of a value and its standard error.

    Attributes
    ----------
    rows, groups
        Number of rows, and of the groups of rows that belong together.
    error
        Standard error that allows for what rows of a group share; NaN for a slice of one group.
    pooled_error
        Standard error of as many independent rows with the spread of all rows together.
    """

    mean: Floats
    error: Floats
    pooled_error: Floats
    rows: Integers
    groups: Integers

    def above(self, bound: float) -> Floats:
        """Return the one-sided p-value of each mean being above ``bound``, shape (S,).

        By Student's t with one degree of freedom less than there are groups; 1 where there are too few to tell.
        The error is the larger of the two: among thousands of small slices, some have next to no spread by chance.
        """
        from scipy.special import stdtr

        with np.errstate(divide="ignore", invalid="ignore"):
            t = (self.mean - bound) / np.maximum(self.error, self.pooled_error)
        p = stdtr(np.maximum(1, self.groups - 1), -t)
        return np.where(np.isfinite(p), p, 1.0)

    def bounds(self, confidence: float) -> tuple[Floats, Floats]:
        """Return the two-sided interval of each mean, shapes (S,)."""
        from scipy.special import stdtrit

        half = stdtrit(np.maximum(1, self.groups - 1), (1 + confidence) / 2) * self.error
        return self.mean - half, self.mean + half


def slice_means(values: Floats, slices: Cut, clusters: Clusters) -> SliceMeans:
    """Return the mean of ``values`` (N,) within each slice.

    The error is the linearised one of a ratio of sums over groups, with the correction for few groups.

    References
    ----------
    Cameron and Miller, A Practitioner's Guide to Cluster-Robust Inference, Journal of Human Resources 50(2), 2015.
    """
    inside = slices.codes >= 0
    codes, of_group, kept = slices.codes[inside], clusters.codes[inside], values[inside]
    count = len(slices.labels)
    rows = np.bincount(codes, minlength=count)
    mean = np.bincount(codes, kept, count) / rows
    cells, cell_of_row = np.unique(codes * clusters.count + of_group, return_inverse=True)
    departures = np.bincount(cell_of_row, kept - mean[codes], len(cells))
    slice_of_cell = cells // clusters.count
    groups = np.bincount(slice_of_cell, minlength=count)
    squares = np.bincount(slice_of_cell, departures**2, count)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = squares / rows**2 * groups / (groups - 1)
    pooled = float(np.std(values)) / np.sqrt(rows)
    return SliceMeans(mean, np.sqrt(np.where(groups > 1, variance, np.nan)), pooled, rows, groups)


def holm(p: NDArray[np.float64]) -> Floats:
    """Return p-values (S,) adjusted for being many: reject those at or below 0.05 to be wrong once in 20 families.

    References
    ----------
    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
    """
    order = np.argsort(p, kind="stable")
    raised = np.minimum(1, p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(raised)
    return adjusted


def losses(answers: Answers) -> Floats:
    """Return what each row costs, shape (N,): its summand of the Brier score, or its squared error."""
    if answers.task == "regression":
        return np.asarray((answers.value - answers.y) ** 2)
    if answers.task == "binary":
        return np.asarray((answers.probabilities[:, 1] - answers.y) ** 2)
    classes = answers.probabilities.shape[1]
    return np.asarray(((answers.probabilities - np.eye(classes)[answers.y]) ** 2).sum(axis=1))


def excesses(answers: Answers) -> Floats:
    """Return how much more was claimed than came true, row by row, shape (N,): its mean over any slice should be 0."""
    if answers.task == "regression":
        return np.asarray(answers.value - answers.y)
    if answers.task == "binary":
        return np.asarray(answers.probabilities[:, 1] - answers.y)
    return np.asarray(answers.probabilities.max(axis=1) - (answers.labels == answers.y))
