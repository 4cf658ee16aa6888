"""Searching for weak slices: where the candidate is worse than the heuristic, and where it is worst."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated

import numpy as np
from pydantic import Field

from aforo.contracts.specification import Specification
from aforo.contracts.table import TableContract
from aforo.evaluation.answers import Answers, Floats
from aforo.evaluation.bootstrap import Interval
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.rules import RuleOutcome, Share
from aforo.evaluation.slices.cutting import Cut, cut, refuse_bad_cut, searched
from aforo.evaluation.slices.means import SliceMeans, excesses, holm, losses, slice_means
from aforo.evaluation.subject import Subject

RULE = "no_weak_slice"

# A finer slice has to be this much weaker than the one that holds it to be worth a line of its own.
_WORTH_A_LINE = 1.25


class NoWeakSlice(Specification):
    """Nowhere is the candidate proven to be worse than the baseline.

    All slices by one column, and by pairs of columns, are tested at once, and corrected for being many. Numbers are cut
    at their quartiles.

    Attributes
    ----------
    columns
        To search; empty for all that the predictor takes.
    depth
        1 for single columns, 2 for pairs as well.
    min_share, min_groups
        Slices of a smaller share (0-1) of the rows, or of fewer independent groups, are left out.
    margin
        How much worse than the baseline a slice may be, in units of the Brier score, or of the squared error.
    listed
        How many of the weakest slices the report lists.
    """

    columns: tuple[str, ...] = ()
    depth: Annotated[int, Field(ge=1, le=2)] = 2
    min_share: Share = 0.01
    min_groups: Annotated[int, Field(ge=2)] = 10
    margin: Annotated[float, Field(ge=0)] = 0.0
    listed: Annotated[int, Field(ge=1, le=100)] = 10

    def check(self, table: TableContract) -> None:
        """Refuse columns that rows cannot be cut by, with a ValueError."""
        refuse_bad_cut(table, self.columns, RULE)


class FoundSlice(Specification):
    """One slice that the search found.

    Attributes
    ----------
    where
        Column to value, all of which hold.
    loss
        Mean loss of the candidate: Brier score, or squared error.
    gain
        By how much the candidate is better than the baseline in it; negative is worse.
    excess
        By how much more is claimed than comes true: probability minus outcome, or value minus true value.
    p_value
        Of what it was listed for, corrected for the number of slices.
    """

    where: dict[str, str]
    rows: int
    groups: int
    loss: Interval
    gain: Interval
    excess: Interval
    p_value: float


class SliceSearch(Specification):
    """What the search found.

    Attributes
    ----------
    tested
        Number of slices.
    loss
        Mean loss over all rows.
    weaker_than_baseline
        Slices on which the candidate is worse than the baseline, proven; the worst first.
    hardest
        Slices with the largest loss, proven to be above that of all rows, the worst first. Not necessarily a fault:
        some rows are harder than others for any model.
    """

    tested: int
    loss: float
    weaker_than_baseline: tuple[FoundSlice, ...]
    hardest: tuple[FoundSlice, ...]


def search(
    subject: Subject, candidate: Answers, baseline: Answers, rule: NoWeakSlice, confidence: float
) -> SliceSearch:
    """Test all slices that are large enough.

    References
    ----------
    Chung, Kraska, Polyzotis, Tae and Whang, Automated Data Slicing for Model Validation, ICDE 2019.
    """
    clusters = subject.clusters
    loss = losses(candidate)
    gain, excess = losses(baseline) - loss, excesses(candidate)
    fewest = max(2, int(np.ceil(rule.min_share * len(subject))))
    cuts = list(_cuts(subject, rule, fewest))
    tables = [_Tested(slices, loss, gain, excess, clusters, rule) for slices in cuts]
    tested = [(table, code) for table in tables for code in table.kept]
    overall = float(loss.mean())

    def proven(p: list[Floats], size: list[Floats]) -> tuple[FoundSlice, ...]:
        if not tested:
            return ()
        adjusted, sizes = holm(np.concatenate(p)), np.concatenate(size)
        order = [i for i in np.argsort(-sizes, kind="stable").tolist() if adjusted[i] <= 1 - confidence]
        named = [(i, tested[i][0].slices.named(tested[i][1])) for i in order]
        alone = {next(iter(where.items())): sizes[i] for i, where in named if len(where) == 1}
        return tuple(
            tested[i][0].found(tested[i][1], float(adjusted[i]), confidence)
            for i, where in named
            if len(where) == 1 or all(sizes[i] >= _WORTH_A_LINE * alone.get(half, 0.0) for half in where.items())
        )

    return SliceSearch(
        tested=len(tested),
        loss=overall,
        weaker_than_baseline=proven(
            [table.losing.above(rule.margin)[table.kept] for table in tables],
            [table.losing.mean[table.kept] for table in tables],
        ),
        hardest=proven(
            [table.loss.above(overall)[table.kept] for table in tables],
            [table.loss.mean[table.kept] - overall for table in tables],
        )[: rule.listed],
    )


def no_weak_slice(found: SliceSearch, rule: NoWeakSlice) -> RuleOutcome:
    """Report whether the candidate is nowhere proven to be worse than the baseline."""
    if not found.weaker_than_baseline:
        why = f"On none of {found.tested:,} slices is the candidate proven to be worse than the baseline."
        return RuleOutcome.at_most(RULE, 0.0, 0.0, why)
    worst = found.weaker_than_baseline[0]
    return RuleOutcome(
        name=RULE,
        passed=False,
        figure=-worst.gain.value,
        bound=rule.margin,
        margin=rule.margin + worst.gain.value,
        why=(
            f"On {len(found.weaker_than_baseline)} of {found.tested:,} slices the candidate is worse than the "
            f"baseline; at worst where {said(worst.where)} ({worst.rows:,} rows), by {-worst.gain.value:.4g} "
            f"(p = {worst.p_value:.2g}, corrected for the number of slices)."
        ),
    )


def said(where: dict[str, str]) -> str:
    """Return a slice in words."""
    return " and ".join(f"{column} is {value}" for column, value in where.items())


class _Tested:
    """The slices of one cut, with what was measured in each."""

    def __init__(
        self, slices: Cut, loss: Floats, gain: Floats, excess: Floats, clusters: Clusters, rule: NoWeakSlice
    ) -> None:
        self.slices = slices
        self.loss = slice_means(loss, slices, clusters)
        self.losing = slice_means(-gain, slices, clusters)
        self.excess = slice_means(excess, slices, clusters)
        self.kept = np.flatnonzero(self.loss.groups >= rule.min_groups).tolist()

    def found(self, code: int, p_value: float, confidence: float) -> FoundSlice:
        losing = _interval(self.losing, code, confidence)
        return FoundSlice(
            where=self.slices.named(code),
            rows=int(self.loss.rows[code]),
            groups=int(self.loss.groups[code]),
            loss=_interval(self.loss, code, confidence),
            gain=Interval(value=-losing.value, lower=-losing.upper, upper=-losing.lower),
            excess=_interval(self.excess, code, confidence),
            p_value=p_value,
        )


def _interval(means: SliceMeans, code: int, confidence: float) -> Interval:
    lower, upper = means.bounds(confidence)
    return Interval(value=float(means.mean[code]), lower=float(lower[code]), upper=float(upper[code]))


def _cuts(subject: Subject, rule: NoWeakSlice, fewest: int) -> Iterator[Cut]:
    names = rule.columns or searched(subject.columns, subject.contract)
    # What is too small alone is too small together with anything.
    singles = [cut(subject.table, subject.columns, [name]).with_rows(fewest) for name in names]
    singles = [single for single in singles if len(single.labels) > 1 or (single.codes < 0).any()]
    yield from (single for single in singles if single.labels)
    if rule.depth > 1:
        for one, other in itertools.combinations([single for single in singles if single.labels], 2):
            pair = one.crossed(other).with_rows(fewest)
            if pair.labels:
                yield pair
