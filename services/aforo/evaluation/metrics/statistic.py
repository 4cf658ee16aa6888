"""The shape of a metric: prepared once on the rows, then evaluated under any weights of the clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aforo.contracts.prediction import TaskKind
from aforo.evaluation.answers import Answers
from aforo.evaluation.clusters import Clusters

Floats = NDArray[np.float64]


class Statistic(Protocol):
    """A figure of prepared rows, as a function of how often each cluster counts."""

    def __call__(self, weights_RG: Floats) -> Floats:
        """Return the figure under each row of weights, shape (R,); NaN where it is not defined."""


@dataclass(frozen=True)
class Metric:
    """A figure of merit.

    Attributes
    ----------
    higher_is_better
        The direction, declared here and nowhere else; ``None`` for a figure that has none by itself.
    prepare
        Reads the rows once. What it returns costs far less than the rows do, which makes a
        bootstrap of 1,000 resamples a matter of seconds.
    """

    name: str
    title: str
    tasks: tuple[TaskKind, ...]
    higher_is_better: bool | None
    prepare: Callable[[Answers, Clusters], Statistic]

    def improvement(self, figures: Floats, reference: Floats) -> Floats:
        """Return by how much ``figures`` are better than ``reference``: positive is better.

        Raises
        ------
        ValueError
            The metric has no direction.
        """
        if self.higher_is_better is None:
            raise ValueError(f"metric {self.name!r} has no direction, so nothing can be better in it")
        return figures - reference if self.higher_is_better else reference - figures


def of_sums(values: Floats, clusters: Clusters, figure: Callable[[Floats], Floats]) -> Statistic:
    """Return the statistic ``figure(sums)`` of column sums over all rows.

    Parameters
    ----------
    values
        Per row the summands, shape (N, D).
    figure
        From weighted sums (R, D) to figures (R,).
    """
    sums_GD = clusters.sums(values)

    def statistic(weights_RG: Floats) -> Floats:
        return figure(weights_RG @ sums_GD)

    return statistic


def of_mean(values: Floats, clusters: Clusters) -> Statistic:
    """Return the statistic that is the weighted mean of ``values``, shape (N,)."""
    return of_sums(np.column_stack([values, np.ones(len(values))]), clusters, lambda s_RD: s_RD[:, 0] / s_RD[:, 1])
