"""Perturbation: how much quality is left, and how many decisions turn over, when rows come in damaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.specification import Specification
from aforo.contracts.table import TableContract
from aforo.evaluation.answers import Answers, Floats
from aforo.evaluation.behaviour.damage import KINDS, Kind, can_be_damaged, damaged
from aforo.evaluation.behaviour.rule import BehaviourRule, Finding, find_column
from aforo.evaluation.bootstrap import BootstrapSpec, Interval, figures, interval
from aforo.evaluation.evaluate import Comparison
from aforo.evaluation.metrics import Metric, MetricName
from aforo.evaluation.metrics.statistic import Statistic
from aforo.evaluation.rules import BASELINE, CANDIDATE, RuleOutcome, Share
from aforo.evaluation.subject import Subject, decision_changed, outputs_of

# Of the level that is judged, so that the curve shows what comes before and after it.
_LEVELS = (0.5, 1.0, 2.0)
# Of a difference of means that should be 0.
_ROUNDING = 1e-12


class Damaged(Specification):
    """What one kind of damage at one level does.

    Attributes
    ----------
    what
        A kind of damage, or ``all`` of them at once.
    lost
        By how much the primary metric gets worse, in its unit; negative is better.
    changed_share
        Share (0-1) of the rows that are decided otherwise.
    """

    what: str
    level: float
    lost: float
    changed_share: float


class Sensitivity(Specification):
    """What damage to one column alone does, at the level that is judged.

    Attributes
    ----------
    mean_change
        Mean over the rows of the largest change of an output.
    """

    column: str
    lost: float
    changed_share: float
    mean_change: float


class RobustnessFinding(Finding):
    """Quality and changed decisions against the level of damage, and which column they hang on."""

    kind: Literal["robust"] = "robust"
    metric: str
    lost: Interval
    changed_share: float
    curve: tuple[Damaged, ...]
    columns: tuple[Sensitivity, ...]


class Robustness(BehaviourRule):
    """Rows that come in damaged cost little quality and turn few decisions over.

    Parameters of the damage are in :func:`aforo.evaluation.behaviour.damage.damaged`. The loss has to be proven to be
    small: it is the upper end of its interval that is held against the bound.

    Attributes
    ----------
    level
        How strong the damage is: noise in standard deviations of each column, errors as a share of the values.
    columns
        Columns that are damaged; empty for all that the predictor reads.
    lost_share
        How much may be lost, as a share of the candidate's lead over the baseline in the primary metric.
    max_changed_share
        Share (0-1) of the rows that may be decided otherwise; ``None`` does not ask.
    repeats
        Draws of the damage, whose figures are averaged.
    """

    kind: Literal["robust"] = "robust"
    level: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    columns: tuple[str, ...] = ()
    damage: Annotated[tuple[Kind, ...], Field(min_length=1)] = KINDS
    lost_share: Share = 0.5
    max_changed_share: Share | None = None
    repeats: Annotated[int, Field(ge=1, le=100)] = 3

    @property
    @override
    def title(self) -> str:
        return self.name or "robust_to_" + "_and_".join(self.damage if len(self.damage) < len(KINDS) else ("damage",))

    @property
    @override
    def outcomes(self) -> tuple[str, ...]:
        return (self.title, f"{self.title}_in_decisions")

    @override
    def check(self, table: TableContract, contract: PredictionContract) -> None:
        reads = [column.name for column in contract.inputs]
        for name in self.columns:
            find_column(table, name, self.title)
            if name not in reads:
                raise ValueError(f"{self.title}: no candidate reads column {name!r}; they read {', '.join(reads)}")
        if not any(can_be_damaged(table[name], self.damage) for name in self.columns or reads):
            raise ValueError(f"{self.title}: none of the columns can suffer {', '.join(self.damage)}")

    @override
    def ask(self, subject: Subject, measured: Comparison, primary: MetricName) -> tuple[list[RuleOutcome], Finding]:
        asked = subject.sample(self.rows)
        trial = _Trial(asked, measured.metrics[primary], self.repeats)
        names = [n for n in self.columns or asked.reads if can_be_damaged(asked.column(n), self.damage)]
        judged = trial.damaged(names, self.damage, self.level)
        columns = [(name, trial.damaged([name], self.damage, self.level)) for name in names]
        sensitivities = [
            Sensitivity(
                column=name,
                lost=trial.lost(after),
                changed_share=trial.changed_share(after),
                mean_change=trial.moved(after),
            )
            for name, after in columns
        ]
        finding = RobustnessFinding(
            rule=self.title,
            rows=len(asked),
            metric=primary,
            lost=trial.proven_loss(judged, measured.spec.bootstrap),
            changed_share=trial.changed_share(judged),
            curve=tuple(self._curve(trial, names)),
            columns=tuple(sorted(sensitivities, key=lambda found: (-found.mean_change, found.column))),
        )
        return self._outcomes(finding, measured, primary), finding

    def _curve(self, trial: _Trial, names: Sequence[str]) -> Iterator[Damaged]:
        alone: list[tuple[str, tuple[Kind, ...]]] = [(kind, (kind,)) for kind in self.damage]
        together = [("all", self.damage)] if len(self.damage) > 1 else []
        for what, kinds in [*alone, *together]:
            for level in (factor * self.level for factor in _LEVELS):
                after = trial.damaged(names, kinds, level)
                yield Damaged(what=what, level=level, lost=trial.lost(after), changed_share=trial.changed_share(after))

    def _outcomes(self, finding: RobustnessFinding, measured: Comparison, primary: MetricName) -> list[RuleOutcome]:
        bound = self.lost_share * max(0.0, measured.improvement(CANDIDATE, BASELINE, primary).value)
        title, lost = measured.metrics[primary].title, finding.lost
        why = (
            f"{title}: {', '.join(kind.replace('_', ' ') for kind in self.damage)} of level {self.level:g} "
            f"make the candidate worse by {lost} on {finding.rows:,} rows; {bound:.4g} is allowed, "
            f"{self.lost_share:.0%} of its lead over the baseline"
        )
        outcomes = [RuleOutcome.at_most(self.title, lost.upper, bound, self.said(why), rounding=_ROUNDING)]
        if self.max_changed_share is not None:
            why = (
                f"The same damage changes {finding.changed_share:.2%} of the decisions, most of all through "
                f"{finding.columns[0].column}; {self.max_changed_share:.2%} are allowed"
            )
            name, share = f"{self.title}_in_decisions", finding.changed_share
            outcomes.append(RuleOutcome.at_most(name, share, self.max_changed_share, self.said(why)))
        return outcomes


class _Trial:
    """One predictor on one set of rows, to be damaged again and again."""

    def __init__(self, subject: Subject, metric: Metric, repeats: int) -> None:
        self._subject = subject
        self._metric = metric
        self._clusters = subject.clusters
        self._repeats = repeats
        self._before = subject.answers()
        self._clean = metric.prepare(self._before, self._clusters)

    def damaged(self, names: Sequence[str], kinds: Sequence[Kind], level: float) -> list[Answers]:
        """Return the answers on the damaged rows, once per draw."""
        # The same stream at each level: a stronger noise is the same noise, only stronger.
        rng = self._subject.rng(f"damage {' '.join(kinds)} {' '.join(names)}")
        table, columns = self._subject.table, self._subject.columns
        return [self._subject.answers(damaged(table, columns, names, kinds, level, rng)) for _ in range(self._repeats)]

    def changed_share(self, after: Sequence[Answers]) -> float:
        return float(np.mean([decision_changed(self._before, answers).mean() for answers in after]))

    def moved(self, after: Sequence[Answers]) -> float:
        was = outputs_of(self._before)
        return float(np.mean([np.abs(outputs_of(answers) - was).max(axis=1).mean() for answers in after]))

    def lost(self, after: Sequence[Answers]) -> float:
        """Return the loss of quality, averaged over the draws; positive is worse."""
        return float(self._loss(after)(np.ones((1, self._clusters.count)))[0])

    def proven_loss(self, after: Sequence[Answers], spec: BootstrapSpec) -> Interval:
        """Return the loss with its interval, paired resample by resample."""
        drawn = figures({"lost": self._loss(after)}, self._clusters, spec, self._subject.seed)["lost"]
        return interval(drawn, spec.confidence, name=f"the loss of {self._metric.name} under damage")

    def _loss(self, after: Sequence[Answers]) -> Statistic:
        prepared = [self._metric.prepare(answers, self._clusters) for answers in after]

        def loss(weights_RG: Floats) -> Floats:
            worse = np.mean([statistic(weights_RG) for statistic in prepared], axis=0)
            return self._metric.improvement(self._clean(weights_RG), worse)

        return loss
