"""The fairness lens: groups of people in the data before training, and in the answers after it."""

from aforo.evaluation.fairness.lens import FairnessSpec
from aforo.evaluation.fairness.mitigation import Mitigation, mitigate
from aforo.evaluation.fairness.rates import CutRates, Disparity, GroupRates, group_rates
from aforo.evaluation.fairness.representation import Representation, concerns, represent
from aforo.evaluation.fairness.rule import Fair, fair

__all__ = [
    "CutRates",
    "Disparity",
    "Fair",
    "FairnessSpec",
    "GroupRates",
    "Mitigation",
    "Representation",
    "concerns",
    "fair",
    "group_rates",
    "mitigate",
    "represent",
]
