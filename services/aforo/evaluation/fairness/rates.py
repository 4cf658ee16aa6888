"""After training: how each group of people is answered, and how far apart the groups are.

Rates come from the rows of a group; their intervals from the same resamples of independent groups of rows (days, not
flights) for all of them, so that differences are paired. The difference that is reported is that of the two groups
that are furthest apart. With many groups some are far apart by chance: what is proven allows for all pairs at once.

References
----------
Hardt, Price and Srebro, Equality of Opportunity in Supervised Learning, NeurIPS 2016 (equalised odds).
Pleiss, Raghavan, Wu, Kleinberg and Weinberger, On Fairness and Calibration, NeurIPS 2017 (why not all can hold).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aforo.contracts.prediction import TaskKind
from aforo.contracts.specification import Specification
from aforo.evaluation.answers import Answers, Floats
from aforo.evaluation.bootstrap import BootstrapSpec, Interval, figures, interval, is_defined
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.fairness.lens import FairnessSpec
from aforo.evaluation.reliability import reliability
from aforo.evaluation.slices.cutting import Cut, cut
from aforo.evaluation.subject import Subject

RateName = Literal[
    "positive", "selection", "true_positive", "false_positive", "precision", "accuracy", "excess",
    "mean", "bias", "absolute_error", "coverage",
]  # fmt: skip
DisparityName = Literal["demographic_parity", "equalised_odds", "accuracy", "bias", "error", "coverage"]

DISPARITIES: dict[TaskKind, dict[DisparityName, tuple[RateName, ...]]] = {
    "binary": {
        "demographic_parity": ("selection",),
        "equalised_odds": ("true_positive", "false_positive"),
        "bias": ("excess",),
    },
    "multiclass": {"accuracy": ("accuracy",), "bias": ("excess",)},
    "regression": {"bias": ("bias",), "error": ("absolute_error",), "coverage": ("coverage",)},
}
"""Per task, what the groups are compared in, with the rates that it compares."""


class GroupRates(Specification):
    """How one group is answered.

    Attributes
    ----------
    rows, groups
        Its rows, and the independent groups of rows among them.
    rates
        By name, those that its rows define. Classes: share of positives, of rows answered positive (``selection``),
        of those among positives and among negatives, of positives among those (``precision``), and by how much more is
        claimed than comes true (``excess``). Values: mean true value, mean of value minus truth (``bias``), mean
        absolute error, share of intervals that hold the truth.
    over
        Per rate, how many rows it is a share or a mean of.
    ece
        Expected calibration error within the group; ``None`` for a regression.
    """

    where: dict[str, str]
    rows: int
    groups: int
    rates: dict[RateName, Interval]
    over: dict[RateName, int]
    ece: float | None = None


class Disparity(Specification):
    """How far apart the groups of one cut are.

    Attributes
    ----------
    rate
        The rate in which the difference is largest.
    high, low
        The two groups that are furthest apart.
    difference, ratio
        Of their rates; high minus low, low over high (``None`` where that means nothing).
    proven
        What the difference of some pair is proven to be at least, allowing for all pairs; 0 for nothing.
    too_small
        Groups that were not compared.
    """

    name: DisparityName
    rate: RateName
    high: dict[str, str]
    low: dict[str, str]
    difference: Interval
    ratio: Interval | None
    proven: float
    too_small: tuple[dict[str, str], ...] = ()


class CutRates(Specification):
    """The groups by one column, or by several at once, and what is between them.

    Attributes
    ----------
    disparities
        Of the groups that are large enough; one that no two groups are large enough for is left out.
    """

    by: tuple[str, ...]
    groups: tuple[GroupRates, ...]
    disparities: tuple[Disparity, ...]


def group_rates(
    subject: Subject, answers: Answers, spec: FairnessSpec, bootstrap: BootstrapSpec, bins: int = 15
) -> tuple[CutRates, ...]:
    """Return the rates of every group that the specification names, and the differences between them.

    Parameters
    ----------
    subject
        The rows that were answered, with the columns to group them by.
    """
    found = []
    for names in spec.by:
        slices = cut(subject.table, subject.columns, names)
        drawn = _draw(answers, slices, subject.clusters, bootstrap, subject.seed)
        level = (1 - bootstrap.confidence) / len(spec.by)
        disparities = [
            _disparity(name, [drawn[rate] for rate in rates if rate in drawn], slices, spec.min_rows, bootstrap, level)
            for name, rates in DISPARITIES[answers.task].items()
        ]
        groups = tuple(
            _group(code, slices, drawn, answers, subject.clusters, bootstrap, bins)
            for code in range(len(slices.labels))
        )
        found.append(
            CutRates(by=slices.columns, groups=groups, disparities=tuple(one for one in disparities if one is not None))
        )
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Drawn:
    """One rate of every group (S): on all rows, then on each resample, shape (1 + R, S).

    Attributes
    ----------
    over
        Rows that the rate of each group is over, shape (S,).
    spread
        Variance of what it is the mean of, over all these rows.
    """

    name: RateName
    values: Floats
    over: NDArray[np.int64]
    spread: float


def _draw(answers: Answers, slices: Cut, clusters: Clusters, spec: BootstrapSpec, seed: int) -> dict[RateName, _Drawn]:
    counted = _counted(answers)
    count = len(slices.labels)
    cell = clusters.codes * count + slices.codes
    sums = {
        name: np.hstack([
            np.bincount(cell, weights, clusters.count * count).reshape(clusters.count, count)
            for weights in (values * among, among.astype(np.float64))
        ])
        for name, (values, among) in counted.items()
    }  # fmt: skip

    def rates_of(sums_GD: Floats, weights_RG: Floats) -> Floats:
        total = weights_RG @ sums_GD
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(total[:, :count] / total[:, count:])

    statistics = {name: lambda weights, held=held: rates_of(held, weights) for name, held in sums.items()}
    drawn = figures(statistics, clusters, spec, seed)
    return {
        name: _Drawn(
            name,
            drawn[name],
            np.bincount(slices.codes[among], minlength=count),
            float(np.var(values[among])) if among.any() else 0.0,
        )
        for name, (values, among) in counted.items()
    }


def _counted(answers: Answers) -> dict[RateName, tuple[Floats, NDArray[np.bool_]]]:
    """Return per rate what it is the mean of, shape (N,), and over which rows."""
    every = np.ones(len(answers), dtype=np.bool_)
    if answers.task == "regression":
        missed = answers.value - answers.y
        rates: dict[RateName, tuple[Floats, NDArray[np.bool_]]] = {
            "mean": (np.asarray(answers.y, dtype=np.float64), every),
            "bias": (missed, every),
            "absolute_error": (np.abs(missed), every),
        }
        if answers.interval is not None:
            inside = (answers.interval[:, 0] <= answers.y) & (answers.y <= answers.interval[:, 1])
            rates["coverage"] = (inside.astype(np.float64), every)
        return rates
    right = (answers.labels == answers.y).astype(np.float64)
    if answers.task == "multiclass":
        return {"accuracy": (right, every), "excess": (answers.probabilities.max(axis=1) - right, every)}
    positive, chosen = answers.y == 1, answers.labels == 1
    return {
        "positive": (positive.astype(np.float64), every),
        "selection": (chosen.astype(np.float64), every),
        "true_positive": (chosen.astype(np.float64), positive),
        "false_positive": (chosen.astype(np.float64), ~positive),
        "precision": (positive.astype(np.float64), chosen),
        "accuracy": (right, every),
        "excess": (answers.probabilities[:, 1] - positive, every),
    }


def _group(
    code: int,
    slices: Cut,
    drawn: dict[RateName, _Drawn],
    answers: Answers,
    clusters: Clusters,
    spec: BootstrapSpec,
    bins: int,
) -> GroupRates:
    rows = np.flatnonzero(slices.codes == code)
    ece = None
    if answers.task != "regression":
        table = reliability(answers.take(rows), bins)
        ece = float(np.sum(table.rows * np.abs(table.claimed - table.observed)) / len(rows))
    return GroupRates(
        where=slices.named(code),
        rows=len(rows),
        groups=len(np.unique(clusters.codes[rows])),
        rates={
            name: interval(rate.values[:, code], spec.confidence, name=name)
            for name, rate in drawn.items()
            if is_defined(rate.values[:, code])
        },
        over={name: int(rate.over[code]) for name, rate in drawn.items()},
        ece=ece,
    )


def _disparity(
    name: DisparityName,
    rates: Sequence[_Drawn],
    slices: Cut,
    min_rows: int,
    spec: BootstrapSpec,
    level: float,
) -> Disparity | None:
    """Return the largest difference between two groups, or ``None`` where no two are large enough."""
    from scipy.special import ndtri

    pairs, too_small = [], set[int]()
    for rate in rates:
        judged = [
            code
            for code in range(len(slices.labels))
            if rate.over[code] >= min_rows and is_defined(rate.values[:, code])
        ]
        too_small |= set(range(len(slices.labels))) - set(judged)
        pairs += [
            (rate, high, low)
            for high, low in itertools.permutations(judged, 2)
            if is_defined(rate.values[:, high] - rate.values[:, low])
        ]
    if not pairs:
        return None
    quantile = float(-ndtri(level / len(pairs)))
    proven = max(_proven(rate, high, low, quantile) for rate, high, low in pairs)
    rate, high, low = max(pairs, key=lambda pair: pair[0].values[0, pair[1]] - pair[0].values[0, pair[2]])
    above, below = rate.values[:, high], rate.values[:, low]
    ratio = None
    if rate.name == "selection" and above[0] > 0:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(above > 0, below / above, np.nan)
        ratio = interval(ratios, spec.confidence, name="ratio") if is_defined(ratios) else None
    return Disparity(
        name=name,
        rate=rate.name,
        high=slices.named(high),
        low=slices.named(low),
        difference=interval(above - below, spec.confidence, name=name),
        ratio=ratio,
        proven=max(0.0, proven),
        too_small=tuple(slices.named(code) for code in sorted(too_small)),
    )


def _proven(rate: _Drawn, high: int, low: int, quantile: float) -> float:
    """Return the lower bound of a difference; its error is at least that of as many independent rows."""
    difference = rate.values[:, high] - rate.values[:, low]
    by_draws = float(np.nanstd(difference[1:], ddof=1))
    by_rows = float(np.sqrt(rate.spread * (1 / rate.over[high] + 1 / rate.over[low])))
    return float(difference[0]) - quantile * max(by_draws, by_rows)
