"""What is found with the candidate at hand: as a function, with its contract and the raw test rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aforo.contracts.prediction import LabelSets
from aforo.evaluation.answers import Answers
from aforo.evaluation.behaviour.rule import Finding
from aforo.evaluation.costs import Costs, Economy, price, worth
from aforo.evaluation.evaluate import Comparison
from aforo.evaluation.fairness import CutRates, FairnessSpec, Mitigation, fair, group_rates, mitigate
from aforo.evaluation.gate_spec import GateSpec
from aforo.evaluation.leak import Alone, explained_alone, no_leak
from aforo.evaluation.metrics import MetricName
from aforo.evaluation.plausible import plausible
from aforo.evaluation.reliability import ClassCalibration, ReliabilityCurve, class_calibration, reliability_curve
from aforo.evaluation.rules import BASELINE, CANDIDATE, UNCALIBRATED, RuleOutcome
from aforo.evaluation.sets import SetFigures, set_figures, sets_cover
from aforo.evaluation.slices import ProtectedSlices, SliceSearch
from aforo.evaluation.slices.protected import not_worse_on_slices, protected_slices
from aforo.evaluation.slices.search import no_weak_slice, search
from aforo.evaluation.subject import Subject


@dataclass(frozen=True, eq=False)
class Questions:
    """What is asked beside the rules of the gate.

    Attributes
    ----------
    calibration
        The candidate with the rows it was calibrated on, on which thresholds may be chosen.
    fairness
        The groups of people to look at.
    costs
        What each mistake costs.
    sets
        How sets of labels are made of the uncalibrated answers.
    """

    calibration: Subject | None = None
    fairness: FairnessSpec | None = None
    costs: Costs | None = None
    sets: LabelSets | None = None


@dataclass
class Examination:
    """What was found; empty or ``None`` where it was not asked."""

    rules: list[RuleOutcome] = field(default_factory=list)
    calibration: tuple[ClassCalibration, ...] = ()
    reliability: ReliabilityCurve | None = None
    behaviour: list[Finding] = field(default_factory=list)
    protected_slices: ProtectedSlices | None = None
    slice_search: SliceSearch | None = None
    fairness: tuple[CutRates, ...] = ()
    mitigation: tuple[Mitigation, ...] = ()
    economy: Economy | None = None
    alone: tuple[Alone, ...] = ()
    sets: SetFigures | None = None


def examine(
    gate: GateSpec,
    subject: Subject,
    questions: Questions,
    predictors: Mapping[str, Answers],
    measured: Comparison,
    primary: MetricName,
) -> Examination:
    """Ask the candidate all that takes more than its answers."""
    found = Examination()
    if measured.task != "regression":
        classes = subject.contract.classes
        found.calibration = class_calibration(predictors[CANDIDATE], classes, measured.spec.ece_bins)
        found.reliability = reliability_curve(predictors[CANDIDATE], classes, measured.spec.ece_bins)
    _suspect(found, gate, subject, questions.calibration)
    _behave(found, gate, subject, measured, primary)
    _cut(found, gate, subject, predictors, measured, primary)
    if questions.fairness is not None:
        _look_at_groups(found, gate, questions.fairness, subject, questions.calibration, predictors, measured)
    if questions.costs is not None:
        _price(found, gate, questions.costs, subject, questions.calibration, predictors, measured)
    if questions.sets is not None:
        _cover(found, gate, questions.sets, subject, predictors, measured)
    return found


def _suspect(found: Examination, gate: GateSpec, subject: Subject, calibration: Subject | None) -> None:
    if gate.no_leak is not None:
        found.alone = explained_alone(subject, gate.no_leak.rows)
        found.rules.append(no_leak(found.alone, gate.no_leak))
    if gate.plausible is not None:
        found.rules.append(plausible([subject] if calibration is None else [subject, calibration], gate.plausible))


def _behave(found: Examination, gate: GateSpec, subject: Subject, measured: Comparison, primary: MetricName) -> None:
    for rule in gate.behaviour:
        outcomes, finding = rule.ask(subject, measured, primary)
        found.rules.extend(outcomes)
        found.behaviour.append(finding)


def _cut(
    found: Examination,
    gate: GateSpec,
    subject: Subject,
    predictors: Mapping[str, Answers],
    measured: Comparison,
    primary: MetricName,
) -> None:
    if gate.not_worse_on_slices is not None:
        slices = protected_slices(subject, predictors, measured, gate.not_worse_on_slices, primary)
        found.rules.append(not_worse_on_slices(slices, measured))
        found.protected_slices = slices
    if gate.no_weak_slice is not None:
        candidate, baseline = predictors[CANDIDATE], predictors[BASELINE]
        confidence = measured.spec.bootstrap.confidence
        found.slice_search = search(subject, candidate, baseline, gate.no_weak_slice, confidence)
        found.rules.append(no_weak_slice(found.slice_search, gate.no_weak_slice))


def _look_at_groups(
    found: Examination,
    gate: GateSpec,
    fairness: FairnessSpec,
    subject: Subject,
    calibration: Subject | None,
    predictors: Mapping[str, Answers],
    measured: Comparison,
) -> None:
    bootstrap = measured.spec.bootstrap
    found.fairness = group_rates(subject, predictors[CANDIDATE], fairness, bootstrap, measured.spec.ece_bins)
    if gate.fair is not None:
        found.rules.extend(fair(found.fairness, gate.fair))
    if calibration is not None and measured.task == "binary":
        found.mitigation = mitigate(subject, calibration, fairness, bootstrap)


def _price(
    found: Examination,
    gate: GateSpec,
    costs: Costs,
    subject: Subject,
    calibration: Subject | None,
    predictors: Mapping[str, Answers],
    measured: Comparison,
) -> None:
    matrix = costs.matrix(subject.contract.classes)
    known = None if calibration is None else calibration.answers()
    found.economy = price(predictors, matrix, subject.clusters, measured.spec.bootstrap, measured.seed, known)
    if gate.worth is not None:
        found.rules.append(worth(found.economy, gate.worth))


def _cover(
    found: Examination,
    gate: GateSpec,
    sets: LabelSets,
    subject: Subject,
    predictors: Mapping[str, Answers],
    measured: Comparison,
) -> None:
    bootstrap, seed = measured.spec.bootstrap, measured.seed
    uncalibrated, classes = predictors[UNCALIBRATED], subject.contract.classes
    found.sets = set_figures(uncalibrated, sets, classes, subject.clusters, bootstrap, seed)
    if gate.calibrated is not None:
        found.rules.append(sets_cover(found.sets, gate.calibrated, measured.rows, bootstrap.confidence, seed))
