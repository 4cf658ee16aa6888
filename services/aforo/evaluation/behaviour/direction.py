"""Directional expectation: what is known to raise, or to lower, the answer does not do the opposite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator
from typing_extensions import override

from aforo.contracts.prediction import PredictionContract, Scalar
from aforo.contracts.table import TableContract
from aforo.evaluation.answers import Floats, Integers
from aforo.evaluation.behaviour.rule import (
    BehaviourRule,
    Example,
    Finding,
    find_column,
    refuse_impossible,
    with_value,
)
from aforo.evaluation.bootstrap import Interval, figures, interval
from aforo.evaluation.evaluate import Comparison
from aforo.evaluation.metrics import MetricName
from aforo.evaluation.metrics.statistic import of_mean
from aforo.evaluation.rules import RuleOutcome, Share
from aforo.evaluation.subject import Subject, graded

_MOST_EXAMPLES = 5
# Below it a difference of outputs is rounding.
_ROUNDING = 1e-9


class DirectionFinding(Finding):
    """What going along the column did.

    Attributes
    ----------
    steps
        The values, or shifts, that were tried one after another.
    violating_share
        Share (0-1) of the rows whose output goes the wrong way at some step, by more than the tolerance.
    worst
        Largest step in the wrong direction, in the output's unit; 0 if there is none.
    effect
        Mean change of the output from the first to the last step, with its interval; ``None`` where the rows are of
        one group, and nothing can be said about chance.
    """

    kind: Literal["directional"] = "directional"
    column: str
    steps: tuple[Scalar, ...]
    never: Literal["rises", "falls"]
    tolerance: float
    violating_share: float
    worst: float
    effect: Interval | None
    examples: tuple[Example, ...]


class Direction(BehaviourRule):
    """As a column moves along, all else fixed, the output never rises (or never falls).

    Tested on real rows: each is asked about at every step. With ``along`` the column takes each value in turn; with
    ``by`` each number is added to the row's own value, starting from 0, and rows that would leave the column's bounds
    are left out.

    Attributes
    ----------
    never
        ``rises`` or ``falls``: what the output (positive class, ``label``, or value) must not do.
    tolerance
        A step of this size or less in the wrong direction is no violation, in the output's unit.
    holds
        ``on_every_row``, or ``on_average``: then it is the mean change from the first to the last step that must
        not go the wrong way, and it is the far end of its interval that is held against the tolerance. What single
        rows do is measured all the same.
    max_share
        Share (0-1) of rows that may violate a rule that holds on every row.
    label
        Of several classes, the one whose probability is followed.
    """

    kind: Literal["directional"] = "directional"
    column: str
    along: Annotated[tuple[Scalar, ...], Field(min_length=2)] | None = None
    by: Annotated[tuple[float, ...], Field(min_length=1)] | None = None
    never: Literal["rises", "falls"]
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    holds: Literal["on_every_row", "on_average"] = "on_every_row"
    max_share: Share = 0.0
    label: str | None = None

    @model_validator(mode="after")
    def _one_way_to_move(self) -> Self:
        if (self.along is None) == (self.by is None):
            raise ValueError("a directional rule takes either `along` (values in order) or `by` (what is added)")
        return self

    @property
    @override
    def title(self) -> str:
        return self.name or f"never_{self.never}_with_{self.column}"

    @override
    def check(self, table: TableContract, contract: PredictionContract) -> None:
        column = find_column(table, self.column, self.title)
        reads = [known.name for known in contract.inputs]
        if self.column not in reads:
            raise ValueError(f"{self.title}: no candidate reads column {self.column!r}; they read {', '.join(reads)}")
        if self.by is not None and column.type not in ("integer", "number"):
            raise ValueError(f"{self.title}: `by` adds to a number, and column {self.column!r} is a {column.type}")
        if column.type == "integer" and not all(float(by).is_integer() for by in self.by or ()):
            raise ValueError(f"{self.title}: column {self.column!r} holds whole numbers, and so must `by`")
        refuse_impossible(column, self.along or (), self.title)
        if contract.task == "multiclass" and self.label not in contract.classes:
            raise ValueError(
                f"{self.title}: `label` is {self.label!r}; expected one of the classes {', '.join(contract.classes)}"
            )
        if contract.task != "multiclass" and self.label is not None:
            raise ValueError(f"{self.title}: a {contract.task} has one output to follow; leave `label` out")

    @override
    def ask(self, subject: Subject, measured: Comparison, primary: MetricName) -> tuple[list[RuleOutcome], Finding]:
        asked = subject.sample(self.rows)
        steps: tuple[Scalar, ...] = self.along or (0.0, *(self.by or ()))
        asked = asked.take(self._rows_that_stay_valid(asked))
        if not len(asked):
            finding = self._finding(0, steps, np.empty(0), None, ())
            why = self.said(f"No test row can be moved along {self.column}, so the expectation was not tested")
            return [RuleOutcome.unmeasured(self.title, why)], finding
        outputs_SN = np.stack([self._output(asked, table) for table in self._moved(asked)])
        sign = 1.0 if self.never == "rises" else -1.0
        wrong_SN = sign * np.diff(outputs_SN, axis=0)
        wrong = wrong_SN.max(axis=0)
        finding = self._finding(
            len(asked),
            steps,
            wrong,
            self._effect(asked, outputs_SN[-1] - outputs_SN[0], measured),
            self._examples(asked, steps, outputs_SN, wrong_SN),
        )
        outcome = self._on_average(finding) if self.holds == "on_average" else self._on_every_row(finding)
        return [outcome], finding

    def _on_every_row(self, finding: DirectionFinding) -> RuleOutcome:
        share = finding.violating_share
        why = self.said(
            f"The output of {share:.2%} of {finding.rows:,} rows {self.never} with {self._path(finding)} "
            f"by more than {self.tolerance:g}, at worst by {finding.worst:.4g}; {self.max_share:.2%} are allowed"
        )
        return RuleOutcome.at_most(self.title, share, self.max_share, why)

    def _on_average(self, finding: DirectionFinding) -> RuleOutcome:
        effect = finding.effect
        if effect is None:
            why = self.said(
                f"The rows are of one group, so the mean effect of {self.column} cannot be told from chance"
            )
            return RuleOutcome.unmeasured(self.title, why)
        wrong = effect.upper if self.never == "rises" else -effect.lower
        why = self.said(
            f"With {self._path(finding)} the output changes by {effect} on average over {finding.rows:,} rows; "
            f"it is never to be one that {self.never}, as single rows do in {finding.violating_share:.2%}"
        )
        return RuleOutcome.at_most(self.title, wrong, self.tolerance, why)

    def _path(self, finding: DirectionFinding) -> str:
        return f"{self.column} {' to '.join(self._said(step) for step in finding.steps)}"

    def _said(self, step: Scalar) -> str:
        return f"{step:+g}" if self.by is not None and isinstance(step, int | float) else str(step)

    def _output(self, subject: Subject, table: pl.DataFrame) -> Floats:
        return graded(subject.answers(table), self.label, subject.contract.classes)

    def _moved(self, subject: Subject) -> Iterator[pl.DataFrame]:
        if self.along is not None:
            yield from (with_value(subject.table, self.column, value) for value in self.along)
            return
        kept = subject.table.schema[self.column]
        yield subject.table
        yield from (subject.table.with_columns((pl.col(self.column) + by).cast(kept)) for by in self.by or ())

    def _rows_that_stay_valid(self, subject: Subject) -> Integers:
        if self.by is None:
            return np.arange(len(subject))
        column = subject.column(self.column)
        value = subject.table.get_column(self.column).cast(pl.Float64).to_numpy()
        ends = value[:, None] + np.array([0.0, *self.by])
        low = -np.inf if column.minimum is None else column.minimum
        high = np.inf if column.maximum is None else column.maximum
        # A missing value is NaN here, and no comparison holds for it.
        return np.flatnonzero(((ends >= low) & (ends <= high)).all(axis=1))

    def _effect(self, subject: Subject, moved: Floats, measured: Comparison) -> Interval | None:
        clusters, spec = subject.clusters, measured.spec.bootstrap
        if clusters.count < 2:
            return None
        drawn = figures({"effect": of_mean(moved, clusters)}, clusters, spec, subject.seed)["effect"]
        return interval(drawn, spec.confidence, name=f"the effect of {self.column}")

    def _examples(
        self,
        subject: Subject,
        steps: tuple[Scalar, ...],
        outputs_SN: Floats,
        wrong_SN: Floats,
    ) -> tuple[Example, ...]:
        step, wrong = wrong_SN.argmax(axis=0), wrong_SN.max(axis=0)
        worst = np.argsort(-wrong, kind="stable")[:_MOST_EXAMPLES]
        return tuple(
            Example(
                row=subject.shown(row, self.column),
                changed=f"{self.column} {self._said(steps[step[row]])} to {self._said(steps[step[row] + 1])}",
                before=float(outputs_SN[step[row], row]),
                after=float(outputs_SN[step[row] + 1, row]),
            )
            for row in worst.tolist()
            if wrong[row] > self.tolerance + _ROUNDING
        )

    def _finding(
        self,
        rows: int,
        steps: tuple[Scalar, ...],
        wrong: Floats,
        effect: Interval | None,
        examples: tuple[Example, ...],
    ) -> DirectionFinding:
        violating = wrong > self.tolerance + _ROUNDING
        return DirectionFinding(
            rule=self.title,
            rows=rows,
            column=self.column,
            steps=steps,
            never=self.never,
            tolerance=self.tolerance,
            violating_share=float(violating.mean()) if rows else 0.0,
            worst=max(0.0, float(wrong.max())) if rows else 0.0,
            effect=effect,
            examples=examples,
        )
