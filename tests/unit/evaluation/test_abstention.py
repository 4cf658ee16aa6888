from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from aforo.evaluation import Answers, BootstrapSpec
from aforo.evaluation.abstention import Abstain, Abstention, abstention, keeps_its_word

SPEC = BootstrapSpec(resamples=300)


def honest(rows: int, seed: int) -> Answers:
    """Claims that are true, with confidences spread evenly from a half to one."""
    rng = np.random.default_rng(seed)
    p = rng.random(rows)
    return Answers("binary", (rng.random(rows) < p).astype(np.int64), probabilities=np.column_stack([1 - p, p]))


def sure_of_everything(rows: int, seed: int) -> Answers:
    """The same rows with their claims at 0 and 1, which come true no more often."""
    claims = honest(rows, seed)
    p = np.where(claims.probabilities[:, 1] > 0.5, 0.99, 0.01)
    return Answers("binary", claims.y, probabilities=np.column_stack([1 - p, p]))


def widths(half: list[float]) -> Answers:
    value = np.zeros(len(half))
    return Answers("regression", value, value=value, interval=np.column_stack([-np.array(half), np.array(half)]))


def chosen(asked: dict[str, float], validation: Answers, test: Answers) -> Abstention:
    return abstention(Abstain(**asked), validation, test, spec=SPEC, seed=3)


def test_a_stated_risk_is_kept_on_rows_that_did_not_choose_it():
    found = chosen({"max_risk": 0.1}, honest(4000, seed=1), honest(4000, seed=2))
    outcome = keeps_its_word(found)

    # The risk of honest and even claims from confidence c on is (1 - c) / 2, and their coverage 2 (1 - c).
    assert 0.8 <= found.below <= 0.85
    assert found.risk.lower < (1 - found.below) / 2 < found.risk.upper
    assert found.coverage.lower < 2 * (1 - found.below) < found.coverage.upper
    assert outcome.passed
    assert outcome.figure == found.risk.value
    assert f"confidence of {found.below:.3f} on, chosen on 4,000 validation rows" in outcome.why


def test_a_stated_coverage_is_the_confidence_of_that_row():
    p = np.array([0.55, 0.6, 0.7, 0.8, 0.9])
    five = Answers("binary", np.ones(5, dtype=np.int64), probabilities=np.column_stack([1 - p, p]))

    assert [chosen({"coverage": share}, five, five).below for share in (0.2, 0.21, 0.6, 0.99)] == [0.9, 0.8, 0.7, 0.55]


def test_a_stated_coverage_is_reached_on_other_rows():
    found = chosen({"coverage": 0.9}, honest(4000, seed=1), honest(4000, seed=2))

    assert found.validation_coverage == 0.9
    assert found.below == pytest.approx(0.55, abs=0.01)
    assert found.coverage.lower < 0.9 < found.coverage.upper
    assert keeps_its_word(found).passed


def test_what_does_not_hold_on_the_test_part_is_refused():
    broken_risk = chosen({"max_risk": 0.1}, honest(4000, seed=1), sure_of_everything(4000, seed=2))
    broken_coverage = chosen({"coverage": 0.9}, sure_of_everything(4000, seed=1), honest(4000, seed=2))

    # Of even claims a quarter is wrong.
    assert broken_risk.risk.value == pytest.approx(0.25, abs=0.02)
    assert not keeps_its_word(broken_risk).passed
    assert keeps_its_word(broken_risk).margin == pytest.approx(-0.15, abs=0.02)
    assert broken_coverage.coverage.value == pytest.approx(0.02, abs=0.01)
    assert not keeps_its_word(broken_coverage).passed


def test_where_no_confidence_keeps_the_risk_nothing_is_answered_and_the_gate_refuses():
    found = chosen({"max_risk": 0.001}, honest(300, seed=1), honest(300, seed=2))
    outcome = keeps_its_word(found)

    assert found.below == 1.0
    assert (found.coverage.value, found.risk, found.validation_risk) == (0.0, None, None)
    assert not outcome.passed
    assert "No confidence is proven to keep the risk on 300 validation rows" in outcome.why


def test_a_regression_abstains_from_wide_intervals():
    found = chosen({"max_width": 3.0}, widths([1, 1, 2]), widths([1, 1.5, 2, 2]))

    # Widths of 2, 3, 4 and 4: two of four are answered.
    assert (found.above, found.below) == (3.0, None)
    assert found.coverage.value == 0.5
    assert found.validation_coverage == pytest.approx(2 / 3)
    assert found.risk is None
    assert keeps_its_word(found).passed
    assert not keeps_its_word(chosen({"max_width": 1.0}, widths([1, 1]), widths([1, 2]))).passed


def test_rows_that_belong_together_widen_what_is_said_of_the_test_part():
    days = np.repeat(np.arange(40), 100)
    rng = np.random.default_rng(0)
    p = np.clip(0.5 + 0.5 * rng.random(40)[days], 0, 0.999)
    together = Answers("binary", np.ones(4000, dtype=np.int64), probabilities=np.column_stack([1 - p, p]))
    asked = Abstain(coverage=0.5)
    alone, grouped = (
        abstention(asked, together, together, groups=groups, spec=SPEC, seed=1).coverage for groups in (None, days)
    )

    assert grouped.upper - grouped.lower > 5 * (alone.upper - alone.lower)


@pytest.mark.parametrize("asked", [{}, {"max_risk": 0.1, "coverage": 0.5}, {"max_risk": 0}, {"coverage": 1.0}])
def test_one_thing_is_asked_for(asked):
    with pytest.raises(ValidationError):
        Abstain(**asked)


def test_the_gate_and_the_report_have_it(large_shop):
    from aforo.evaluation import GateSpec, judge

    subject = large_shop.subject(large_shop.right)
    candidate = subject.answers()
    found = abstention(Abstain(coverage=0.8), candidate, candidate, spec=SPEC, seed=1)
    report = judge(
        use_case="shop",
        candidate_name="c",
        candidate=candidate,
        uncalibrated=candidate,
        baseline=candidate,
        champion=None,
        evaluation=large_shop.measured(subject).spec,
        gate=GateSpec(beats_baseline=None, not_worse_than_champion=None),
        abstention=found,
    )

    assert [rule.name for rule in report.rules if rule.name == "abstention"] == ["abstention"]
    assert report.abstention == found
