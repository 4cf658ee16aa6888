"""When a model abstains: a bound chosen on the validation part, and what it does on the test part."""

from __future__ import annotations

import math
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from aforo.contracts.prediction import TaskKind
from aforo.contracts.specification import Specification
from aforo.evaluation.answers import Answers, Floats
from aforo.evaluation.bootstrap import BootstrapSpec, Interval, figures, interval, is_defined
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.confidence import risk_coverage
from aforo.evaluation.metrics.regression import bounds_of
from aforo.evaluation.metrics.statistic import of_mean, of_sums
from aforo.evaluation.rules import RuleOutcome

RULE = "abstention"

# No row is as sure: where no confidence keeps the risk, nothing is answered.
_NOTHING = 1.0


class Abstain(Specification):
    """What abstaining is to achieve; one of the three.

    Attributes
    ----------
    max_risk
        Classes: the largest share (0-1) of wrong labels among the answered rows. The lowest confidence that is proven
        to keep it is chosen.
    coverage
        Classes: the share (0-1) of rows to answer, the surest ones.
    max_width
        Regression: the widest interval to answer with, in the target's unit.
    """

    max_risk: Annotated[float, Field(gt=0, lt=1)] | None = None
    coverage: Annotated[float, Field(gt=0, lt=1)] | None = None
    max_width: Annotated[float, Field(gt=0)] | None = None

    def refuse_unfit(self, task: TaskKind) -> None:
        """Refuse what a task has no answer to, with a ValueError."""
        if (task == "regression") != (self.max_width is not None):
            fit = "max_width" if task == "regression" else "max_risk or coverage"
            raise ValueError(f"task.abstain of a {task} asks for {fit}")

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> Self:
        if sum(value is not None for value in (self.max_risk, self.coverage, self.max_width)) != 1:
            raise ValueError("abstain asks for one of max_risk, coverage and max_width")
        return self


class Abstention(Specification):
    """The bound that was chosen, and what it does.

    Attributes
    ----------
    below
        Classes: abstain where the highest probability is below it. It is 1 where no confidence was proven to keep the
        risk.
    above
        Regression: abstain where the interval is wider.
    validation_coverage, validation_risk
        Share (0-1) of the validation rows that are answered, and of wrong labels among them; these chose the bound, and
        the part also chose the candidate, so they flatter it.
    coverage, risk
        The same of the test part, with their intervals; the risk is ``None`` where nothing is answered, and of a
        regression.
    """

    asked: Abstain
    below: float | None = None
    above: float | None = None
    validation_rows: int
    validation_coverage: float
    validation_risk: float | None
    coverage: Interval
    risk: Interval | None


def abstention(
    asked: Abstain,
    validation: Answers,
    test: Answers,
    *,
    validation_groups: NDArray[np.generic] | None = None,
    groups: NDArray[np.generic] | None = None,
    spec: BootstrapSpec,
    seed: int,
) -> Abstention:
    """Choose the bound on the validation part alone, and measure it on the test part.

    Parameters
    ----------
    validation_groups, groups
        Which rows of either part belong together; ``None`` if they are independent.
    """
    bound = _bound(asked, validation, Clusters.of_rows(len(validation), validation_groups), spec.confidence)
    chosen, found = _answered(validation, bound), _answered(test, bound)
    clusters = Clusters.of_rows(len(test), groups)
    statistics = {"coverage": of_mean(found, clusters)}
    if test.task != "regression":
        statistics["risk"] = of_sums(np.column_stack([test.mistakes * found, found]), clusters, _ratio)
    drawn = figures(statistics, clusters, spec, seed)
    risk = drawn.get("risk", np.array([np.nan]))
    return Abstention(
        asked=asked,
        below=None if test.task == "regression" else bound,
        above=bound if test.task == "regression" else None,
        validation_rows=len(validation),
        validation_coverage=float(chosen.mean()),
        validation_risk=(
            float(validation.mistakes[chosen > 0].mean()) if validation.task != "regression" and chosen.any() else None
        ),
        coverage=interval(drawn["coverage"], spec.confidence, name="the share of answered rows"),
        risk=interval(risk, spec.confidence, name="the risk of answered rows") if is_defined(risk) else None,
    )


def keeps_its_word(found: Abstention) -> RuleOutcome:
    """Report whether the test part bears out what was asked: it fails where it does not, beyond chance."""
    asked, said = found.asked, f"{found.coverage.value:.1%} of the test rows are answered"
    if asked.max_risk is not None:
        figure = None if found.risk is None else found.risk.value
        risk = "" if found.risk is None else f", at a risk of {_percent(found.risk)}"
        chosen = (
            f"From a confidence of {found.below:.3f} on, chosen on {found.validation_rows:,} validation rows"
            if found.validation_coverage
            else f"No confidence is proven to keep the risk on {found.validation_rows:,} validation rows, so"
        )
        return RuleOutcome(
            name=RULE,
            passed=found.risk is not None and found.risk.lower <= asked.max_risk and found.validation_coverage > 0,
            figure=figure,
            bound=asked.max_risk,
            margin=None if figure is None else asked.max_risk - figure,
            why=f"{chosen}, {said}{risk}; {asked.max_risk:.1%} are allowed.",
        )
    if asked.coverage is not None:
        risk = "" if found.risk is None else f", at a risk of {_percent(found.risk)}"
        return RuleOutcome(
            name=RULE,
            passed=found.coverage.upper >= asked.coverage,
            figure=found.coverage.value,
            bound=asked.coverage,
            margin=found.coverage.value - asked.coverage,
            why=(
                f"From a confidence of {found.below:.3f} on, chosen on {found.validation_rows:,} validation rows, "
                f"{_percent(found.coverage)} of the test rows are answered{risk}; {asked.coverage:.1%} are asked for."
            ),
        )
    return RuleOutcome(
        name=RULE,
        passed=found.coverage.value > 0,
        figure=found.coverage.value,
        bound=0.0,
        margin=found.coverage.value,
        why=f"With intervals no wider than {asked.max_width:g}, {said}; some are asked for.",
    )


def _bound(asked: Abstain, validation: Answers, clusters: Clusters, confidence: float) -> float:
    if asked.max_risk is not None:
        kept = risk_coverage(validation, clusters, max_risk=asked.max_risk, confidence=confidence).kept
        return _NOTHING if kept is None else kept.confidence
    if asked.coverage is not None:
        sure = np.sort(validation.probabilities.max(axis=1))[::-1]
        # 1e-9 is for shares such as 0.9 in binary.
        return float(sure[max(1, math.ceil(asked.coverage * len(sure) - 1e-9)) - 1])
    if asked.max_width is None:
        raise AssertionError("one of the three is asked for")
    return asked.max_width


def _answered(answers: Answers, bound: float) -> Floats:
    """Return 1 for each row that is answered, 0 for the others, shape (N,)."""
    if answers.task == "regression":
        lower, upper = bounds_of(answers).T
        return np.asarray(upper - lower <= bound, dtype=np.float64)
    return np.asarray(answers.probabilities.max(axis=1) >= bound, dtype=np.float64)


def _ratio(sums_RD: Floats) -> Floats:
    """Return the first sum over the second; NaN where that is 0."""
    share = np.full(len(sums_RD), np.nan)
    np.divide(sums_RD[:, 0], sums_RD[:, 1], out=share, where=sums_RD[:, 1] > 0)
    return share


def _percent(found: Interval) -> str:
    return f"{found.value:.1%} [{found.lower:.1%}, {found.upper:.1%}]"
