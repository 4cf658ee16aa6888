"""Sets of labels: whether they hold the true one as often as they promise, and how large they have to be for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aforo.contracts.prediction import LabelSets
from aforo.contracts.specification import Specification
from aforo.evaluation.answers import Answers
from aforo.evaluation.bootstrap import BootstrapSpec, Interval, figures, interval
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.metrics.statistic import of_mean
from aforo.evaluation.noise import largest_coverage_gap_by_chance
from aforo.evaluation.rules import Calibrated, RuleOutcome
from aforo.models.calibration.conformal_sets import label_sets

RULE = "sets_cover"


class SetFigures(Specification):
    """What the sets of labels are on the test rows.

    Attributes
    ----------
    observed
        Share (0-1) of the rows whose set holds the true label.
    size
        Mean number of labels in a set.
    sizes
        Share (0-1) of the sets with no label, one label, two labels, and so on.
    by_class
        ``observed`` among the rows of each class; the promise is for all rows together, not for each class.
    """

    promised: LabelSets
    observed: Interval
    size: Interval
    sizes: tuple[float, ...]
    by_class: dict[str, float]


def set_figures(
    uncalibrated: Answers,
    rule: LabelSets,
    classes: Sequence[str],
    clusters: Clusters,
    bootstrap: BootstrapSpec,
    seed: int,
) -> SetFigures:
    """Return coverage and size of the sets that a rule makes of uncalibrated probabilities."""
    sets = label_sets(rule, uncalibrated.probabilities)
    held = sets[np.arange(len(uncalibrated)), uncalibrated.y].astype(np.float64)
    size = sets.sum(axis=1)
    statistics = {"held": of_mean(held, clusters), "size": of_mean(size.astype(np.float64), clusters)}
    drawn = figures(statistics, clusters, bootstrap, seed)
    return SetFigures(
        promised=rule,
        observed=interval(drawn["held"], bootstrap.confidence, name="coverage of the sets"),
        size=interval(drawn["size"], bootstrap.confidence, name="size of the sets"),
        sizes=tuple((np.bincount(size, minlength=len(classes) + 1) / len(size)).tolist()),
        by_class={
            label: float(held[uncalibrated.y == code].mean())
            for code, label in enumerate(classes)
            if (uncalibrated.y == code).any()
        },
    )


def sets_cover(found: SetFigures, rule: Calibrated, rows: int, confidence: float, seed: int) -> RuleOutcome:
    """Report whether the sets hold the true label about as often as they promise."""
    nominal = found.promised.coverage
    by_chance = largest_coverage_gap_by_chance(
        rows, nominal, confidence=confidence, seed=seed, calibration_rows=found.promised.calibration_rows
    )
    bound = max(rule.max_coverage_gap, by_chance)
    # Equal probabilities make sets hold more than they promise, which is no broken promise.
    gap = nominal - found.observed.value
    why = (
        f"The sets of labels hold the true one in {found.observed.value:.1%} of the rows and promise {nominal:.1%}, "
        f"with {found.size.value:.3g} labels in the mean; {bound:.1%} less is allowed on {rows:,} rows."
    )
    return RuleOutcome.at_most(RULE, gap, bound, why)
