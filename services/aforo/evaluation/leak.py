"""A leak is suspected where one column alone tells nearly all there is to tell.

A column that is known only after the moment of prediction, or made from the target, is a feature that no honest one can
compete with. Whether it leaks, only a person can say; that it is suspicious, the rows say.

References
----------
Kaufman, Rosset, Perlich and Stitelman, Leakage in Data Mining, ACM TKDD 6(4), 2012.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.specification import Specification
from aforo.evaluation.answers import Floats
from aforo.evaluation.probe import as_numbers, folds, told_classes, told_values
from aforo.evaluation.rules import RuleOutcome, Share
from aforo.evaluation.subject import Subject

RULE = "no_leak"


class NoLeak(Specification):
    """No column that is read tells the target nearly by itself.

    Attributes
    ----------
    max_alone
        Largest share (0-1) of what a constant answer misses (its Brier score, or its squared error) that a small tree
        on one column alone may explain, on rows it has not seen.
    known
        Columns that are known to tell so much, and rightly.
    rows
        How many rows are looked at, at most.
    """

    max_alone: Share = 0.9
    known: tuple[str, ...] = ()
    rows: Annotated[int, Field(ge=100, le=100_000)] = 5000

    def check(self, contract: PredictionContract) -> None:
        """Refuse columns that no candidate reads, with a ValueError."""
        reads = [column.name for column in contract.inputs]
        if strange := [name for name in self.known if name not in reads]:
            raise ValueError(
                f"gate.{RULE}.known names {', '.join(strange)}, which no candidate reads; they read {', '.join(reads)}"
            )


class Alone(Specification):
    """What one column tells by itself.

    Attributes
    ----------
    explained
        Share of what a constant answer misses; negative where it misses more.
    """

    column: str
    explained: float


def explained_alone(subject: Subject, rows: int) -> tuple[Alone, ...]:
    """Return what each column that the predictor reads explains of the target by itself, the most first.

    Empty where a class has too few rows to be learnt from.
    """
    asked = subject.sample(rows)
    groups = asked.clusters.codes
    regression = asked.contract.task == "regression"
    truth, y = asked.y, asked.y
    if not regression:
        _, y = np.unique(asked.y, return_inverse=True)
        if len(np.unique(y)) < 2 or np.bincount(y).min() < 2 * len(asked.contract.classes):
            return ()
        truth = np.eye(y.max() + 1)[y]
    parts = folds(y, groups, asked.seed, stratified=not regression)
    X = as_numbers(asked.table, asked.reads)
    missed = float(np.sum((truth - truth.mean(axis=0)) ** 2))

    def explained(x: Floats) -> float:
        told = told_values(x, y, parts, asked.seed) if regression else told_classes(x, y, parts, asked.seed)
        return 1 - float(np.sum((truth - told) ** 2)) / missed

    found = [Alone(column=name, explained=explained(X[:, [place]])) for place, name in enumerate(asked.reads)]
    return tuple(sorted(found, key=lambda one: -one.explained))


def no_leak(found: tuple[Alone, ...], rule: NoLeak) -> RuleOutcome:
    """Report whether a column tells too much to be honest."""
    asked = [one for one in found if one.column not in rule.known]
    if not asked:
        why = "No column could be tried alone: there are too few rows of a class, or every column is known."
        return RuleOutcome.unmeasured(RULE, why, bound=rule.max_alone)
    most = asked[0]
    suspicion = "it is known too late, or made from the target" if most.explained > rule.max_alone else "no leak"
    why = (
        f"Of all columns {most.column} alone explains most of the target, {most.explained:.1%}: {suspicion}, by the "
        f"bound of {rule.max_alone:.0%}."
    )
    return RuleOutcome.at_most(RULE, most.explained, rule.max_alone, why)
