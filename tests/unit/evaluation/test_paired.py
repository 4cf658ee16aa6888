"""McNemar's and DeLong's tests: by hand, and as other implementations have them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from aforo.evaluation import Answers
from aforo.evaluation.paired import delong, mcnemar, paired_tests


def answers(y: np.ndarray, yes: np.ndarray) -> Answers:
    return Answers("binary", y, probabilities=np.column_stack([1 - yes, yes]))


def right_and_wrong(both: int, ours: int, theirs: int, neither: int) -> tuple[Answers, Answers]:
    """Return two predictors of which so many rows are answered rightly by both, by one only, and by none."""
    y = np.ones(both + ours + theirs + neither, dtype=np.int64)
    counts = [both, ours, theirs, neither]
    first = np.repeat([0.9, 0.9, 0.1, 0.1], counts)
    second = np.repeat([0.9, 0.1, 0.9, 0.1], counts)
    return answers(y, first), answers(y, second)


@pytest.mark.parametrize(
    ("counts", "p_value"),
    [
        # statsmodels 0.15.0, mcnemar(table, exact=True)
        ((50, 12, 5, 33), 0.143463134765625),
        ((50, 130, 95, 33), 0.023197506839685394),
        # By hand: of three rows all on one side, 2 * 0.5 ** 3.
        ((10, 0, 3, 10), 0.25),
        ((10, 0, 0, 10), 1.0),
    ],
)
def test_mcnemars_p_value_is_that_of_statsmodels(counts: tuple[int, int, int, int], p_value: float):
    found = mcnemar(*right_and_wrong(*counts))

    assert (found.only_candidate, found.only_other) == counts[1:3]
    assert found.p_value == pytest.approx(p_value, rel=1e-12)


def test_delong_by_hand():
    # Of the four pairs the candidate orders three; the other knows nothing. The positives lie above 1 and 1/2 of the
    # negatives, which is 1/2 and 0 more than the other's; and the same for the negatives. So the variance is 0.125 / 2,
    # twice, and z is 0.25 / sqrt(0.125).
    y = np.array([1, 1, 0, 0])
    found = delong(answers(y, np.array([0.8, 0.4, 0.6, 0.2])), answers(y, np.full(4, 0.5)), 0.95)

    assert (found.candidate, found.other) == (0.75, 0.5)
    assert found.z == pytest.approx(0.5**0.5)
    assert found.p_value == pytest.approx(0.479500122186953)  # 2 * (1 - Phi(0.7071))
    assert found.difference.upper - found.difference.value == pytest.approx(1.959964 * 0.125**0.5)


@pytest.mark.parametrize(
    ("one", "other", "z", "p_value", "variance"),
    [
        # MLstatkit 0.1.91, Delong_test, whose z has the other sign.
        ("mean texture", "mean smoothness", 1.713344937315907, 0.08664909979344931, 0.0009853664082098753),
        ("mean compactness", "mean texture", 3.380944475002388, 0.0007223713855673108, 0.000676819531443355),
    ],
)
def test_delong_on_real_rows_with_ties_is_that_of_another_implementation(
    one: str, other: str, z: float, p_value: float, variance: float
):
    data = load_breast_cancer()
    y, names = (data.target == 0).astype(np.int64), list(data.feature_names)

    def scaled(name: str) -> np.ndarray:
        x = data.data[:, names.index(name)]
        return (x - x.min()) / (x.max() - x.min())

    found = delong(answers(y, scaled(one)), answers(y, scaled(other)), 0.95)

    assert found.candidate == pytest.approx(roc_auc_score(y, scaled(one)))
    assert found.other == pytest.approx(roc_auc_score(y, scaled(other)))
    assert found.z == pytest.approx(z)
    assert found.p_value == pytest.approx(p_value)
    assert found.difference.upper - found.difference.value == pytest.approx(1.959963984540054 * variance**0.5)


def test_a_predictor_against_itself_is_not_different():
    y = np.array([0, 1, 0, 1, 1])
    same = answers(y, np.array([0.1, 0.7, 0.4, 0.3, 0.9]))

    found = paired_tests(same, same, against="champion", independent=True, confidence=0.95)

    assert (found.mcnemar.p_value, found.delong.z, found.delong.p_value) == (1.0, 0.0, 1.0)


def test_delong_is_left_out_where_it_has_no_meaning():
    several = Answers("multiclass", np.array([0, 1, 2]), probabilities=np.full((3, 3), 1 / 3))
    one_class = answers(np.ones(3, dtype=np.int64), np.array([0.2, 0.6, 0.7]))

    for each in (several, one_class):
        assert paired_tests(each, each, against="baseline", independent=True, confidence=0.95).delong is None


def test_rows_that_repeat_each_other_deceive_both_tests():
    """Why the gate rests on the bootstrap over groups: the same rows ten times prove ten times as much to these."""
    rng = np.random.default_rng(2)
    signal = rng.normal(size=200)
    y = (rng.random(200) < 1 / (1 + np.exp(-signal))).astype(np.int64)
    claims = [1 / (1 + np.exp(-(signal + blur * rng.normal(size=200)))) for blur in (0.0, 1.0)]

    def p_values(times: int) -> tuple[float, float]:
        first, second = (answers(np.tile(y, times), np.tile(claim, times)) for claim in claims)
        return mcnemar(first, second).p_value, delong(first, second, 0.95).p_value

    once, ten_times = p_values(1), p_values(10)

    assert ten_times[0] < once[0] / 2
    assert ten_times[1] < once[1] / 2
