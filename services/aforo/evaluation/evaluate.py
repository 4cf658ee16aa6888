"""All predictors on the same rows under the same resamples: their figures, and the differences between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from aforo.contracts.prediction import TaskKind
from aforo.contracts.specification import Specification
from aforo.errors import DataError, UseCaseError
from aforo.evaluation.answers import Answers
from aforo.evaluation.bootstrap import BootstrapSpec, Interval, figures, interval, is_defined
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.metrics import PRIMARY, Metric, MetricName, metrics_for


class EvaluationSpec(Specification):
    """How predictors are measured.

    Attributes
    ----------
    primary
        The metric that decides; ``None`` for the Brier score of classes and the root mean squared error of values.
    ece_bins
        Number of bins of the calibration errors and of the reliability diagram.
    explained_rows
        How many test rows are explained for the report; ``null`` for none.
    """

    primary: MetricName | None = None
    bootstrap: BootstrapSpec = BootstrapSpec()
    ece_bins: Annotated[int, Field(ge=2, le=100)] = 15
    explained_rows: Annotated[int, Field(ge=10, le=10_000)] | None = 100

    def primary_for(self, task: TaskKind) -> MetricName:
        """Return the metric that decides.

        Raises
        ------
        UseCaseError
            The declared metric is not one of the task's, or has no direction.
        """
        name = self.primary or PRIMARY[task]
        directed = [m.name for m in metrics_for(task).values() if m.higher_is_better is not None]
        if name not in directed:
            raise UseCaseError(
                f"evaluation.primary is {name!r}, which cannot decide a {task} task",
                hint=f"choose one of {', '.join(directed)}",
            )
        return name


@dataclass(frozen=True)
class Comparison:
    """The figures of several predictors on the same rows, each with its resamples.

    Attributes
    ----------
    rows, groups
        Number of rows, and of the groups of rows that the bootstrap drew.
    """

    spec: EvaluationSpec
    task: TaskKind
    metrics: Mapping[str, Metric]
    rows: int
    groups: int
    seed: int
    drawn: Mapping[tuple[str, str], NDArray[np.float64]]

    def interval(self, predictor: str, metric: str) -> Interval:
        """Return a predictor's figure with its interval."""
        name = f"{metric} of {predictor}"
        return interval(self.drawn[predictor, metric], self.spec.bootstrap.confidence, name=name)

    def improvement(self, predictor: str, over: str, metric: str) -> Interval:
        """Return by how much ``predictor`` is better than ``over``, paired resample by resample: positive is better.

        Raises
        ------
        UseCaseError
            The task has no such metric, or nothing can be better in it.
        """
        directed = [name for name, known in self.metrics.items() if known.higher_is_better is not None]
        if metric not in directed:
            raise UseCaseError(
                f"a {self.task} task cannot be decided by {metric!r}", hint=f"choose one of {', '.join(directed)}"
            )
        better = self.metrics[metric].improvement(self.drawn[predictor, metric], self.drawn[over, metric])
        return interval(better, self.spec.bootstrap.confidence, name=f"the difference in {metric}")

    def table(self) -> dict[str, dict[str, Interval]]:
        """Return every figure that the rows define, with its interval: predictor, then metric."""
        table: dict[str, dict[str, Interval]] = {}
        for (predictor, metric), drawn in self.drawn.items():
            if is_defined(drawn):
                table.setdefault(predictor, {})[metric] = self.interval(predictor, metric)
        return table

    def undefined(self) -> tuple[str, ...]:
        """Return which figures :meth:`table` leaves out, as ``<metric> of <predictor>``."""
        return tuple(f"{metric} of {name}" for (name, metric), drawn in self.drawn.items() if not is_defined(drawn))


def compare(
    predictors: Mapping[str, Answers],
    spec: EvaluationSpec,
    *,
    groups: Sequence[Any] | NDArray[Any] | None,
    seed: int,
) -> Comparison:
    """Measure predictors on the same rows, with every metric of their task.

    60,000 rows, seven metrics and 1,000 resamples take about a second per predictor (one core).

    Parameters
    ----------
    groups
        Values of the column ``spec.bootstrap.by`` on these rows, shape (N,); ``None`` if the rows are independent.

    Raises
    ------
    DataError
        The predictors do not answer the same rows, or there are too few groups to say anything about chance.
    """
    first = next(iter(predictors.values()))
    for name, answers in predictors.items():
        if answers.task != first.task or not np.array_equal(answers.y, first.y):
            raise DataError(f"predictor {name!r} does not answer the same rows as {next(iter(predictors))!r}")
    clusters = Clusters.of_rows(len(first), groups)
    if len(clusters.codes) != len(first):
        raise DataError(f"there are {len(clusters.codes)} group values for {len(first)} rows")
    metrics = metrics_for(first.task, bins=spec.ece_bins)
    statistics = {
        (name, metric.name): metric.prepare(answers, clusters)
        for name, answers in predictors.items()
        for metric in metrics.values()
        if answers.interval is not None or not metric.name.startswith("interval_")
    }
    drawn = figures(statistics, clusters, spec.bootstrap, seed)
    return Comparison(spec, first.task, metrics, len(first), clusters.count, seed, drawn)


def evaluate(
    answers: Answers, spec: EvaluationSpec, *, groups: Sequence[Any] | NDArray[Any] | None = None, seed: int = 0
) -> dict[str, Interval]:
    """Return every figure of one predictor with its interval, by name of the metric."""
    return compare({"predictor": answers}, spec, groups=groups, seed=seed).table()["predictor"]
