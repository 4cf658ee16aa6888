"""What group thresholds would cost: each group gets thresholds of its own, so that the groups are answered alike.

Nothing of it is served: what is served has one threshold for all. It is the price that a person has to know who decides
whether groups should be treated differently in order to be treated alike; in many places the law has a say in it, too.

References
----------
Hardt, Price and Srebro, Equality of Opportunity in Supervised Learning, NeurIPS 2016, as in fairlearn's
`ThresholdOptimizer` (Weerts et al., Fairlearn: Assessing and Improving Fairness of AI Systems, JMLR 24, 2023).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aforo.contracts.specification import Specification
from aforo.evaluation.answers import Answers, Floats
from aforo.evaluation.bootstrap import BootstrapSpec, Interval, figures, interval, is_defined
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.costs import cheapest_threshold
from aforo.evaluation.fairness.lens import FairnessSpec
from aforo.evaluation.metrics.statistic import Statistic, of_sums
from aforo.evaluation.slices.cutting import Cut, cut
from aforo.evaluation.subject import Subject

Constraint = Literal["demographic_parity", "equalized_odds"]

CONSTRAINTS: tuple[Constraint, ...] = ("demographic_parity", "equalized_odds")

# A smaller share of the rows is not worth a word.
_NEGLIGIBLE = 0.005


class Thresholded(Specification):
    """What one way of turning probabilities into labels gives on the test rows.

    Attributes
    ----------
    way
        ``as_answered``, ``one_threshold`` (the best one for all), or what group thresholds make equal.
    balanced_accuracy
        Mean of the shares of right answers among positives and among negatives: no threshold wins by ignoring the
        rarer label.
    cost
        By how much it is lower than that of one threshold, paired; ``None`` for the first two.
    demographic_parity, equalised_odds
        Differences between the groups, 0-1.
    thresholds
        Per group, above which probability the positive label is answered, with the share of the rows it is drawn for.
    """

    way: Literal["as_answered", "one_threshold", "demographic_parity", "equalized_odds"]
    balanced_accuracy: Interval
    cost: Interval | None
    demographic_parity: float
    equalised_odds: float
    thresholds: dict[str, str]


class Mitigation(Specification):
    """What thresholds of their own would do for the groups of one cut; they were chosen on the calibration rows."""

    by: tuple[str, ...]
    ways: tuple[Thresholded, ...]


def mitigate(
    subject: Subject, calibration: Subject, spec: FairnessSpec, bootstrap: BootstrapSpec
) -> tuple[Mitigation, ...]:
    """Choose thresholds on the calibration rows, and return what they do on the test rows, cut by cut.

    Groups that do not have 30 (``min_rows``) positives and as many negatives among the calibration rows are left as
    they are, with the one threshold of all. A cut with fewer than two groups that do is left out, and so is one whose
    test rows are too few of one label for an interval.

    Parameters
    ----------
    subject, calibration
        One binary predictor, with the test and with the calibration rows.
    """
    found = []
    known, asked = calibration.answers(), subject.answers()
    for names in spec.by:
        # Both at once, so that a number is cut at the same quartiles.
        columns = [tested.table.select(names) for tested in (calibration, subject)]
        both = cut(pl.concat(columns), subject.columns, names)
        here = Cut(both.columns, both.codes[len(calibration) :], both.labels)
        there = both.codes[: len(calibration)]
        if one := _of_cut(known, asked, here, there, subject.clusters, spec.min_rows, bootstrap, subject.seed):
            found.append(one)
    return tuple(found)


def _of_cut(
    known: Answers,
    asked: Answers,
    here: Cut,
    there: NDArray[np.int64],
    clusters: Clusters,
    fewest: int,
    bootstrap: BootstrapSpec,
    seed: int,
) -> Mitigation | None:
    from fairlearn.postprocessing import ThresholdOptimizer

    enough = [
        code
        for code in range(len(here.labels))
        if (here.codes == code).any()
        and min(np.sum((there == code) & (known.y == label)) for label in (0, 1)) >= fewest
    ]
    if len(enough) < 2:
        return None
    one = _best_threshold(known)
    decided = {"as_answered": asked.labels, "one_threshold": (asked.probabilities[:, 1] >= one).astype(np.int64)}
    names = [" and ".join(label) for label in here.labels]
    thresholds = {
        "as_answered": dict.fromkeys(names, f"{asked.threshold:.3g}"),
        "one_threshold": dict.fromkeys(names, f"{one:.3g}"),
    }
    learnt, applied = np.isin(there, enough), np.isin(here.codes, enough)
    for constraint in CONSTRAINTS:
        optimizer = ThresholdOptimizer(
            estimator=_as_answered(),
            constraints=constraint,
            objective="balanced_accuracy_score",
            prefit=True,
            predict_method="predict",
        )
        optimizer.fit(known.probabilities[learnt, 1:], known.y[learnt], sensitive_features=there[learnt])
        decided[constraint] = decided["one_threshold"].copy()
        decided[constraint][applied] = optimizer.predict(
            asked.probabilities[applied, 1:], sensitive_features=here.codes[applied], random_state=seed
        )
        chosen = optimizer.interpolated_thresholder_.interpolation_dict
        thresholds[constraint] = {
            **thresholds["one_threshold"], **{names[code]: _said(chosen[code]) for code in enough}
        }  # fmt: skip
    ways = _measured(decided, thresholds, asked, here, enough, clusters, bootstrap, seed)
    return Mitigation(by=here.columns, ways=tuple(ways)) if ways else None


def _best_threshold(known: Answers) -> float:
    """Return the threshold with the highest balanced accuracy: a mistake costs one part of its label's rows."""
    positives, negatives = max(1, int(np.sum(known.y == 1))), max(1, int(np.sum(known.y == 0)))
    return cheapest_threshold(known.probabilities[:, 1], known.y, np.array([[0, 1 / negatives], [1 / positives, 0]]))


def _measured(
    decided: dict[str, NDArray[np.int64]],
    thresholds: dict[str, dict[str, str]],
    asked: Answers,
    slices: Cut,
    enough: list[int],
    clusters: Clusters,
    spec: BootstrapSpec,
    seed: int,
) -> list[Thresholded]:
    statistics = {way: _balanced_accuracy(labels, asked.y, clusters) for way, labels in decided.items()}
    drawn = figures(statistics, clusters, spec, seed)
    found = []
    for way, labels in decided.items():
        if not is_defined(drawn[way]):
            return []
        cost = drawn["one_threshold"] - drawn[way]
        rates = [_rates(labels[slices.codes == code], asked.y[slices.codes == code]) for code in enough]
        spread = np.nanmax(rates, axis=0) - np.nanmin(rates, axis=0)
        found.append(
            Thresholded(
                way=way,
                balanced_accuracy=interval(drawn[way], spec.confidence, name="balanced accuracy"),
                cost=interval(cost, spec.confidence, name="cost") if way in CONSTRAINTS else None,
                demographic_parity=float(spread[0]),
                equalised_odds=float(np.nanmax(spread[1:])),
                thresholds=thresholds[way],
            )
        )
    return found


def _balanced_accuracy(labels: NDArray[np.int64], y: NDArray[np.int64], clusters: Clusters) -> Statistic:
    right = labels == y
    columns = np.column_stack([right & (y == 1), y == 1, right & (y == 0), y == 0]).astype(np.float64)

    def figure(sums: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((sums[:, 0] / sums[:, 1] + sums[:, 2] / sums[:, 3]) / 2)

    return of_sums(columns, clusters, figure)


def _rates(labels: NDArray[np.int64], y: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return the shares answered positive: of all rows, of the positives, of the negatives."""
    return (
        float(labels.mean()),
        float(labels[y == 1].mean()) if (y == 1).any() else np.nan,
        float(labels[y == 0].mean()) if (y == 0).any() else np.nan,
    )


def _said(rule: Any) -> str:
    """Return a group's rule in words: one threshold, or two with the share of rows that each is drawn for by lot."""
    parts = [(float(rule[f"p{i}"]), rule[f"operation{i}"].threshold) for i in (0, 1)]
    shares: dict[str, float] = {}
    for share, threshold in parts:
        shares[f"{threshold:.3g}"] = shares.get(f"{threshold:.3g}", 0.0) + share
    words = " or ".join(f"{threshold} ({share:.0%})" for threshold, share in shares.items() if share > _NEGLIGIBLE)
    by_lot = float(rule.get("p_ignore", 0.0))
    if by_lot <= _NEGLIGIBLE:
        return words
    return f"{words}; but {by_lot:.0%} of the rows by lot, {float(rule['prediction_constant']):.0%} of them positive"


def _as_answered() -> Any:
    """Return a predictor whose answer is its input, fitted: what fairlearn is given are probabilities already."""
    from sklearn.linear_model import LinearRegression

    same = LinearRegression()
    same.coef_, same.intercept_ = np.ones(1), 0.0
    return same
