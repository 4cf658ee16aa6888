from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from aforo.errors import UseCaseError
from aforo.evaluation import Answers, BootstrapSpec, EvaluationSpec, GateReport, GateSpec, RuleOutcome, judge

ROWS = 4000


class World:
    """Rows with known true probabilities, and predictors of any quality on them."""

    def __init__(self, rows: int = ROWS, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.signal = self.rng.normal(size=rows)
        self.truth = sigmoid(1.5 * self.signal - 1)
        self.y = (self.rng.random(rows) < self.truth).astype(np.int64)
        self.groups = np.arange(rows) % 50

    def answers(self, yes: np.ndarray) -> Answers:
        return Answers("binary", self.y, probabilities=np.column_stack([1 - yes, yes]))

    def blurred(self, noise: float, seed: int = 1) -> Answers:
        blur = noise * np.random.default_rng(seed).normal(size=len(self.y))
        return self.answers(sigmoid(1.5 * self.signal - 1 + blur))

    @property
    def baseline(self) -> Answers:
        return self.answers(np.full(len(self.y), self.y.mean()))

    def judge(
        self,
        candidate: Answers,
        *,
        uncalibrated: Answers | None = None,
        champion: Answers | None = None,
        gate: GateSpec | None = None,
        **evaluation: object,
    ) -> GateReport:
        return judge(
            use_case="flight_delay",
            candidate_name="boosted_trees",
            candidate=candidate,
            uncalibrated=uncalibrated or candidate,
            baseline=self.baseline,
            champion=champion,
            evaluation=EvaluationSpec(bootstrap=BootstrapSpec(by="date", resamples=500), **evaluation),
            gate=gate or GateSpec(),
            groups=self.groups,
        )


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def failed(report: GateReport) -> list[str]:
    return [rule.name for rule in report.rules if not rule.passed]


def rule_of(report: GateReport, name: str) -> RuleOutcome:
    return next(rule for rule in report.rules if rule.name == name)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_a_good_candidate_is_promoted_with_a_reason_for_each_rule(world: World):
    report = world.judge(world.answers(world.truth))

    assert report.verdict == "promote"
    assert len(report.reasons) == len(report.rules) == 5
    assert "There is no champion to compare with." in report.reasons


def test_a_candidate_that_is_the_baseline_is_refused(world: World):
    report = world.judge(world.baseline)

    assert failed(report) == ["beats_baseline"]
    assert report.reasons == (rule_of(report, "beats_baseline").why,)


def test_a_candidate_that_beats_the_baseline_by_luck_is_refused():
    # Noise around the base rate wins against it on some test parts; never beyond its interval by right.
    promoted = 0
    for seed in range(20):
        small = World(rows=200, seed=seed)
        noise = np.clip(small.y.mean() + 0.05 * small.rng.normal(size=200), 0.01, 0.99)
        promoted += small.judge(small.answers(noise)).verdict == "promote"

    assert promoted <= 2


def test_an_equal_candidate_is_promoted_whatever_the_noise_between_it_and_the_champion(world: World):
    promoted = [
        world.judge(world.blurred(0.3, seed=seed), champion=world.blurred(0.3, seed=100 + seed)).verdict
        for seed in range(10)
    ]

    assert promoted.count("promote") >= 9


def test_a_clearly_worse_candidate_is_refused_for_the_champions_sake(world: World):
    report = world.judge(world.blurred(1.2), champion=world.answers(world.truth), gate=GateSpec(calibrated=None))

    assert failed(report) == ["not_worse_than_champion"]
    assert rule_of(report, "not_worse_than_champion").margin < 0


def test_a_small_loss_that_is_beyond_chance_is_refused_within_the_margin_too():
    many = World(rows=60_000, seed=3)
    report = many.judge(many.blurred(0.45), champion=many.answers(many.truth), gate=GateSpec(calibrated=None))

    rule = rule_of(report, "not_worse_than_champion")
    assert not rule.passed
    assert "chance does not explain it" in rule.why
    assert report.improvements["champion"].lower > -0.2 * report.improvements["baseline"].value


def test_a_negligible_loss_is_no_reason_however_sure_it_is():
    many = World(rows=60_000, seed=3)
    slightly_off = many.answers(np.clip(many.truth + 0.01, 0, 1))
    report = many.judge(slightly_off, champion=many.answers(many.truth))

    assert report.improvements["champion"].upper < 0
    assert report.verdict == "promote"


def test_a_test_part_too_small_to_tell_says_so_instead_of_letting_a_worse_candidate_through():
    few = World(rows=120, seed=5)
    report = few.judge(few.blurred(1.5), champion=few.answers(few.truth), gate=GateSpec(calibrated=None))

    rule = rule_of(report, "not_worse_than_champion")
    assert not rule.passed
    assert "More test rows or a larger margin could decide it" in rule.why


def test_the_champions_own_predictions_are_never_refused_for_the_champions_sake(world: World):
    same = world.blurred(0.5)

    assert rule_of(world.judge(same, champion=same), "not_worse_than_champion").passed


def test_a_miscalibrated_candidate_is_refused(world: World):
    report = world.judge(world.answers(sigmoid(3 * (1.5 * world.signal - 1))))

    assert failed(report) == ["calibrated"]
    assert "above 0.05; chance alone gives up to" in report.reasons[0]


def test_chance_is_no_miscalibration():
    # On 100 rows in 15 bins the calibration error of the true probabilities is about 0.1.
    verdicts = []
    for seed in range(20):
        few = World(rows=100, seed=seed)
        verdicts.append(rule_of(few.judge(few.answers(few.truth)), "calibrated").passed)

    assert sum(verdicts) >= 17


def test_calibration_that_does_harm_is_refused(world: World):
    harmed = world.answers(sigmoid(1.4 * (1.5 * world.signal - 1)))
    gate = GateSpec.model_validate({"calibrated": {"max_ece": 0.2}})

    report = world.judge(harmed, uncalibrated=world.answers(world.truth), gate=gate)

    assert failed(report) == ["calibration_does_no_harm"]


@pytest.mark.parametrize("rule", [{"rows": ROWS + 1}, {"groups": 51}])
def test_too_few_test_rows_or_groups_are_refused(world: World, rule: dict[str, int]):
    gate = GateSpec.model_validate({"enough_test_rows": rule})

    report = world.judge(world.answers(world.truth), gate=gate)

    assert failed(report) == ["enough_test_rows"]
    assert rule_of(report, "enough_test_rows").margin == -1


def test_a_rule_set_to_null_is_not_asked(world: World):
    gate = GateSpec.model_validate({"beats_baseline": None, "calibrated": None})

    report = world.judge(world.baseline, gate=gate)

    assert report.verdict == "promote"
    assert [rule.name for rule in report.rules] == ["enough_test_rows", "not_worse_than_champion"]


def test_a_rule_may_look_at_another_metric_than_the_primary_one(world: World):
    gate = GateSpec.model_validate({"beats_baseline": {"metric": "roc_auc", "margin": 0.45}})

    report = world.judge(world.answers(world.truth), gate=gate)

    assert rule_of(report, "beats_baseline").bound == 0.45
    assert "ROC AUC" in rule_of(report, "beats_baseline").why


@pytest.mark.parametrize("metric", ["rmse", "interval_coverage"])
def test_a_rule_over_a_metric_of_another_task_is_refused(world: World, metric: str):
    gate = GateSpec.model_validate({"beats_baseline": {"metric": metric}})

    with pytest.raises(UseCaseError, match=f"a binary task cannot be decided by '{metric}'"):
        world.judge(world.answers(world.truth), gate=gate)


def test_a_predictor_may_not_take_a_name_of_the_gates(world: World):
    with pytest.raises(UseCaseError, match="a predictor is called 'champion'"):
        judge(
            use_case="flight_delay",
            candidate_name="linear",
            candidate=world.baseline,
            uncalibrated=world.baseline,
            baseline=world.baseline,
            champion=None,
            others={"champion": world.baseline},
            evaluation=EvaluationSpec(),
            gate=GateSpec(),
        )


def test_a_misspelt_rule_is_refused():
    with pytest.raises(ValidationError, match="beats_basline"):
        GateSpec.model_validate({"beats_basline": {}})


def test_the_report_begins_with_verdict_and_reasons_and_reads_back_as_it_was(world: World):
    report = world.judge(world.answers(world.truth), champion=world.blurred(0.3))

    document = report.to_json()

    assert list(json.loads(document))[:2] == ["verdict", "reasons"]
    assert GateReport.model_validate_json(document) == report
    assert set(report.metrics) == {"candidate", "uncalibrated", "baseline", "champion"}
    assert report.figures()["candidate"]["brier"] == report.metrics["candidate"]["brier"].value
    assert report.groups == 50


def regression(width: float, rows: int = 600) -> dict[str, Answers]:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=rows)
    y = signal + rng.normal(size=rows)
    bounds = np.column_stack([signal - width, signal + width])
    candidate = Answers("regression", y, value=signal, interval=bounds, coverage=0.9)
    return {
        "candidate": candidate,
        "uncalibrated": Answers("regression", y, value=signal),
        "baseline": Answers("regression", y, value=np.zeros(rows)),
    }


@pytest.mark.parametrize(("width", "verdict"), [(1.645, "promote"), (1.0, "refuse"), (3.0, "refuse")])
def test_intervals_have_to_hold_what_they_promise(width: float, verdict: str):
    report = judge(
        use_case="newborn_weight",
        candidate_name="linear",
        champion=None,
        evaluation=EvaluationSpec(),
        gate=GateSpec(),
        **regression(width),
    )

    assert report.verdict == verdict
    assert "promise 90.0%" in rule_of(report, "calibrated").why


def test_several_classes_are_judged_like_two():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4) * 0.3, size=1500)
    y = (rng.random((1500, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    shares = np.bincount(y, minlength=4) / 1500
    candidate = Answers("multiclass", y, probabilities=probabilities)

    report = judge(
        use_case="digits",
        candidate_name="linear",
        candidate=candidate,
        uncalibrated=candidate,
        baseline=Answers("multiclass", y, probabilities=np.tile(shares, (1500, 1))),
        champion=candidate,
        evaluation=EvaluationSpec(),
        gate=GateSpec(),
    )

    assert report.verdict == "promote"


@pytest.mark.parametrize(
    ("ask", "verdict"),
    [((), "refuse"), (("beats_baseline",), "refuse"), (("enough_test_rows", "beats_baseline"), "ask")],
)
def test_a_person_is_asked_only_where_nothing_failed_but_what_is_left_to_them(
    world: World, ask: tuple[str, ...], verdict: str
):
    gate = GateSpec(enough_test_rows={"rows": ROWS + 1}, beats_baseline={"margin": 0.9}, ask=ask)

    report = world.judge(world.answers(world.truth), gate=gate)

    assert failed(report) == ["enough_test_rows", "beats_baseline"]
    assert report.verdict == verdict
    assert report.reasons == tuple(rule.why for rule in report.rules if not rule.passed)
