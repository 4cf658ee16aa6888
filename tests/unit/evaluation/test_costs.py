"""What answers cost, which threshold makes them cheapest, and what a better model saves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aforo.evaluation import Answers, BootstrapSpec, EvaluationSpec, GateReport, GateSpec, judge
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.costs import Costs, Worth, cheapest_threshold, expected_threshold, price

LATE = Costs({"on_time": {"late": 1.0}, "late": {"on_time": 4.0}})
CLASSES = ("on_time", "late")
FEW = BootstrapSpec(resamples=300)


def answers(y: list[int] | np.ndarray, yes: list[float] | np.ndarray, threshold: float = 0.5) -> Answers:
    p = np.asarray(yes, dtype=np.float64)
    return Answers("binary", np.asarray(y), probabilities=np.column_stack([1 - p, p]), threshold=threshold)


def test_the_matrix_has_true_classes_as_rows_and_what_is_left_out_is_free():
    assert LATE.matrix(CLASSES).tolist() == [[0, 1], [4, 0]]
    assert LATE.matrix(("late", "on_time")).tolist() == [[0, 4], [1, 0]]


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ({"early": {"late": 1}}, "costs names early; the classes are on_time, late"),
        ({"on_time": {"late": 0}}, "no mistake a cost"),
        ({"late": {"late": 2, "on_time": 1}}, "to answer on_time where late is true is cheaper than the right answer"),
        ({"late": {"on_time": float("inf")}}, "not finite"),
    ],
)
def test_costs_that_make_no_sense_are_refused(shop, costs: dict[str, dict[str, float]], message: str):
    contract = shop.subject(shop.right).contract.model_copy(update={"classes": CLASSES})

    with pytest.raises(ValueError, match=message):
        Costs.model_validate(costs).check(contract)
    with pytest.raises(ValueError, match="a regression has none"):
        LATE.check(contract.model_copy(update={"task": "regression"}))
    LATE.check(contract)


def test_the_threshold_that_costs_alone_give_is_elkans():
    # One false alarm costs a quarter of a miss: late is worth answering from 1 in 5 on.
    assert expected_threshold(LATE.matrix(CLASSES)) == 0.2
    # To treat costs 2 whether it was needed or not; to miss costs 10.
    assert expected_threshold(np.array([[0.0, 2.0], [10.0, 2.0]])) == pytest.approx(0.2)


def test_the_cheapest_threshold_by_hand():
    # Late from 0.6 on: one miss, 4. From 0.3 on: one false alarm, 1. From 0.1 on: two, 2. So between 0.1 and 0.3.
    assert cheapest_threshold(
        np.array([0.9, 0.6, 0.3, 0.3, 0.1]), np.array([1, 1, 1, 0, 0]), LATE.matrix(CLASSES)
    ) == pytest.approx(0.2)


def test_where_one_answer_is_always_cheapest_the_threshold_is_at_its_end():
    claims = np.array([0.4, 0.5, 0.6])

    assert cheapest_threshold(claims, np.array([1, 1, 1]), LATE.matrix(CLASSES)) == 0.0
    assert cheapest_threshold(claims, np.array([0, 0, 0]), LATE.matrix(CLASSES)) == 1.0


@given(
    rows=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1)), min_size=1, max_size=40),
    miss=st.integers(0, 5),
    false_alarm=st.integers(1, 5),
)
def test_no_other_threshold_is_cheaper(rows: list[tuple[int, int]], miss: int, false_alarm: int):
    claims, y = np.array([c / 21 for c, _ in rows]), np.array([label for _, label in rows])
    matrix = np.array([[0.0, false_alarm], [miss, 0.0]])

    def cost(threshold: float) -> float:
        return float(matrix[y, (claims >= threshold).astype(np.int64)].sum())

    found = cheapest_threshold(claims, y, matrix)

    assert cost(found) == min(cost(level / 42) for level in range(43))


def test_with_honest_probabilities_both_ways_to_a_threshold_agree():
    rng = np.random.default_rng(0)
    claims = rng.random(200_000)

    found = cheapest_threshold(claims, (rng.random(200_000) < claims).astype(np.int64), LATE.matrix(CLASSES))

    assert found == pytest.approx(0.2, abs=0.02)


def test_costs_and_savings_by_hand():
    # At 0.5 the candidate misses one of four rows, 4 / 4; the baseline answers on time, and misses two, 8 / 4.
    y = [1, 1, 0, 0] * 30
    predictors = {"candidate": answers(y, [0.9, 0.3, 0.2, 0.1] * 30), "baseline": answers(y, [0.4] * 120)}
    calibration = answers([1, 0], [0.28, 0.2])

    found = price(predictors, LATE.matrix(CLASSES), Clusters.single_rows(120), FEW, 0, calibration)

    candidate, baseline = found.predictors
    assert (candidate.per_row.value, candidate.saving) == (1.0, None)
    assert (baseline.per_row.value, baseline.saving.value) == (2.0, 1.0)
    # On the calibration rows the cheapest threshold lies between 0.2 and 0.28; here it makes no mistake.
    assert (found.best.threshold, found.best.served) == (pytest.approx(0.24), 0.5)
    assert (found.best.per_row.value, found.best.saving.value) == (0.0, 1.0)


def test_of_several_classes_there_is_a_cost_and_no_threshold():
    y = np.array([0, 1, 2] * 20)
    right = Answers("multiclass", y, probabilities=np.eye(3)[y] * 0.7 + 0.1)
    first = Answers("multiclass", y, probabilities=np.tile([0.6, 0.2, 0.2], (60, 1)))
    matrix = np.array([[0.0, 1.0, 1.0], [2.0, 0.0, 1.0], [5.0, 1.0, 0.0]])

    found = price({"candidate": right, "baseline": first}, matrix, Clusters.single_rows(60), FEW, 0, right)

    assert [one.per_row.value for one in found.predictors] == [0.0, pytest.approx(7 / 3)]
    assert found.best is None


def judged(large_shop, candidate, costs: Costs | None = None, **worth: float) -> GateReport:
    subject = large_shop.subject(candidate)
    share = np.full(len(subject), large_shop.y.mean())
    return judge(
        use_case="shop",
        candidate_name="candidate",
        candidate=subject.answers(),
        uncalibrated=subject.answers(),
        baseline=answers(large_shop.y, share),
        champion=None,
        evaluation=EvaluationSpec(bootstrap=FEW),
        gate=GateSpec(worth=Worth(**worth)),
        subject=subject,
        calibration=subject,
        costs=costs or Costs({"no": {"yes": 1}, "yes": {"no": 1}}),
    )


def test_a_candidate_has_to_be_worth_it(large_shop):
    good = judged(large_shop, large_shop.right)
    assert good.verdict == "promote"
    saving = next(one.saving for one in good.economy.predictors if one.name == "baseline")
    (rule,) = [rule for rule in good.rules if rule.name == "worth"]
    assert (rule.figure, rule.bound, rule.margin) == (saving.lower, 0.0, saving.lower)

    asked_too_much = judged(large_shop, large_shop.right, min_saving=0.5)
    assert [rule.name for rule in asked_too_much.rules if not rule.passed] == ["worth"]


def test_a_candidate_that_ranks_better_and_decides_no_better_is_worth_nothing(large_shop):
    """Its probabilities are right, and a miss costs so much that yes is the cheapest answer to every row, for both."""

    def right(table):
        return 0.05 + 0.9 * large_shop.right(table)

    report = judged(large_shop, right, Costs({"no": {"yes": 1}, "yes": {"no": 1}}))
    assert report.verdict == "promote"

    # Served at 0.5 where the costs ask for 0.01, its rare noes cost more than they save.
    report = judged(large_shop, right, Costs({"no": {"yes": 1}, "yes": {"no": 100}}))
    assert [rule.name for rule in report.rules if not rule.passed] == ["worth"]
    assert report.economy.best.expected == pytest.approx(1 / 101)
    assert report.economy.best.saving.lower > 0


def test_worth_needs_costs(shop):
    subject = shop.subject(shop.right)

    with pytest.raises(ValueError, match="say so in the section `costs`"):
        GateSpec(worth=Worth()).check(subject.columns, subject.contract)
