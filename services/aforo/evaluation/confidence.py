"""Answering only when sure: what is gained by abstaining, and from which confidence on a stated risk is kept."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from aforo.contracts.specification import Specification
from aforo.errors import DataError
from aforo.evaluation.answers import Answers, Floats
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.rules import RuleOutcome, Share
from aforo.evaluation.slices.cutting import Cut
from aforo.evaluation.slices.means import slice_means

RULE = "sure_answers"

_COVERAGES = tuple(percent / 100 for percent in range(5, 101, 5))


class SureAnswers(Specification):
    """Enough rows can be answered with a risk that is proven to be low.

    Attributes
    ----------
    max_risk
        Share (0-1) of wrong labels among the answered rows.
    min_coverage
        Share (0-1) of the rows that must be answerable at that risk.
    """

    max_risk: Annotated[float, Field(gt=0, lt=1)]
    min_coverage: Share = 0.5


class Selected(Specification):
    """What answering only the surest rows gives.

    Attributes
    ----------
    coverage
        Share (0-1) of the rows that are answered: those of ``confidence`` or more.
    risk, risk_upper
        Share (0-1) of wrong labels among them, and its one-sided upper bound.
    """

    coverage: float
    confidence: float
    risk: float
    risk_upper: float


class RiskCoverage(Specification):
    """Risk against coverage, from the surest twentieth of the rows to all of them.

    Attributes
    ----------
    area
        Mean risk over all coverages: lower is better, for a model that knows when it does not know.
    kept
        The largest coverage at which the risk is proven to be within what was asked, with the confidence from
        which rows are answered; ``None`` if there is none, or nothing was asked.
    """

    area: float
    curve: tuple[Selected, ...]
    kept: Selected | None = None


def risk_coverage(
    answers: Answers, clusters: Clusters, *, max_risk: float | None = None, confidence: float = 0.95
) -> RiskCoverage:
    """Return the risk-coverage curve of a classifier, surest rows first; rows of equal confidence come together.

    The coverages are tested from the surest rows down, each at the same level, until the first that fails. Because the
    order is fixed beforehand, what passes before it is proven without any further correction. Those with too few rows
    to prove the risk even without a mistake are passed over, which takes no look at the outcomes.

    Parameters
    ----------
    clusters
        Which rows belong together: the upper bounds allow for it.
    confidence
        Of the upper bounds.

    Raises
    ------
    DataError
        The predictor gives values, not classes.

    References
    ----------
    Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, NeurIPS 2017.
    Angelopoulos et al., Learn then Test: Calibrating Predictive Algorithms to Achieve Risk Control, 2021.
    """
    if answers.task == "regression":
        raise DataError(
            "a regression has no labels that could be wrong", hint="ask for its interval's coverage instead"
        )
    sure = answers.probabilities.max(axis=1)
    wrong = answers.mistakes
    order = np.argsort(-sure, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(sure[order])), len(sure) - 1)
    risks = np.cumsum(wrong[order])[ends] / (ends + 1)
    area = float(np.sum(risks * np.diff(ends, prepend=-1)) / len(sure))
    wanted = np.unique([ends[np.searchsorted(ends, share * len(sure) - 1)] for share in _COVERAGES])
    curve = tuple(_selected(sure >= sure[order[end]], wrong, sure, clusters, confidence) for end in wanted.tolist())
    kept = None
    if max_risk is not None:
        for selected in curve:
            if _best_bound(round(selected.coverage * len(sure)), confidence) > max_risk:
                continue
            if selected.risk_upper > max_risk:
                break
            kept = selected
    return RiskCoverage(area=area, curve=curve, kept=kept)


def _best_bound(rows: int, confidence: float) -> float:
    """Return the upper bound of the risk of so many independent rows without a mistake, by Clopper and Pearson."""
    return float(1 - (1 - confidence) ** (1 / rows))


def sure_answers(found: RiskCoverage, rule: SureAnswers) -> RuleOutcome:
    """Report whether enough rows can be answered at the risk that is allowed."""
    coverage = 0.0 if found.kept is None else found.kept.coverage
    how = (
        "no rows"
        if found.kept is None
        else f"{coverage:.0%} of the rows (confidence {found.kept.confidence:.3f} or more)"
    )
    why = (
        f"At a risk of {rule.max_risk:.1%} or less, proven, {how} can be answered; "
        f"{rule.min_coverage:.0%} are asked for."
    )
    return RuleOutcome.at_least(RULE, coverage, rule.min_coverage, why)


def _selected(
    answered: np.ndarray[tuple[int], np.dtype[np.bool_]],
    wrong: Floats,
    sure: Floats,
    clusters: Clusters,
    confidence: float,
) -> Selected:
    from scipy.special import betaincinv, stdtrit

    rows, mistakes = int(answered.sum()), float(wrong[answered].sum())
    # Clopper and Pearson's bound, exact for independent rows; rows that belong together can only widen it.
    upper = 1.0 if mistakes == rows else float(betaincinv(mistakes + 1, rows - mistakes, confidence))
    if clusters.count < len(sure):
        means = slice_means(wrong, Cut(("answered",), np.where(answered, 0, -1), (("yes",),)), clusters)
        half = float(stdtrit(max(1, int(means.groups[0]) - 1), confidence) * means.error[0])
        upper = 1.0 if np.isnan(half) else max(upper, mistakes / rows + half)
    return Selected(
        coverage=rows / len(sure), confidence=float(sure[answered].min()), risk=mistakes / rows, risk_upper=upper
    )
