"""Absence: what the predictor is worth where a source of its columns is silent, as a feed that is down."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import TableContract
from aforo.evaluation.behaviour.rule import BehaviourRule, Finding, find_column, with_value
from aforo.evaluation.bootstrap import Interval
from aforo.evaluation.evaluate import Comparison, compare
from aforo.evaluation.metrics import MetricName
from aforo.evaluation.rules import BASELINE, CANDIDATE, Calibrated, RuleOutcome, Share, keeps_its_promise
from aforo.evaluation.subject import Subject

_COMPLETE = "complete"
# Of a difference of means that should be 0.
_ROUNDING = 1e-12


class AbsenceFinding(Finding):
    """The figures of the same rows, complete and without the columns.

    Attributes
    ----------
    lost
        By how much the primary metric gets worse without the columns, in its unit.
    complete, without
        Metric to figure.
    """

    kind: Literal["absent"] = "absent"
    columns: tuple[str, ...]
    metric: str
    lost: Interval
    complete: dict[str, Interval]
    without: dict[str, Interval]


class Absence(BehaviourRule):
    """Without some columns, answers are still honest, and still worth giving.

    The rows are asked about with all these columns missing at once. A model that seldom met that in training takes it
    for the case in which it did, and claims what is true there.

    Attributes
    ----------
    max_ece, max_coverage_gap
        As for the rule ``calibrated``, without the columns.
    lost_share
        How much may be lost, as a share of the candidate's lead over the baseline in the primary metric; with 1 it is
        still as good as the baseline. The loss has to be proven to be within: it is the upper end of its interval that
        is held against the bound.
    """

    kind: Literal["absent"] = "absent"
    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    rows: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    max_ece: Share = 0.05
    max_coverage_gap: Share = 0.05
    lost_share: Share = 1.0

    @property
    @override
    def title(self) -> str:
        return self.name or f"worth_asking_without_{'_and_'.join(self.columns)}"

    @property
    @override
    def outcomes(self) -> tuple[str, ...]:
        return (self.title, f"{self.title}_calibrated")

    @override
    def check(self, table: TableContract, contract: PredictionContract) -> None:
        reads = [column.name for column in contract.inputs]
        for name in self.columns:
            column = find_column(table, name, self.title)
            if name not in reads:
                raise ValueError(f"{self.title}: no candidate reads column {name!r}; they read {', '.join(reads)}")
            if not column.nullable:
                raise ValueError(f"{self.title}: column {name!r} is never missing; say `nullable: true` if it may be")

    @override
    def ask(self, subject: Subject, measured: Comparison, primary: MetricName) -> tuple[list[RuleOutcome], Finding]:
        asked = subject.sample(self.rows)
        table = asked.table
        for name in self.columns:
            table = with_value(table, name, None)
        answers = {_COMPLETE: asked.answers(), CANDIDATE: asked.answers(table)}
        compared = compare(answers, measured.spec, groups=asked.groups, seed=asked.seed)
        figures = compared.table()
        finding = AbsenceFinding(
            rule=self.title,
            rows=len(asked),
            columns=self.columns,
            metric=primary,
            lost=compared.improvement(_COMPLETE, CANDIDATE, primary),
            complete=figures[_COMPLETE],
            without=figures[CANDIDATE],
        )
        bounds = Calibrated(max_ece=self.max_ece, max_coverage_gap=self.max_coverage_gap)
        honest = keeps_its_promise(compared, bounds, answers[CANDIDATE])
        said = self.said(f"Without {', '.join(self.columns)}: {honest.why.removesuffix('.')}")
        honest = honest.model_copy(update={"name": f"{self.title}_calibrated", "why": said})
        return [self._worth(finding, measured, primary), honest], finding

    def _worth(self, finding: AbsenceFinding, measured: Comparison, primary: MetricName) -> RuleOutcome:
        bound = self.lost_share * max(0.0, measured.improvement(CANDIDATE, BASELINE, primary).value)
        why = (
            f"{measured.metrics[primary].title}: without {', '.join(self.columns)} the candidate is worse by "
            f"{finding.lost} on {finding.rows:,} rows; {bound:.4g} is allowed, {self.lost_share:.0%} of its lead over "
            "the baseline"
        )
        return RuleOutcome.at_most(self.title, finding.lost.upper, bound, self.said(why), rounding=_ROUNDING)
