"""The confidence of two phases and the gate's rules about them, on rows that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from aforo.contracts.run import PhaseChoice
from aforo.errors import TrainingError
from aforo.evaluation import Answers, BootstrapSpec, EvaluationSpec
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.evaluate import compare
from aforo.evaluation.two_phase import (
    FULL,
    SMALL,
    TwoPhaseFinding,
    TwoPhases,
    TwoPhaseSpec,
    choose_confidence,
    combined,
    find,
    outcomes,
)


def binary(y: list[int], yes: list[float]) -> Answers:
    p = np.array(yes)
    return Answers("binary", np.array(y), probabilities=np.column_stack([1 - p, p]))


# Ten rows, from the surest of the small model to the least sure; the full model is right about all but the last.
Y = [1] * 10
FULL_ANSWERS = binary(Y, [0.9] * 9 + [0.1])


def small(wrong: set[int]) -> Answers:
    sure = np.linspace(0.99, 0.54, 10)
    return binary(Y, [1 - p if row in wrong else p for row, p in enumerate(sure)])


@pytest.mark.parametrize(
    ("wrong", "max_loss", "share", "loss"),
    [
        (set(), 0.0, 1.0, -0.1),  # never wrong: it answers all, and the full one's mistake is gone
        ({6}, 0.0, 0.6, 0.0),  # until its first mistake; row 9, where it is right, comes too late to make up for it
        ({6}, 0.1, 1.0, 0.0),  # one row in ten may be lost on the way
        ({3, 5}, 0.1, 0.5, 0.1),
        ({9}, 0.0, 1.0, 0.0),  # both are wrong about the last
    ],
)
def test_the_small_model_answers_from_its_surest_rows_on_until_too_much_is_lost(
    wrong: set[int], max_loss: float, share: float, loss: float
):
    choice = choose_confidence(FULL_ANSWERS, small(wrong), TwoPhaseSpec(max_loss=max_loss))

    sure = small(wrong).probabilities.max(axis=1)
    assert choice.validation_share == pytest.approx(share)
    assert choice.validation_loss == pytest.approx(loss)
    assert choice.confidence == pytest.approx(sorted(sure)[::-1][round(share * 10) - 1])


def test_rows_of_equal_confidence_come_together():
    equal = binary(Y, [0.9, 0.1] + [0.7] * 8)

    # 0.9 is the confidence of the first two rows: the first right, the second wrong.
    with pytest.raises(TrainingError, match="the surest rows of the small model lose more than 0 of accuracy already"):
        choose_confidence(FULL_ANSWERS, equal, TwoPhaseSpec(max_loss=0))


def test_another_metric_can_be_what_is_lost():
    # Right about everything, and worse by the Brier score: 0.6 instead of 0.9 costs 0.16 - 0.01 a row.
    unsure = binary(Y, [0.6] * 10)
    right = binary(Y, [0.9] * 10)

    assert choose_confidence(right, unsure, TwoPhaseSpec(max_loss=0)).validation_share == 1
    with pytest.raises(TrainingError, match="of brier already"):
        choose_confidence(right, unsure, TwoPhaseSpec(max_loss=0.149, metric="brier"))
    assert choose_confidence(right, unsure, TwoPhaseSpec(max_loss=0.151, metric="brier")).validation_share == 1


def found(lost_rows: int, by_small: int, rows: int = 1000, **spec: float) -> TwoPhaseFinding:
    """The full model is always right; the small one answers the first rows, and is wrong about some of them."""
    y = [1] * rows
    full, quick = binary(y, [0.9] * rows), binary(y, [0.1] * lost_rows + [0.95] * (rows - lost_rows))
    mask = np.arange(rows) < by_small
    phases = TwoPhases(
        spec=TwoPhaseSpec(**{"max_loss": 0.002, "min_share": 0.6} | spec),
        choice=PhaseChoice(confidence=0.9, validation_share=0.7, validation_loss=0.0),
        by_small=mask,
        full=full,
        small=quick,
        full_bytes=1000,
        small_bytes=100,
    )
    predictors = {"candidate": combined(full, quick, mask), FULL: full, SMALL: quick}
    spec_of_all = EvaluationSpec(bootstrap=BootstrapSpec(resamples=500))
    measured = compare(predictors, spec_of_all, groups=None, seed=0)
    return find(phases, measured, Clusters.single_rows(rows))


def test_share_and_loss_are_those_of_the_test_rows_with_intervals():
    finding = found(lost_rows=20, by_small=700)

    assert (finding.share.value, finding.lost.value) == (pytest.approx(0.7), pytest.approx(0.02))
    # Of a share p of 1,000 independent rows: p ± 1.96 sqrt(p (1 - p) / 1,000).
    assert (finding.share.lower, finding.share.upper) == (
        pytest.approx(0.672, abs=0.004),
        pytest.approx(0.728, abs=0.004),
    )
    assert (finding.lost.lower, finding.lost.upper) == (
        pytest.approx(0.011, abs=0.002),
        pytest.approx(0.029, abs=0.002),
    )


@pytest.mark.parametrize(
    ("lost_rows", "by_small", "passed"),
    [(0, 700, [True, True]), (3, 700, [True, True]), (20, 700, [False, True]), (0, 500, [True, False])],
)
def test_a_loss_must_be_proven_and_a_share_must_be_there(lost_rows: int, by_small: int, passed: list[bool]):
    ruled = outcomes(found(lost_rows, by_small), "Accuracy")

    assert [rule.name for rule in ruled] == ["two_phase_loss", "two_phase_share"]
    assert [rule.passed for rule in ruled] == passed
    assert all(rule.passed == (rule.margin is not None and rule.margin >= 0) for rule in ruled)


def test_the_reasons_say_what_was_lost_and_who_answered():
    loss, share = outcomes(found(lost_rows=20, by_small=500), "Accuracy")

    assert loss.why.startswith("Accuracy: two phases lose 0.02 [0.01")
    assert loss.why.endswith("0.002 is allowed, and chance does not explain it.")
    assert share.why == "The small model (100 of 1,000 bytes) answers 50.0% of the rows; 60% are asked for."


def test_one_line_of_yaml_is_enough():
    spec = TypeAdapter(TwoPhaseSpec).validate_python({"max_loss": 0.002})

    assert (spec.small.kind, spec.metric, spec.min_share) == ("quantized_network", "accuracy", 0.5)
    with pytest.raises(ValidationError, match="max_loss"):
        TwoPhaseSpec.model_validate({})
