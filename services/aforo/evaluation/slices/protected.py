"""Protected slices: a candidate may not win overall by losing where it must not.

What is better on the whole can be worse on a part, and a ranking figure such as the ROC AUC can even be better on the
whole and worse on every part (Simpson's paradox): it rewards telling the parts from one another. So the parts
that matter are named, and each is compared by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from aforo.contracts.specification import Specification
from aforo.contracts.table import TableContract
from aforo.evaluation.answers import Answers, Floats, Integers
from aforo.evaluation.bootstrap import Interval, figures, interval, is_defined
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.evaluate import Comparison
from aforo.evaluation.metrics import MetricName
from aforo.evaluation.rules import BASELINE, CANDIDATE, CHAMPION, RuleOutcome, Share
from aforo.evaluation.slices.cutting import Columns, cut, refuse_bad_cut
from aforo.evaluation.slices.means import holm
from aforo.evaluation.slices.search import said
from aforo.evaluation.subject import Subject

RULE = "not_worse_on_slices"


class NotWorseOnSlices(Specification):
    """On none of the protected slices is the candidate proven to lose more than the margin.

    The opponent is the champion, or the baseline as long as there is none.

    Attributes
    ----------
    by
        Columns whose values are protected; a list in the list protects each combination.
    metric
        ``None`` for the primary one.
    margin
        In the metric's unit; ``None`` takes ``lost_share`` of the opponent's lead over the baseline on all rows.
    min_rows, min_groups
        Slices of fewer rows, or independent groups, cannot be judged; they are listed as such.
    """

    by: Annotated[tuple[Columns, ...], Field(min_length=1)]
    metric: MetricName | None = None
    margin: Annotated[float, Field(ge=0)] | None = None
    lost_share: Share = 0.1
    min_rows: Annotated[int, Field(ge=2)] = 50
    min_groups: Annotated[int, Field(ge=2)] = 10

    def check(self, table: TableContract) -> None:
        """Refuse columns that rows cannot be cut by, with a ValueError."""
        for names in self.by:
            refuse_bad_cut(table, names, RULE)


class ProtectedSlice(Specification):
    """One protected slice.

    Attributes
    ----------
    candidate, opponent
        The metric of each in the slice; ``None`` where the slice does not define it, or is too small.
    gain
        By how much the candidate is better, paired; negative is worse.
    p_value
        Of a loss above the margin, corrected for the number of slices; ``None`` where it was not judged.
    """

    where: dict[str, str]
    rows: int
    groups: int
    candidate: Interval | None = None
    opponent: Interval | None = None
    gain: Interval | None = None
    p_value: float | None = None


class ProtectedSlices(Specification):
    """The table that shows where the candidate wins and where it loses.

    Attributes
    ----------
    overall
        The gain on all rows.
    reversed_everywhere
        Whether the candidate wins on all rows and loses on every slice of one cut: Simpson's paradox in full.
    """

    metric: MetricName
    opponent: Literal["champion", "baseline"]
    margin: float
    overall: Interval
    slices: tuple[ProtectedSlice, ...]
    reversed_everywhere: bool


def protected_slices(
    subject: Subject,
    predictors: Mapping[str, Answers],
    measured: Comparison,
    rule: NotWorseOnSlices,
    primary: MetricName,
) -> ProtectedSlices:
    """Compare candidate and opponent on every protected slice, each resampled by itself."""
    metric = rule.metric or primary
    opponent: Literal["champion", "baseline"] = "champion" if CHAMPION in predictors else "baseline"
    margin = rule.margin
    if margin is None:
        ahead = 0.0 if opponent == BASELINE else measured.improvement(opponent, BASELINE, metric).value
        margin = rule.lost_share * max(0.0, ahead)
    overall = measured.improvement(CANDIDATE, opponent, metric)
    contest = _Contest(predictors[CANDIDATE], predictors[opponent], measured, metric, subject.clusters, rule, margin)
    found: list[tuple[ProtectedSlice, float]] = []
    reversed_everywhere = False
    for names in rule.by:
        slices = cut(subject.table, subject.columns, names)
        of_cut = [
            contest.on(slices.named(code), np.flatnonzero(slices.codes == code)) for code in range(len(slices.labels))
        ]
        gains = [one.gain.value for one, _ in of_cut if one.gain is not None]
        reversed_everywhere |= overall.value > 0 and len(gains) > 1 and max(gains) < 0
        found += of_cut
    judged = [i for i, (one, _) in enumerate(found) if one.gain is not None]
    adjusted = holm(np.array([found[i][1] for i in judged]))
    p_values = dict(zip(judged, adjusted.tolist(), strict=True))
    return ProtectedSlices(
        metric=metric,
        opponent=opponent,
        margin=margin,
        overall=overall,
        slices=tuple(one.model_copy(update={"p_value": p_values.get(i)}) for i, (one, _) in enumerate(found)),
        reversed_everywhere=reversed_everywhere,
    )


def not_worse_on_slices(found: ProtectedSlices, measured: Comparison) -> RuleOutcome:
    """Report whether a protected slice lost, and whether the whole hides it."""
    title = measured.metrics[found.metric].title
    level = 1 - measured.spec.bootstrap.confidence
    judged = [(one, one.gain, one.p_value) for one in found.slices if one.gain is not None and one.p_value is not None]
    unjudged = len(found.slices) - len(judged)
    rest = f"; too small to judge: {unjudged}" if unjudged else ""
    if not judged:
        why = f"All {unjudged} protected slices are too small to judge, so nothing protects them."
        return RuleOutcome.unmeasured(RULE, why, bound=-found.margin)
    lost = [(one, gain) for one, gain, p_value in judged if p_value <= level]
    worst, gain = min(lost or [(one, gain) for one, gain, _ in judged], key=lambda known: known[1].value)
    if lost:
        paradox = ""
        if found.overall.value > 0:
            paradox = f", although it wins by {found.overall.value:.4g} overall"
            paradox += ": Simpson's paradox" if found.reversed_everywhere else ""
        why = (
            f"{title}: the candidate loses to the {found.opponent} on {len(lost)} of {len(judged)} protected slices, "
            f"most where {said(worst.where)}, by {gain}{paradox}{rest}."
        )
    else:
        why = (
            f"{title}: on none of {len(judged)} protected slices is the candidate proven to lose more than "
            f"{found.margin:.4g} to the {found.opponent}{rest}."
        )
    return RuleOutcome(
        name=RULE,
        passed=not lost,
        figure=gain.value,
        bound=-found.margin,
        margin=gain.value + found.margin,
        why=why,
    )


class _Contest:
    """Candidate against opponent, on any rows."""

    def __init__(
        self,
        candidate: Answers,
        opponent: Answers,
        measured: Comparison,
        metric: MetricName,
        clusters: Clusters,
        rule: NotWorseOnSlices,
        margin: float,
    ) -> None:
        self._sides = {"candidate": candidate, "opponent": opponent}
        self._measured = measured
        self._metric = measured.metrics[metric]
        self._clusters = clusters
        self._rule = rule
        self._margin = margin

    def on(self, where: dict[str, str], rows: Integers) -> tuple[ProtectedSlice, float]:
        """Return the slice, and the p-value of a loss above the margin, not yet corrected."""
        clusters = Clusters.of(self._clusters.codes[rows])
        plain = ProtectedSlice(where=where, rows=len(rows), groups=clusters.count)
        if len(rows) < self._rule.min_rows or clusters.count < self._rule.min_groups:
            return plain, 1.0
        spec = self._measured.spec.bootstrap
        prepared = {name: self._metric.prepare(answers.take(rows), clusters) for name, answers in self._sides.items()}
        drawn = figures(prepared, clusters, spec, self._measured.seed)
        drawn["gain"] = self._metric.improvement(drawn["candidate"], drawn["opponent"])
        if not all(is_defined(array) for array in drawn.values()):
            return plain, 1.0
        intervals = {name: interval(array, spec.confidence, name=name) for name, array in drawn.items()}
        return plain.model_copy(update=intervals), _p_of_a_loss(drawn["gain"], self._margin)


def _p_of_a_loss(drawn: Floats, margin: float) -> float:
    """Return how likely a gain this low is if nothing beyond the margin is lost, by the bootstrap's standard error."""
    from scipy.special import ndtr

    error = float(np.nanstd(drawn[1:], ddof=1))
    loss = -float(drawn[0]) - margin
    if error == 0:
        return 0.0 if loss > 0 else 1.0
    return float(ndtr(-loss / error))
