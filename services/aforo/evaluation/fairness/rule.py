"""The gate's rule about groups of people: no two of them are proven to be answered too differently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.specification import Specification
from aforo.evaluation.fairness.lens import SECTION, FairnessSpec
from aforo.evaluation.fairness.rates import DISPARITIES, CutRates, DisparityName
from aforo.evaluation.rules import RuleOutcome, Share
from aforo.evaluation.slices.cutting import Columns
from aforo.evaluation.slices.search import said

RULE = "fair"

_TITLES: dict[DisparityName, str] = {
    "demographic_parity": "The share of rows that are answered positive",
    "equalised_odds": "Equalised odds",
    "accuracy": "The share of right answers",
    "bias": "What is claimed too much",
    "error": "The mean absolute error",
    "coverage": "The coverage of the intervals",
}


class Fair(Specification):
    """No two groups are proven to be further apart than the bound. A bound of ``None`` is not asked.

    Not all of them can hold at once where the groups differ: choose the one that the decision calls for.

    Attributes
    ----------
    by
        Which of ``fairness.by`` are judged; empty for all.
    max_demographic_parity
        Binary: largest difference (0-1) of the shares answered positive.
    max_equalised_odds
        Binary: largest difference (0-1) of the shares answered positive among positives, or among negatives.
    max_accuracy
        Several classes: largest difference (0-1) of the shares answered right.
    max_bias
        Largest difference of how much more is claimed than comes true: a probability, or the target's unit.
    max_error
        Regression: largest difference of the mean absolute errors, in the target's unit.
    max_coverage
        Regression: largest difference (0-1) of the shares of intervals that hold the truth.
    """

    by: tuple[Columns, ...] = ()
    max_demographic_parity: Share | None = None
    max_equalised_odds: Share | None = None
    max_accuracy: Share | None = None
    max_bias: Annotated[float, Field(ge=0)] | None = None
    max_error: Annotated[float, Field(ge=0)] | None = None
    max_coverage: Share | None = None

    @property
    def bounds(self) -> dict[DisparityName, float]:
        """What is asked: disparity to bound."""
        asked = {name: getattr(self, f"max_{name}") for name in _TITLES}
        return {name: bound for name, bound in asked.items() if bound is not None}

    @property
    def outcomes(self) -> list[str]:
        """The names under which it may fail."""
        return [f"{RULE}_in_{name}" for name in self.bounds]

    def check(self, fairness: FairnessSpec | None, contract: PredictionContract) -> None:
        """Refuse what cannot be asked of this task and these groups, with a ValueError."""
        if fairness is None:
            raise ValueError(f"gate.{RULE} asks about groups, and there are none; name them in {SECTION}.by")
        if unknown := [names for names in self.by if names not in fairness.by]:
            known = "; ".join(", ".join(names) for names in fairness.by)
            raise ValueError(f"gate.{RULE}.by names {', '.join(unknown[0])}; expected some of {SECTION}.by: {known}")
        valid = DISPARITIES[contract.task]
        if strange := [name for name in self.bounds if name not in valid]:
            raise ValueError(
                f"gate.{RULE}.max_{strange[0]} cannot be asked of a {contract.task}; "
                f"expected {', '.join(f'max_{name}' for name in valid)}"
            )

    @model_validator(mode="after")
    def _something_is_asked(self) -> Self:
        if not self.bounds:
            raise ValueError(f"gate.{RULE} asks nothing; set one of {', '.join(f'max_{name}' for name in _TITLES)}")
        return self


def fair(found: Sequence[CutRates], rule: Fair) -> list[RuleOutcome]:
    """Report for each bound whether a difference above it is proven."""
    judged = [one for one in found if not rule.by or one.by in rule.by]
    return [_outcome(name, bound, judged) for name, bound in rule.bounds.items()]


def _outcome(name: DisparityName, bound: float, judged: Sequence[CutRates]) -> RuleOutcome:
    title = f"{RULE}_in_{name}"
    of_cuts = [disparity for one in judged for disparity in one.disparities if disparity.name == name]
    small = "; ".join(_unjudged(name, judged))
    if not of_cuts:
        return RuleOutcome.unmeasured(title, f"{_TITLES[name]}: no two groups have rows enough to judge.", bound=bound)
    # What is proven decides; where nothing is, the difference that looks largest is worth a word.
    worst = max(of_cuts, key=lambda one: (one.proven, one.difference.value))
    rate = f" ({worst.rate.replace('_', ' ')} rate)" if name == "equalised_odds" else ""
    verdict = f"at least {worst.proven:.4g} of it is proven" if worst.proven > 0 else "chance alone explains it"
    why = (
        f"{_TITLES[name]}{rate} differ{'' if rate else 's'} by {worst.difference} between {said(worst.high)} and "
        f"{said(worst.low)}; {verdict}, and {bound:g} is allowed{f'; too few rows to judge: {small}' if small else ''}."
    )
    return RuleOutcome.at_most(title, worst.proven, bound, why)


def _unjudged(name: DisparityName, judged: Sequence[CutRates]) -> Iterator[str]:
    for one in judged:
        found = [disparity for disparity in one.disparities if disparity.name == name]
        if not found:
            yield f"all groups by {' and '.join(one.by)}"
        yield from (said(where) for disparity in found for where in disparity.too_small)
