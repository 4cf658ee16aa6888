"""Invariance: what must not matter, does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field
from typing_extensions import override

from aforo.contracts.prediction import PredictionContract, Scalar
from aforo.contracts.specification import Specification
from aforo.contracts.table import TableContract
from aforo.evaluation.behaviour.rule import (
    BehaviourRule,
    Example,
    Finding,
    find_column,
    refuse_impossible,
    with_value,
)
from aforo.evaluation.evaluate import Comparison
from aforo.evaluation.metrics import MetricName
from aforo.evaluation.rules import RuleOutcome, Share
from aforo.evaluation.subject import Subject, decision_changed, outputs_of

_MOST_VALUES = 20
_MOST_EXAMPLES = 5
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Swapped(Specification):
    """What swapping one column did.

    Attributes
    ----------
    is_read
        Whether the predictor takes the column at all; if not, nothing can change.
    values
        What it was set to, all else as it is; private ones are masked.
    changed_share
        Share (0-1) of the rows that are decided otherwise for one of the values or more.
    mean_change, largest_change
        Over the rows, of the largest change that any of the values makes to an output.
    """

    column: str
    is_read: bool
    values: tuple[Scalar, ...]
    changed_share: float
    mean_change: float
    largest_change: float
    examples: tuple[Example, ...]


class InvarianceFinding(Finding):
    """What swapping did, column by column."""

    kind: Literal["invariant"] = "invariant"
    columns: tuple[Swapped, ...]


class Invariance(BehaviourRule):
    """Swapping a column over its values, with everything else fixed, changes no decision.

    For columns that are sensitive, or known to be irrelevant. Each is swapped alone: in its categories, in the 20
    most frequent values of an open text, in five quantiles of a number. A column that the predictor does not
    take passes by itself; naming it guards against a later version that does.

    Invariance to a column is not fairness to those it describes: other columns may stand for it.

    Attributes
    ----------
    values
        Instead of a column's own; each of the columns is set to each of them.
    max_changed_share
        Share (0-1) of the rows that may be decided otherwise.
    max_change
        Largest allowed change of an output, in its unit; ``None`` does not ask.
    """

    kind: Literal["invariant"] = "invariant"
    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    values: Annotated[tuple[Scalar, ...], Field(min_length=1)] | None = None
    max_changed_share: Share = 0.0
    max_change: Annotated[float, Field(ge=0)] | None = None

    @property
    @override
    def title(self) -> str:
        return self.name or "invariant_to_" + "_and_".join(self.columns)

    @property
    @override
    def outcomes(self) -> tuple[str, ...]:
        return (self.title, f"{self.title}_within")

    @override
    def check(self, table: TableContract, contract: PredictionContract) -> None:
        for name in self.columns:
            column = find_column(table, name, self.title)
            if column.type in ("date", "timestamp"):
                raise ValueError(f"{self.title}: column {name!r} is a {column.type}, which has no values to swap")
            refuse_impossible(column, self.values or (), self.title)

    @override
    def ask(self, subject: Subject, measured: Comparison, primary: MetricName) -> tuple[list[RuleOutcome], Finding]:
        asked = subject.sample(self.rows)
        found = tuple(swap(asked, name, self.values) for name in self.columns)
        worst = max(found, key=lambda swapped: swapped.changed_share)
        why = self.said(self._sentence(worst, len(asked)))
        outcomes = [RuleOutcome.at_most(self.title, worst.changed_share, self.max_changed_share, why)]
        if self.max_change is not None:
            largest = max(found, key=lambda swapped: swapped.largest_change)
            why = self.said(
                f"Swapping {largest.column} moves the output by up to {largest.largest_change:.4g}; "
                f"{self.max_change:g} is allowed"
            )
            name = f"{self.title}_within"
            outcomes.append(RuleOutcome.at_most(name, largest.largest_change, self.max_change, why))
        return outcomes, InvarianceFinding(rule=self.title, rows=len(asked), columns=found)

    def _sentence(self, worst: Swapped, rows: int) -> str:
        if not any((worst.is_read, worst.changed_share)):
            return f"The predictor does not take {', '.join(self.columns)}, so nothing can change with it"
        return (
            f"Swapping {worst.column} over {len(worst.values)} values changes the decision of "
            f"{worst.changed_share:.2%} of {rows:,} rows; {self.max_changed_share:.2%} are allowed"
        )


def swap(subject: Subject, name: str, values: Sequence[Scalar] | None = None) -> Swapped:
    """Set a column to each of its values in turn, and return what that does to the answers."""
    values = values_of(subject, name) if values is None else values
    shown = tuple(subject.masked(name, value) for value in values)
    if name not in subject.reads:
        return Swapped(
            column=name, is_read=False, values=shown, changed_share=0, mean_change=0, largest_change=0, examples=()
        )
    before = subject.answers()
    was = outputs_of(before)
    changed = np.zeros(len(subject), dtype=np.bool_)
    largest = np.zeros(len(subject))
    by, after_of = np.zeros((2, len(subject)), dtype=np.int64)
    after = np.zeros(len(subject))
    for number, value in enumerate(values):
        answers = subject.answers(with_value(subject.table, name, value))
        changed |= decision_changed(before, answers)
        is_now = outputs_of(answers)
        moved = np.abs(is_now - was)
        output = moved.argmax(axis=1)
        size = moved[np.arange(len(subject)), output]
        larger = size > largest
        largest[larger], by[larger], after_of[larger] = size[larger], number, output[larger]
        after[larger] = is_now[np.arange(len(subject)), output][larger]
    return Swapped(
        column=name,
        is_read=True,
        values=shown,
        changed_share=float(changed.mean()),
        mean_change=float(largest.mean()),
        largest_change=float(largest.max()),
        examples=tuple(
            Example(
                row=subject.shown(row, name),
                changed=f"{name} = {shown[by[row]]}",
                before=float(was[row, after_of[row]]),
                after=float(after[row]),
            )
            for row in np.argsort(-largest, kind="stable")[:_MOST_EXAMPLES].tolist()
            if largest[row] > 0
        ),
    )


def values_of(subject: Subject, name: str) -> tuple[Scalar, ...]:
    """Return the values that a column is swapped over: what its contract allows, or what the rows hold."""
    column = subject.column(name)
    present = subject.table.get_column(name).drop_nulls()
    if column.type == "boolean":
        return (False, True)
    if column.type == "string":
        if column.categories is not None:
            return column.categories
        counts = present.value_counts(sort=True).sort("count", name, descending=[True, False])
        return tuple(counts.get_column(name).head(_MOST_VALUES).to_list())
    quantiles = [present.cast(pl.Float64).quantile(q, "nearest") for q in _QUANTILES]
    return tuple(dict.fromkeys(q for q in quantiles if q is not None))
