"""The rules of the gate: what each asks, and what it finds on the figures of a comparison."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field

from aforo.contracts.specification import Specification
from aforo.evaluation.answers import Answers
from aforo.evaluation.evaluate import Comparison
from aforo.evaluation.metrics import MetricName
from aforo.evaluation.noise import largest_coverage_gap_by_chance, largest_ece_by_chance

CANDIDATE, UNCALIBRATED, BASELINE, CHAMPION = "candidate", "uncalibrated", "baseline", "champion"

# Of the margin: a loss below it is not worth a word, even where the rows are many enough to be sure of it.
_NEGLIGIBLE_SHARE = 0.1

Share = Annotated[float, Field(ge=0, le=1)]


class BeatsBaseline(Specification):
    """The candidate is better than the heuristic by more than ``margin`` (in the metric's unit), beyond chance."""

    metric: MetricName | None = None
    margin: Annotated[float, Field(ge=0)] = 0.0


class NotWorseThanChampion(Specification):
    """The candidate loses less than the margin to the champion, beyond chance.

    Attributes
    ----------
    margin
        In the metric's unit; ``None`` takes ``lost_share`` of the champion's lead over the baseline on the same rows.
    """

    metric: MetricName | None = None
    margin: Annotated[float, Field(ge=0)] | None = None
    lost_share: Share = 0.2


class Calibrated(Specification):
    """Probabilities and intervals keep their promise.

    Attributes
    ----------
    max_ece
        Largest expected calibration error (classes), unless chance alone explains it.
    max_coverage_gap
        Largest distance of the observed from the stated coverage (regression), unless chance alone explains it.
    tolerance
        How much higher than the uncalibrated model's the Brier score may be.
    """

    max_ece: Share = 0.05
    max_coverage_gap: Share = 0.05
    tolerance: Annotated[float, Field(ge=0)] = 0.0


class EnoughTestRows(Specification):
    """The judgement rests on enough rows, in enough groups that are independent of each other."""

    rows: Annotated[int, Field(ge=1)] = 50
    groups: Annotated[int, Field(ge=2)] = 10


class RuleOutcome(Specification):
    """What one rule found.

    Attributes
    ----------
    figure
        What was measured, ``None`` if there was nothing to measure.
    bound
        What the figure is held against.
    margin
        By how much the rule holds; negative where it does not.
    why
        The finding as one sentence.
    """

    name: str
    passed: bool
    figure: float | None
    bound: float | None
    margin: float | None
    why: str

    @classmethod
    def at_most(cls, name: str, figure: float, bound: float, why: str, *, rounding: float = 0.0) -> Self:
        """Return the outcome of a rule that holds up to its bound, within ``rounding``."""
        passed = figure <= bound + rounding
        return cls(name=name, passed=passed, figure=figure, bound=bound, margin=bound - figure, why=why)

    @classmethod
    def at_least(cls, name: str, figure: float, bound: float, why: str) -> Self:
        """Return the outcome of a rule that holds from its bound on."""
        return cls(name=name, passed=figure >= bound, figure=figure, bound=bound, margin=figure - bound, why=why)

    @classmethod
    def above(cls, name: str, figure: float, bound: float, said: str) -> Self:
        """Return the outcome of a rule that needs the whole of an interval, from ``figure`` on, above its bound."""
        passed = figure > bound
        why = f"{said}, {'entirely above' if passed else 'not entirely above'} {bound:g}."
        return cls(name=name, passed=passed, figure=figure, bound=bound, margin=figure - bound, why=why)

    @classmethod
    def unmeasured(cls, name: str, why: str, *, passed: bool = False, bound: float | None = None) -> Self:
        """Return the outcome of a rule that found nothing to measure: refused, unless there is nothing to ask."""
        return cls(name=name, passed=passed, figure=None, bound=bound, margin=None, why=why)


def enough_test_rows(measured: Comparison, rule: EnoughTestRows) -> RuleOutcome:
    """Report whether there are enough rows and groups; what is short of its bound is the figure."""
    enough_rows = measured.rows >= rule.rows
    # Independent rows are their own groups.
    figure, bound = (measured.groups, rule.groups) if enough_rows else (measured.rows, rule.rows)
    why = (
        f"The judgement rests on {measured.rows:,} test rows in {measured.groups:,} independent groups; "
        f"{rule.rows:,} rows in {rule.groups:,} groups are needed."
    )
    return RuleOutcome.at_least("enough_test_rows", figure, bound, why)


def beats_baseline(measured: Comparison, rule: BeatsBaseline, primary: MetricName) -> RuleOutcome:
    """Report whether the improvement over the baseline is proven."""
    metric = rule.metric or primary
    gained = measured.improvement(CANDIDATE, BASELINE, metric)
    said = f"{measured.metrics[metric].title}: the candidate is better than the baseline by {gained}"
    return RuleOutcome.above("beats_baseline", gained.lower, rule.margin, said)


def not_worse_than_champion(measured: Comparison, rule: NotWorseThanChampion, primary: MetricName) -> RuleOutcome:
    """Report whether a loss against the champion is ruled out up to the margin."""
    metric = rule.metric or primary
    name = "not_worse_than_champion"
    if (CHAMPION, metric) not in measured.drawn:
        why = "There is no champion to compare with."
        return RuleOutcome.unmeasured(name, why, passed=True)
    gained = measured.improvement(CANDIDATE, CHAMPION, metric)
    margin = rule.margin
    if margin is None:
        margin = rule.lost_share * max(0.0, measured.improvement(CHAMPION, BASELINE, metric).value)
    said = (
        f"{measured.metrics[metric].title}: against the champion the candidate changes by {gained} (positive is better)"
    )
    negligible = _NEGLIGIBLE_SHARE * margin
    worse_beyond_chance = gained.upper < 0 and gained.value < -negligible
    if worse_beyond_chance:
        why = f"{said}: it is worse by more than {negligible:.4g}, and chance does not explain it."
    elif gained.lower >= -margin:
        why = f"{said}; a loss of {margin:.4g} is ruled out."
    else:
        why = f"{said}; a loss of {margin:.4g} cannot be ruled out. More test rows or a larger margin could decide it."
    return RuleOutcome(
        name=name,
        passed=gained.lower >= -margin and not worse_beyond_chance,
        figure=gained.value if worse_beyond_chance else gained.lower,
        bound=-negligible if worse_beyond_chance else -margin,
        margin=gained.value + negligible if worse_beyond_chance else gained.lower + margin,
        why=why,
    )


def calibrated(measured: Comparison, rule: Calibrated, candidate: Answers) -> list[RuleOutcome]:
    """Report whether probabilities or intervals keep their promise, and whether the calibrator did harm."""
    promise = keeps_its_promise(measured, rule, candidate)
    if candidate.task == "regression":
        return [promise]
    harm = measured.improvement(CANDIDATE, UNCALIBRATED, "brier")
    harmless = harm.upper >= -rule.tolerance
    finding = "it does no harm" if harmless else "the probabilities get worse, and chance does not explain it"
    return [
        promise,
        RuleOutcome.at_least(
            "calibration_does_no_harm",
            harm.upper,
            -rule.tolerance,
            f"Calibration changes the Brier score by {harm} (positive is better): {finding}.",
        ),
    ]


def keeps_its_promise(measured: Comparison, rule: Calibrated, candidate: Answers) -> RuleOutcome:
    """Report whether what probabilities claim, or intervals hold, comes true."""
    confidence, seed = measured.spec.bootstrap.confidence, measured.seed
    if candidate.task == "regression":
        return _covers(measured, rule, candidate, confidence, seed)
    error = measured.interval(CANDIDATE, "ece").value
    bins = measured.spec.ece_bins
    by_chance = largest_ece_by_chance(candidate, bins=bins, confidence=confidence, seed=seed)
    bound = max(rule.max_ece, by_chance)
    passed = error <= bound
    said = f"The expected calibration error is {error:.4f}, {'within' if passed else 'above'} {rule.max_ece:g}"
    if error > rule.max_ece:
        said = f"The expected calibration error is {error:.4f}, above {rule.max_ece:g}"
        said += f"{', but' if passed else ';'} chance alone gives up to {by_chance:.4f} on {measured.rows:,} rows"
    return RuleOutcome.at_most("calibrated", error, bound, f"{said}.")


def _covers(measured: Comparison, rule: Calibrated, candidate: Answers, confidence: float, seed: int) -> RuleOutcome:
    if candidate.interval is None or candidate.coverage is None:
        why = "The candidate gives no interval, so its uncertainty cannot be judged."
        return RuleOutcome.unmeasured("calibrated", why)
    nominal = candidate.coverage
    observed = measured.interval(CANDIDATE, "interval_coverage").value
    by_chance = largest_coverage_gap_by_chance(measured.rows, nominal, confidence=confidence, seed=seed)
    bound = max(rule.max_coverage_gap, by_chance)
    gap = abs(observed - nominal)
    why = (
        f"The intervals hold {observed:.1%} of the true values and promise {nominal:.1%}; "
        f"a gap of {bound:.1%} is allowed on {measured.rows:,} rows."
    )
    return RuleOutcome.at_most("calibrated", gap, bound, why)
