"""How near the values are, and whether the intervals keep their promise."""

from __future__ import annotations

import numpy as np

from aforo.errors import DataError
from aforo.evaluation.answers import Answers
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.metrics.statistic import Floats, Metric, Statistic, of_mean, of_sums


def _rmse(answers: Answers, clusters: Clusters) -> Statistic:
    mean = of_mean((answers.value - answers.y) ** 2, clusters)
    return lambda weights_RG: np.sqrt(mean(weights_RG))


def _mae(answers: Answers, clusters: Clusters) -> Statistic:
    return of_mean(np.abs(answers.value - answers.y), clusters)


def _r2(answers: Answers, clusters: Clusters) -> Statistic:
    # Centred first: the difference of large squares would lose the digits that matter.
    centred = answers.y - answers.y.mean()
    columns = [(answers.value - answers.y) ** 2, centred, centred**2, np.ones(len(answers))]

    def figure(sums: Floats) -> Floats:
        misses, total, squares, rows = sums.T
        spread = squares - total**2 / rows
        return np.asarray(1 - np.divide(misses, spread, out=np.full_like(misses, np.nan), where=spread > 0))

    return of_sums(np.column_stack(columns), clusters, figure)


def bounds_of(answers: Answers) -> Floats:
    """Return the intervals, shape (N, 2); DataError for a predictor that gives none."""
    if answers.interval is None:
        raise DataError("this predictor gives no interval, so it has no coverage", hint="calibrate it first")
    return answers.interval


def _coverage(answers: Answers, clusters: Clusters) -> Statistic:
    bounds = bounds_of(answers)
    return of_mean(((bounds[:, 0] <= answers.y) & (answers.y <= bounds[:, 1])).astype(np.float64), clusters)


def _width(answers: Answers, clusters: Clusters) -> Statistic:
    bounds = bounds_of(answers)
    return of_mean(bounds[:, 1] - bounds[:, 0], clusters)


RMSE = Metric("rmse", "Root mean squared error", ("regression",), False, _rmse)
"""In the target's unit; large misses weigh more."""

MAE = Metric("mae", "Mean absolute error", ("regression",), False, _mae)
"""In the target's unit."""

R2 = Metric("r2", "R squared", ("regression",), True, _r2)
"""Share of the target's variance that the values explain; 0 for always answering the mean."""

COVERAGE = Metric("interval_coverage", "Interval coverage", ("regression",), None, _coverage)
"""Share of true values within their interval, bounds included. Its place is at the nominal coverage, not above."""

WIDTH = Metric("interval_width", "Mean interval width", ("regression",), False, _width)
"""In the target's unit; narrower is better at the same coverage."""
