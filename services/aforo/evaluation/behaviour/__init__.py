"""How a predictor reacts when a row is changed. One kind of rule a file; a new one is a file and a line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aforo.evaluation.behaviour.absence import Absence, AbsenceFinding
from aforo.evaluation.behaviour.direction import Direction, DirectionFinding
from aforo.evaluation.behaviour.invariance import Invariance, InvarianceFinding
from aforo.evaluation.behaviour.robustness import Robustness, RobustnessFinding
from aforo.evaluation.behaviour.rule import BehaviourRule, Example

BehaviourSpec = Annotated[Invariance | Direction | Robustness | Absence, Field(discriminator="kind")]
BehaviourFinding = Annotated[
    InvarianceFinding | DirectionFinding | RobustnessFinding | AbsenceFinding, Field(discriminator="kind")
]

__all__ = [
    "Absence",
    "AbsenceFinding",
    "BehaviourFinding",
    "BehaviourRule",
    "BehaviourSpec",
    "Direction",
    "DirectionFinding",
    "Example",
    "Invariance",
    "InvarianceFinding",
    "Robustness",
    "RobustnessFinding",
]
