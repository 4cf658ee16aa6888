from __future__ import annotations

import numpy as np
import pytest

from aforo.contracts.prediction import LabelSets
from aforo.evaluation import Answers, BootstrapSpec, EvaluationSpec, GateReport, GateSpec, judge
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.noise import largest_coverage_gap_by_chance
from aforo.evaluation.rules import Calibrated
from aforo.evaluation.sets import set_figures, sets_cover

FEW = BootstrapSpec(resamples=200)


def test_coverage_and_sizes_by_hand():
    outputs = np.array([[0.9, 0.1], [0.6, 0.4], [0.55, 0.45], [0.2, 0.8]] * 25)
    answers = Answers("binary", np.array([0, 1, 0, 0] * 25), probabilities=outputs)
    rule = LabelSets(coverage=0.7, threshold=0.45, calibration_rows=500)

    found = set_figures(answers, rule, ("no", "yes"), Clusters.single_rows(100), FEW, 0)

    # {no}, {no}, {no, yes}, {yes}: the first and the third hold the truth.
    assert (found.observed.value, found.size.value, found.sizes) == (0.5, 1.25, (0.0, 0.75, 0.25))
    assert found.by_class == {"no": pytest.approx(2 / 3), "yes": 0.0}
    assert sets_cover(found, Calibrated(), 100, 0.95, 0).passed is False


def test_what_chance_does_to_coverage_counts_the_calibration_rows_too():
    # The normal approximation of both: sqrt(0.09 / 400), and with 100 calibration rows sqrt(0.09 / 400 + 0.09 / 102).
    asked = {"confidence": 0.95, "seed": 0}
    assert largest_coverage_gap_by_chance(400, 0.9, **asked) == pytest.approx(1.96 * 0.015, abs=0.002)
    assert largest_coverage_gap_by_chance(400, 0.9, calibration_rows=100, **asked) == pytest.approx(
        1.96 * (0.09 / 400 + 0.09 / 102) ** 0.5, abs=0.004
    )


def test_sets_that_hold_more_than_they_promise_break_no_promise():
    answers = Answers("binary", np.array([0, 1] * 200), probabilities=np.full((400, 2), 0.5))
    rule = LabelSets(coverage=0.6, threshold=0.5, calibration_rows=500)
    found = set_figures(answers, rule, ("no", "yes"), Clusters.single_rows(400), FEW, 0)

    outcome = sets_cover(found, Calibrated(), 400, 0.95, 0)

    assert found.observed.value == 1.0
    assert outcome.passed
    assert outcome.figure == pytest.approx(-0.4)


def judged(large_shop, threshold: float) -> GateReport:
    subject = large_shop.subject(large_shop.right)
    share = np.full(len(subject), large_shop.y.mean())
    return judge(
        use_case="shop",
        candidate_name="candidate",
        candidate=subject.answers(),
        uncalibrated=subject.answers(),
        baseline=Answers("binary", large_shop.y, probabilities=np.column_stack([1 - share, share])),
        champion=None,
        evaluation=EvaluationSpec(bootstrap=FEW),
        gate=GateSpec(),
        subject=subject,
        sets=LabelSets(coverage=0.9, threshold=threshold, calibration_rows=1000),
    )


def test_a_candidate_whose_sets_are_too_small_is_refused_for_that(large_shop):
    right = large_shop.subject(large_shop.right).answers()
    honest = float(np.quantile(right.probabilities[np.arange(len(right)), right.y], 0.1))

    good, bad = judged(large_shop, honest), judged(large_shop, 0.5)

    assert good.verdict == "promote"
    assert [rule.name for rule in bad.rules if not rule.passed] == ["sets_cover"]
    assert GateReport.model_validate_json(bad.to_json()) == bad
