"""What answers are worth: the cost of each mistake, the threshold that makes mistakes cheapest, and who saves what.

References
----------
Elkan, The Foundations of Cost-Sensitive Learning, IJCAI 2001.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, RootModel, model_validator

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.specification import Specification
from aforo.evaluation.answers import Answers, Floats
from aforo.evaluation.bootstrap import BootstrapSpec, Interval, figures, interval
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.metrics.statistic import of_mean
from aforo.evaluation.rules import BASELINE, CANDIDATE, CHAMPION, RuleOutcome

RULE = "worth"


class Costs(RootModel[dict[str, dict[str, float]]]):
    """The cost of each mistake: the section ``costs`` of ``use_case.yaml``, true class to answered class to cost.

    What is left out costs nothing; a negative cost is a gain. In any unit, which is that of all figures made from it.
    """

    model_config = {"frozen": True}

    def check(self, contract: PredictionContract) -> None:
        """Refuse classes that the task does not have, with a ValueError."""
        if contract.task == "regression":
            raise ValueError("costs are per true and answered class, and a regression has none; leave them out")
        named = {*self.root, *(answered for row in self.root.values() for answered in row)}
        if strange := sorted(named - set(contract.classes)):
            raise ValueError(f"costs names {', '.join(strange)}; the classes are {', '.join(contract.classes)}")
        matrix = self.matrix(contract.classes)
        dearer = matrix - matrix.diagonal()[:, None]
        if dearer.min() < 0:
            true, answered = np.unravel_index(dearer.argmin(), dearer.shape)
            raise ValueError(
                f"costs: to answer {contract.classes[answered]} where {contract.classes[true]} is true is cheaper than "
                "the right answer, so that mistakes would be rewarded"
            )
        if dearer.max() == 0:
            raise ValueError("costs gives no mistake a cost, so that nothing is worth anything")

    def matrix(self, classes: tuple[str, ...]) -> Floats:
        """Return the cost of each answer (columns) to each true class (rows), shape (K, K)."""
        return np.array([[self.root.get(true, {}).get(answer, 0.0) for answer in classes] for true in classes])

    @model_validator(mode="after")
    def _are_numbers(self) -> Self:
        if not np.all(np.isfinite([cost for row in self.root.values() for cost in row.values()])):
            raise ValueError("costs has a cost that is not finite")
        return self


class Worth(Specification):
    """The candidate's answers are proven to cost less than the baseline's, by more than the margin.

    Attributes
    ----------
    min_saving
        Per row, in the unit of ``costs``.
    """

    min_saving: Annotated[float, Field(ge=0)] = 0.0


class Priced(Specification):
    """What one predictor's answers cost on the test rows.

    Attributes
    ----------
    per_row
        Mean cost.
    saving
        By how much the candidate's answers are cheaper, paired; ``None`` for the candidate itself.
    """

    name: str
    per_row: Interval
    saving: Interval | None


class BestThreshold(Specification):
    """The threshold at which the calibration rows cost least; the test rows had no say in it.

    Attributes
    ----------
    per_row
        Mean cost of the candidate on the test rows with this threshold.
    saving
        By how much that is cheaper than with the threshold that is served, paired.
    expected
        The threshold that the costs alone give, if the probabilities are right.
    """

    threshold: float
    served: float
    per_row: Interval
    saving: Interval
    expected: float


class Economy(Specification):
    """What the difference between the predictors is worth.

    Attributes
    ----------
    best
        ``None`` where there is no threshold to choose, or no rows to choose it on.
    """

    predictors: tuple[Priced, ...]
    best: BestThreshold | None


def price(
    predictors: Mapping[str, Answers],
    matrix: Floats,
    clusters: Clusters,
    bootstrap: BootstrapSpec,
    seed: int,
    calibration: Answers | None = None,
) -> Economy:
    """Return what each predictor's answers cost, with the threshold that would make the candidate's cheapest.

    Parameters
    ----------
    predictors
        By name, on the same rows; one of them is the candidate.
    matrix
        Cost of each answer to each true class, shape (K, K).
    calibration
        The candidate's answers on the rows it was calibrated on.
    """
    shown = [name for name in (CANDIDATE, CHAMPION, BASELINE) if name in predictors]
    costs = {name: matrix[predictors[name].y, predictors[name].labels] for name in shown}
    candidate = predictors[CANDIDATE]
    threshold = None
    if candidate.task == "binary" and calibration is not None:
        threshold = cheapest_threshold(calibration.probabilities[:, 1], calibration.y, matrix)
        costs["best"] = matrix[candidate.y, (candidate.probabilities[:, 1] >= threshold).astype(np.int64)]
    drawn = figures({name: of_mean(values, clusters) for name, values in costs.items()}, clusters, bootstrap, seed)

    def shown_as(values: Floats) -> Interval:
        return interval(values, bootstrap.confidence, name="cost")

    best = None
    if threshold is not None:
        best = BestThreshold(
            threshold=threshold,
            served=candidate.threshold,
            per_row=shown_as(drawn["best"]),
            saving=shown_as(drawn[CANDIDATE] - drawn["best"]),
            expected=expected_threshold(matrix),
        )
    return Economy(
        predictors=tuple(
            Priced(
                name=name,
                per_row=shown_as(drawn[name]),
                saving=None if name == CANDIDATE else shown_as(drawn[name] - drawn[CANDIDATE]),
            )
            for name in shown
        ),
        best=best,
    )


def cheapest_threshold(claims: Floats, y: NDArray[np.int64], matrix: Floats) -> float:
    """Return the threshold from which on answering the positive class costs these rows least.

    It lies half-way between two claims; 0 where always answering positive is cheapest, 1 (which a claim of 1 reaches)
    where never is. Of equals the one nearest to the threshold that the costs alone give.

    Parameters
    ----------
    claims
        Probability of the positive class, shape (N,).
    """
    levels, place = np.unique(claims, return_inverse=True)
    # By how much answering positive is dearer than answering negative, summed over the rows of each level.
    dearer = np.bincount(place, (matrix[:, 1] - matrix[:, 0])[y], len(levels))
    # Answering positive from level i on; the last entry answers it nowhere.
    total = np.append(np.cumsum(dearer[::-1])[::-1], 0.0)
    cuts = np.concatenate([[0.0], (levels[:-1] + levels[1:]) / 2, [np.nextafter(1.0, 2.0)]])
    cheapest = np.flatnonzero(total <= total.min() + 1e-9 * np.abs(dearer).sum())
    nearest = cheapest[np.abs(cuts[cheapest] - expected_threshold(matrix)).argmin()]
    return float(min(1.0, cuts[nearest]))


def expected_threshold(matrix: Floats) -> float:
    """Return the probability (0-1) at which both answers are expected to cost the same: Elkan's equation 2."""
    false_alarm, miss = matrix[0, 1] - matrix[0, 0], matrix[1, 0] - matrix[1, 1]
    return float(false_alarm / (false_alarm + miss))


def worth(found: Economy, rule: Worth) -> RuleOutcome:
    """Report whether the candidate's answers are proven to be cheaper than the baseline's."""
    saving = next(priced.saving for priced in found.predictors if priced.name == BASELINE)
    if saving is None:
        raise ValueError("the baseline is priced without its saving")
    said = f"The candidate's answers cost {saving} less per row than the baseline's"
    return RuleOutcome.above(RULE, saving.lower, rule.min_saving, said)
