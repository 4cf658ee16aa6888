"""Intervals by cluster bootstrap: how much a figure, or a difference, owes to the rows that happened to be drawn.

Whole groups of rows are drawn with replacement (days, not flights), because rows of one group share what
no model sees; drawing rows would call noise a certainty. Predictors are compared on the same draws, so what
is hard about a draw cancels out of their difference.

References
----------
Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13 (percentile intervals).
Field and Welsh, Bootstrapping clustered data, 2007.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from aforo.contracts.specification import Specification
from aforo.errors import DataError
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.metrics.statistic import Statistic

Key = TypeVar("Key")

# With more resamples than this on which a figure is undefined (a class is absent), no interval is to be believed.
_LARGEST_UNDEFINED_SHARE = 0.05


class BootstrapSpec(Specification):
    """How chance is measured.

    Attributes
    ----------
    by
        Column whose rows belong together, for example the date; ``None`` for independent rows.
    confidence
        Share (0-1) of the resamples between the bounds of an interval.
    """

    by: str | None = None
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95


class Interval(Specification):
    """A figure with the bounds between which chance moves it."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.lower:.4g}, {self.upper:.4g}]"


def figures(
    statistics: Mapping[Key, Statistic], clusters: Clusters, spec: BootstrapSpec, seed: int
) -> dict[Key, NDArray[np.float64]]:
    """Return per statistic its figure on all rows, followed by its figure on each resample: shape (1 + resamples,).

    All statistics see the same resamples, so differences of the arrays are paired.
    """
    parts = {key: [statistic(np.ones((1, clusters.count)))] for key, statistic in statistics.items()}
    for weights_RG in clusters.draw(spec.resamples, seed):
        for key, statistic in statistics.items():
            parts[key].append(statistic(weights_RG))
    return {key: np.concatenate(arrays) for key, arrays in parts.items()}


def is_defined(drawn: NDArray[np.float64]) -> bool:
    """Whether a figure exists on all rows, and on enough of the resamples for an interval to be believed."""
    return not np.isnan(drawn[0]) and float(np.mean(np.isnan(drawn[1:]))) <= _LARGEST_UNDEFINED_SHARE


def interval(drawn: NDArray[np.float64], confidence: float, *, name: str) -> Interval:
    """Return the percentile interval of an array that :func:`figures` made.

    Raises
    ------
    DataError
        The figure is undefined on all rows, or on too many resamples.
    """
    value, resampled = drawn[0], drawn[1:]
    if not is_defined(drawn):
        where = "on all rows" if np.isnan(value) else f"on {np.mean(np.isnan(resampled)):.0%} of the resamples"
        raise DataError(
            f"{name} is undefined {where}: a class is absent",
            hint="give the test part a larger share, or group by a finer column in evaluation.bootstrap.by",
        )
    tail = (1 - confidence) / 2
    lower, upper = np.nanquantile(resampled, [tail, 1 - tail])
    return Interval(value=float(value), lower=float(lower), upper=float(upper))
