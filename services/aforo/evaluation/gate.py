"""The gate: the only road to ``champion``. Its rules are read from ``use_case.yaml``, and it answers in sentences.

What is refused and what is not is a statistical choice, made here once:

*Better than the baseline* is a claim, and the candidate has to prove it. The lower end of the interval of its
improvement has to be above the margin (0 by default), so noise cannot promote.

*Not worse than the champion* cannot ask for proof of improvement: a model that is retrained on newer rows is about
as good as the one before, and half of all such candidates would be refused by chance, for ever. Nor may it be
content that the candidate is *not shown to be worse*: on few rows nothing is ever shown, and anything would pass.
The rule is non-inferiority with a margin: the lower end of the interval of the paired difference has to be
above minus the margin. By default it is a share of what the champion has won over the baseline: it has the right scale
for every metric and use case, and shrinks to nothing with the champion's lead. An equal candidate passes as
soon as the test part can tell a loss of the margin from none; where it cannot, the reason says so and names the two
remedies. A candidate that is worse beyond chance is refused even within the margin, so that the way down is not
taken in small steps, unless its loss is below a tenth of the margin: with many rows every difference is beyond chance.

*Calibrated* compares with what chance does to a perfectly calibrated predictor on as many rows.

*Behaviour* is asked of the exported graph itself, as a function of raw rows: see :mod:`aforo.evaluation.behaviour`.

*Asking a person* is for rules whose breach somebody can weigh: where nothing but rules named under ``ask`` failed,
the verdict is ``ask``, and a person promotes the candidate, by name and with a reason, or leaves it.

*Slices* and *groups of people* are judged the other way round: there are many, and most are small, so it is a loss, or
a difference, that has to be proven, and proven after correction for the number of comparisons.

References
----------
U.S. Food and Drug Administration, Non-Inferiority Clinical Trials to Establish Effectiveness, 2016 (a margin that
preserves a share of the reference's effect).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from aforo.contracts.prediction import LabelSets
from aforo.contracts.run import Verdict
from aforo.contracts.specification import Specification
from aforo.errors import UseCaseError
from aforo.evaluation import rules as ask
from aforo.evaluation.abstention import Abstention, keeps_its_word
from aforo.evaluation.answers import Answers
from aforo.evaluation.behaviour import BehaviourFinding
from aforo.evaluation.bootstrap import Interval
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.confidence import RiskCoverage, risk_coverage, sure_answers
from aforo.evaluation.costs import Costs, Economy
from aforo.evaluation.evaluate import EvaluationSpec, compare
from aforo.evaluation.examination import Examination, Questions, examine
from aforo.evaluation.explained import ExplainedRows
from aforo.evaluation.fairness import CutRates, FairnessSpec, Mitigation
from aforo.evaluation.gate_spec import GateSpec
from aforo.evaluation.leak import Alone
from aforo.evaluation.paired import PairedTests, paired_tests
from aforo.evaluation.reliability import ClassCalibration, ReliabilityCurve
from aforo.evaluation.rules import (
    BASELINE,
    CANDIDATE,
    CHAMPION,
    UNCALIBRATED,
    RuleOutcome,
)
from aforo.evaluation.sets import SetFigures
from aforo.evaluation.slices import ProtectedSlices, SliceSearch
from aforo.evaluation.subject import Subject
from aforo.evaluation.two_phase import FULL, SMALL, TwoPhaseFinding, TwoPhases, find, outcomes


class GateReport(Specification):
    """The verdict, the reasons, and everything they rest on; the first two lines are what a person wants to know."""

    verdict: Verdict
    reasons: tuple[str, ...]
    use_case: str
    candidate: str
    primary: str
    rules: tuple[RuleOutcome, ...]
    calibration: tuple[ClassCalibration, ...] = ()
    """Of the candidate, class by class; empty for a regression and where the names of the classes are not known."""
    reliability: ReliabilityCurve | None = None
    """What was claimed beside what came true, where ``calibration`` is there."""
    behaviour: tuple[BehaviourFinding, ...] = ()
    """What the behavioural rules found, in the order of ``use_case.yaml``."""
    protected_slices: ProtectedSlices | None = None
    slice_search: SliceSearch | None = None
    risk_coverage: RiskCoverage | None = None
    """What abstaining gains; ``None`` for a regression."""
    abstention: Abstention | None = None
    """When the candidate abstains; ``None`` where the use case does not ask for it."""
    fairness: tuple[CutRates, ...] = ()
    """How groups of people are answered, cut by cut; empty where no sensitive column is declared."""
    mitigation: tuple[Mitigation, ...] = ()
    """What group thresholds would cost; empty but for a binary task."""
    explained: ExplainedRows | None = None
    """What the candidate goes by."""
    sets: SetFigures | None = None
    """Sets of labels; ``None`` where none are asked for."""
    alone: tuple[Alone, ...] = ()
    """What each column explains by itself, the most first; empty where the rule ``no_leak`` is not asked."""
    paired: tuple[PairedTests, ...] = ()
    """Candidate against champion and baseline, where rows are taken as independent; empty for a regression."""
    economy: Economy | None = None
    """What the predictors' answers cost; ``None`` where no costs are declared."""
    two_phase: TwoPhaseFinding | None = None
    improvements: dict[str, Interval]
    """Over baseline and champion, in the primary metric; positive is better."""
    metrics: dict[str, dict[str, Interval]]
    undefined: tuple[str, ...]
    """Figures that these rows do not define, for example the ROC AUC where a class is too rare."""
    rows: int
    groups: int
    grouped_by: str | None
    resamples: int
    confidence: float
    seed: int

    def figures(self) -> dict[str, dict[str, float]]:
        """Return the figures without their intervals: predictor, then metric."""
        return {name: {m: i.value for m, i in row.items()} for name, row in self.metrics.items()}

    def to_json(self) -> bytes:
        """Return the report as indented JSON, verdict and reasons first."""
        return self.model_dump_json(indent=2).encode()


def judge(
    *,
    use_case: str,
    candidate_name: str,
    candidate: Answers,
    uncalibrated: Answers,
    baseline: Answers,
    champion: Answers | None,
    others: Mapping[str, Answers] | None = None,
    evaluation: EvaluationSpec,
    gate: GateSpec,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    subject: Subject | None = None,
    calibration: Subject | None = None,
    fairness: FairnessSpec | None = None,
    costs: Costs | None = None,
    abstention: Abstention | None = None,
    explained: ExplainedRows | None = None,
    sets: LabelSets | None = None,
    two_phase: TwoPhases | None = None,
    seed: int = 0,
) -> GateReport:
    """Judge a candidate on the frozen test rows.

    Parameters
    ----------
    candidate, uncalibrated
        The candidate's answers with and without its calibrator.
    champion
        The present champion's answers on the same rows; ``None`` if there is no champion.
    others
        More predictors to be measured, for the ladder; they decide nothing.
    groups
        Values of the column ``evaluation.bootstrap.by``, shape (N,).
    subject
        The candidate as a function, with the raw test rows; rules about behaviour, slices and groups need it.
    calibration
        The same with the rows it was calibrated on, on which thresholds may be chosen.
    fairness
        The groups of people to look at.
    costs
        What each mistake costs; it takes the classes' names, and so the subject, to read them.
    abstention
        When the candidate abstains, if the use case asks for that; the test part has to bear it out.
    explained
        What the candidate goes by; it decides nothing.
    sets
        How sets of labels are made of the uncalibrated answers; the classes' names are the subject's, too.
    two_phase
        The two models that the candidate is made of, if it is; its answers are those of both together.

    Raises
    ------
    UseCaseError
        A rule asks for a metric that the task does not have, or a predictor has a name that the gate uses itself.
    DataError
        The rows do not define a figure that decides.
    """
    predictors = {CANDIDATE: candidate, UNCALIBRATED: uncalibrated, BASELINE: baseline}
    if champion is not None:
        predictors[CHAMPION] = champion
    if two_phase is not None:
        predictors |= {FULL: two_phase.full, SMALL: two_phase.small}
    for name, answers in (others or {}).items():
        if name in (CANDIDATE, UNCALIBRATED, BASELINE, CHAMPION) or name in predictors:
            raise UseCaseError(f"{use_case}: a predictor is called {name!r}, which the gate uses itself; rename it")
        predictors[name] = answers
    measured = compare(predictors, evaluation, groups=groups, seed=seed)
    clusters = Clusters.of_rows(len(candidate), groups)
    primary = evaluation.primary_for(candidate.task)
    rules = []
    if gate.enough_test_rows is not None:
        rules.append(ask.enough_test_rows(measured, gate.enough_test_rows))
    if gate.beats_baseline is not None:
        rules.append(ask.beats_baseline(measured, gate.beats_baseline, primary))
    if gate.not_worse_than_champion is not None:
        rules.append(ask.not_worse_than_champion(measured, gate.not_worse_than_champion, primary))
    if gate.calibrated is not None:
        rules.extend(ask.calibrated(measured, gate.calibrated, candidate))
    asked = Examination()
    if subject is not None:
        questions = Questions(calibration=calibration, fairness=fairness, costs=costs, sets=sets)
        asked = examine(gate, subject, questions, predictors, measured, primary)
        rules.extend(asked.rules)
    elif gate.needs_a_predictor:
        raise ValueError(f"{use_case}: the gate asks about raw rows, and there is no predictor to ask")
    risk = None
    if candidate.task != "regression":
        max_risk = None if gate.sure_answers is None else gate.sure_answers.max_risk
        risk = risk_coverage(candidate, clusters, max_risk=max_risk, confidence=evaluation.bootstrap.confidence)
        if gate.sure_answers is not None:
            rules.append(sure_answers(risk, gate.sure_answers))
    if abstention is not None:
        rules.append(keeps_its_word(abstention))
    phases = None
    if two_phase is not None:
        phases = find(two_phase, measured, clusters)
        rules.extend(outcomes(phases, measured.metrics[phases.metric].title))
    failed = [rule for rule in rules if not rule.passed]
    return GateReport(
        verdict=_verdict(failed, gate),
        reasons=tuple(rule.why for rule in failed or rules),
        use_case=use_case,
        candidate=candidate_name,
        primary=primary,
        rules=tuple(rules),
        calibration=asked.calibration,
        reliability=asked.reliability,
        behaviour=tuple(asked.behaviour),
        protected_slices=asked.protected_slices,
        slice_search=asked.slice_search,
        risk_coverage=risk,
        abstention=abstention,
        fairness=asked.fairness,
        mitigation=asked.mitigation,
        explained=explained,
        paired=_paired(predictors, evaluation),
        economy=asked.economy,
        alone=asked.alone,
        sets=asked.sets,
        two_phase=phases,
        improvements={
            other: measured.improvement(CANDIDATE, other, primary)
            for other in (BASELINE, CHAMPION)
            if other in predictors
        },
        metrics=measured.table(),
        undefined=measured.undefined(),
        rows=measured.rows,
        groups=measured.groups,
        grouped_by=evaluation.bootstrap.by,
        resamples=evaluation.bootstrap.resamples,
        confidence=evaluation.bootstrap.confidence,
        seed=seed,
    )


def _verdict(failed: Sequence[RuleOutcome], gate: GateSpec) -> Verdict:
    if not failed:
        return "promote"
    return "ask" if all(rule.name in gate.ask for rule in failed) else "refuse"


def _paired(predictors: Mapping[str, Answers], evaluation: EvaluationSpec) -> tuple[PairedTests, ...]:
    candidate, bootstrap = predictors[CANDIDATE], evaluation.bootstrap
    if candidate.task == "regression":
        return ()
    return tuple(
        paired_tests(
            candidate, predictors[name], against=name, independent=bootstrap.by is None, confidence=bootstrap.confidence
        )
        for name in (CHAMPION, BASELINE)
        if name in predictors
    )
