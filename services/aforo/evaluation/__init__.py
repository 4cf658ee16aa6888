"""Judgement: figures with intervals, fair comparisons, and the one gate to ``champion``."""

from aforo.evaluation.answers import Answers
from aforo.evaluation.bootstrap import BootstrapSpec, Interval
from aforo.evaluation.evaluate import Comparison, EvaluationSpec, compare
from aforo.evaluation.gate import GateReport, judge
from aforo.evaluation.gate_spec import GateSpec
from aforo.evaluation.rules import RuleOutcome
from aforo.evaluation.subject import Subject

__all__ = [
    "Answers",
    "BootstrapSpec",
    "Comparison",
    "EvaluationSpec",
    "GateReport",
    "GateSpec",
    "Interval",
    "RuleOutcome",
    "Subject",
    "compare",
    "judge",
]
