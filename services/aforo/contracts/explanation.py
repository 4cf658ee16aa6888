"""What an explanation says, and what it compares a row with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aforo.contracts.prediction import Scalar
from aforo.contracts.specification import Specification

ExplanationMethod = Literal["shapley", "baseline"]


class Background(Specification):
    """What rows are compared with when an answer is explained; stored in the bundle.

    Attributes
    ----------
    rows
        Raw rows of the training part, spread evenly over the model's answers, so that their mean answer is close to
        that of the whole part.
    typical
        One raw row: of each column the median, or the most frequent value where it is no number.
    """

    rows: Annotated[tuple[dict[str, Scalar], ...], Field(min_length=2)]
    typical: dict[str, Scalar]


class Explanation(Specification):
    """Why one row was answered as it was: ``baseline + sum(contributions) + rest = output``, within 1e-9.

    Attributes
    ----------
    of
        The class whose calibrated probability is explained: the positive one of two, the most probable one of several.
        For a regression the target.
    scale
        What ``output``, ``baseline`` and the contributions are: a probability (0-1), or a value in the target's unit.
    output, baseline
        What the model says of the row, and what it says on average of the background's rows (``shapley``) or of its
        typical row (``baseline``).
    contributions
        Column to its share of the difference between the two.
    rest
        What belongs to no column alone; 0 for ``shapley``.
    standard_errors
        Of each contribution, from the permutations that were drawn; 0 where none were. ``None`` for ``baseline``.
    permutations
        How many orders of the columns were drawn; ``None`` where all of them were counted, or none is needed.
    """

    method: ExplanationMethod
    of: str
    scale: Literal["probability", "value"]
    output: float
    baseline: float
    contributions: dict[str, float]
    rest: float = 0.0
    standard_errors: dict[str, float] | None = None
    permutations: int | None = None
