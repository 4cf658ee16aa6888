"""What a predictor goes by: its explanations of some test rows, column by column."""

from __future__ import annotations

import math

import numpy as np

from aforo.contracts.specification import Specification
from aforo.errors import DataError
from aforo.evaluation.bootstrap import BootstrapSpec, Interval, figures, interval
from aforo.evaluation.metrics.statistic import of_mean
from aforo.evaluation.subject import Subject
from aforo.export.explanations import Explainer


class ExplainedColumn(Specification):
    """What one column has to do with the answers.

    Attributes
    ----------
    weight
        Mean absolute contribution to an answer: a probability (0-1), or in the target's unit.
    interval
        Where it lies on other rows; ``None`` if all rows are of one group, so that nothing can be said.
    error
        Root mean square of the contributions' standard errors, where permutations were drawn.
    """

    column: str
    weight: float
    interval: Interval | None
    error: float


class ExplainedRows(Specification):
    """Shapley values of test rows, the column that weighs most first.

    Attributes
    ----------
    baseline
        What the model answers on average of the background's rows; ``None`` where each row's own class is explained.
    permutations
        How many were drawn a row; ``None`` where Shapley values are exact.
    integrated_gradients
        Of a network, by column: how far it moves the network's own score (log-odds, or the value) before calibration,
        on average of validation rows. Another method, on another scale: what both find is no accident of either.
    """

    rows: int
    groups: int
    baseline: float | None
    permutations: int | None
    columns: tuple[ExplainedColumn, ...]
    integrated_gradients: dict[str, float] | None = None


def explain_rows(subject: Subject, explainer: Explainer, rows: int, spec: BootstrapSpec) -> ExplainedRows:
    """Explain at most ``rows`` of the subject's rows, drawn by its seed, with as few permutations as a row can have."""
    drawn = subject.sample(rows)
    # The mean over rows evens out what few permutations leave to chance, and no clock has a say in it.
    explanations = [
        explainer.explain(row, soft_deadline=-math.inf) for row in drawn.table.select(drawn.reads).to_dicts()
    ]
    found = [explanation for explanation in explanations if explanation is not None]
    if len(found) < len(drawn):
        raise DataError(f"the answers to {len(drawn) - len(found)} of {len(drawn)} rows are not finite")
    clusters = drawn.clusters
    weights = {name: np.array([abs(each.contributions[name]) for each in found]) for name in drawn.reads}
    resampled = {}
    if clusters.count > 1:
        statistics = {name: of_mean(values, clusters) for name, values in weights.items()}
        resampled = figures(statistics, clusters, spec, drawn.seed)
    columns = [
        ExplainedColumn(
            column=name,
            weight=float(values.mean()),
            interval=interval(resampled[name], spec.confidence, name=f"the weight of {name}") if resampled else None,
            error=float(np.sqrt(np.mean([(each.standard_errors or {}).get(name, 0.0) ** 2 for each in found]))),
        )
        for name, values in weights.items()
    ]
    return ExplainedRows(
        rows=len(drawn),
        groups=clusters.count,
        baseline=found[0].baseline if drawn.contract.task != "multiclass" else None,
        permutations=found[0].permutations,
        columns=tuple(sorted(columns, key=lambda one: -one.weight)),
    )
