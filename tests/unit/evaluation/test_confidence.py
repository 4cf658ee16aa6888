from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from aforo.errors import DataError
from aforo.evaluation import Answers
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.confidence import SureAnswers, risk_coverage, sure_answers


def binary(p: np.ndarray, y: np.ndarray) -> Answers:
    return Answers("binary", y, probabilities=np.column_stack([1 - p, p]))


def honest(rows: int, seed: int) -> Answers:
    rng = np.random.default_rng(seed)
    p = rng.random(rows)
    return binary(p, (rng.random(rows) < p).astype(np.int64))


def test_risk_and_coverage_by_hand():
    # Confidence 0.9, 0.8, 0.8, 0.6; right, wrong, right, wrong. Rows of one confidence are answered together.
    answers = binary(np.array([0.9, 0.2, 0.8, 0.6]), np.array([1, 1, 1, 0]))

    found = risk_coverage(answers, Clusters.single_rows(4))

    assert [(point.coverage, point.confidence) for point in found.curve] == [(0.25, 0.9), (0.75, 0.8), (1.0, 0.6)]
    assert [point.risk for point in found.curve] == pytest.approx([0, 1 / 3, 1 / 2])
    # One row at risk 0, two at 1/3, one at 1/2.
    assert found.area == pytest.approx((0 + 2 / 3 + 1 / 2) / 4)
    assert found.kept is None


def test_the_bound_is_clopper_and_pearsons_where_rows_are_independent():
    answers = honest(400, seed=1)

    for point in risk_coverage(answers, Clusters.single_rows(400)).curve:
        rows = round(point.coverage * 400)
        exact = binomtest(round(point.risk * rows), rows).proportion_ci(0.9, method="exact").high
        assert point.risk_upper == pytest.approx(exact)


def test_rows_that_belong_together_widen_the_bound():
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(20), 50)
    p = np.full(1000, 0.8) + 0.1 * rng.random(1000)
    # On some days everything goes wrong.
    y = np.where(rng.random(20)[day] < 0.2, 0, 1)

    together = risk_coverage(binary(p, y), Clusters.of(day)).curve[-1]
    alone = risk_coverage(binary(p, y), Clusters.single_rows(1000)).curve[-1]

    assert together.risk == alone.risk
    assert together.risk_upper > alone.risk_upper + 0.05


def test_the_risk_that_was_asked_for_is_kept_on_new_rows():
    # 95 % of thresholds have to keep a risk of 10 %; 100 draws allow 11 (binomial, one in a hundred).
    broken = 0
    for seed in range(100):
        kept = risk_coverage(honest(1000, seed), Clusters.single_rows(1000), max_risk=0.1).kept
        # The true risk from confidence c on, for honest and even claims, is (1 - c) / 2.
        broken += kept is not None and (1 - kept.confidence) / 2 > 0.1

    assert broken <= 11


def test_a_model_that_is_never_sure_is_refused_and_one_that_knows_when_it_knows_passes():
    rule = SureAnswers(max_risk=0.1, min_coverage=0.3)
    unsure = binary(np.full(1000, 0.6), (np.arange(1000) % 10 < 6).astype(np.int64))

    refused = sure_answers(risk_coverage(unsure, Clusters.single_rows(1000), max_risk=0.1), rule)
    passed = sure_answers(risk_coverage(honest(5000, 0), Clusters.single_rows(5000), max_risk=0.1), rule)

    assert (refused.passed, refused.figure) == (False, 0.0)
    assert "no rows can be answered" in refused.why
    assert passed.passed
    # (1 - c) / 2 = 0.1 at c = 0.8, and 40 % of even claims are as sure.
    assert 0.3 <= passed.figure <= 0.4


def test_too_few_rows_to_prove_anything_are_passed_over_not_held_against_the_model():
    # 200 rows without a mistake: 5 % of them are 10, whose bound is 26 %; 59 rows or more have one below 5 %.
    p = 0.6 + 0.3 * np.arange(200) / 200

    kept = risk_coverage(binary(p, np.ones(200, dtype=np.int64)), Clusters.single_rows(200), max_risk=0.05).kept

    assert kept.coverage == 1.0
    assert kept.risk_upper == pytest.approx(1 - 0.05 ** (1 / 200))


def test_a_regression_has_no_labels():
    with pytest.raises(DataError, match="no labels that could be wrong"):
        risk_coverage(Answers("regression", np.ones(3), value=np.ones(3)), Clusters.single_rows(3))
