"""Two classical tests of one predictor against another on the same rows: McNemar's and DeLong's.

Both take the rows to be independent of each other. Where rows belong together (the flights of one day), both find
differences that are chance; what decides at the gate is the bootstrap over independent groups, and these stand beside
it because a reader may expect them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aforo.contracts.specification import Specification
from aforo.evaluation.answers import Answers, Floats
from aforo.evaluation.bootstrap import Interval


class McNemar(Specification):
    """Which of two predictors is right where only one of them is.

    Attributes
    ----------
    only_candidate, only_other
        Rows that only one of them answers rightly.
    p_value
        Exact and two-sided: of a split this uneven if both are right equally often.
    """

    only_candidate: int
    only_other: int
    p_value: float


class DeLong(Specification):
    """Two areas under the ROC curve on the same rows.

    Attributes
    ----------
    difference
        Candidate minus other, with the normal interval.
    z, p_value
        Of the difference being 0, two-sided; 0 and 1 where all pairs of rows are ordered alike.
    """

    candidate: float
    other: float
    difference: Interval
    z: float
    p_value: float


class PairedTests(Specification):
    """The candidate against one other predictor.

    Attributes
    ----------
    independent
        Whether the bootstrap, too, takes the rows to be independent; if not, these p-values are too small.
    delong
        ``None`` but for a binary task with both classes.
    """

    against: str
    independent: bool
    mcnemar: McNemar
    delong: DeLong | None


def paired_tests(
    candidate: Answers, other: Answers, *, against: str, independent: bool, confidence: float
) -> PairedTests:
    """Return both tests of two classifiers' answers on the same rows."""
    ordered = candidate.task == "binary" and 0 < candidate.y.sum() < len(candidate)
    return PairedTests(
        against=against,
        independent=independent,
        mcnemar=mcnemar(candidate, other),
        delong=delong(candidate, other, confidence) if ordered else None,
    )


def mcnemar(candidate: Answers, other: Answers) -> McNemar:
    """Return the exact test of two classifiers' labels.

    References
    ----------
    McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12, 1947.
    """
    from scipy.stats import binomtest

    right, theirs = candidate.labels == candidate.y, other.labels == other.y
    ours_only, theirs_only = int(np.sum(right & ~theirs)), int(np.sum(theirs & ~right))
    apart = ours_only + theirs_only
    p_value = float(binomtest(ours_only, apart, 0.5).pvalue) if apart else 1.0
    return McNemar(only_candidate=ours_only, only_other=theirs_only, p_value=p_value)


def delong(candidate: Answers, other: Answers, confidence: float) -> DeLong:
    """Return the test of two areas under the ROC curve; a row costs no more than sorting it does.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson, Comparing the areas under two or more correlated receiver operating
    characteristic curves, Biometrics 44, 1988.
    Sun and Xu, Fast implementation of DeLong's algorithm, IEEE Signal Processing Letters 21, 2014.
    """
    from scipy.special import ndtr, ndtri

    positive = candidate.y == 1
    placed = [_placements(answers.probabilities[:, 1], positive) for answers in (candidate, other)]
    (above_a, below_a), (above_b, below_b) = placed
    difference = float(above_a.mean() - above_b.mean())
    variance = _variance_of_mean(above_a - above_b) + _variance_of_mean(below_a - below_b)
    error = float(np.sqrt(variance))
    z = difference / error if error else 0.0
    half = float(ndtri((1 + confidence) / 2)) * error
    return DeLong(
        candidate=float(above_a.mean()),
        other=float(above_b.mean()),
        difference=Interval(value=difference, lower=difference - half, upper=difference + half),
        z=z,
        p_value=float(2 * ndtr(-abs(z))),
    )


def _placements(scores: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return for each positive row the share of negatives below it, and for each negative that of positives above.

    A tie counts one half: ranks among all rows minus ranks among its own are the number of others below.
    """
    from scipy.stats import rankdata

    everywhere = rankdata(scores)
    above = (everywhere[positive] - rankdata(scores[positive])) / np.sum(~positive)
    below = 1 - (everywhere[~positive] - rankdata(scores[~positive])) / np.sum(positive)
    return above, below


def _variance_of_mean(values: Floats) -> float:
    return float(np.var(values, ddof=1) / len(values)) if len(values) > 1 else 0.0
