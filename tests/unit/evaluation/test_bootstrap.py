from __future__ import annotations

import numpy as np
import pytest

from aforo.errors import DataError, UseCaseError
from aforo.evaluation import Answers, BootstrapSpec, EvaluationSpec, compare
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.evaluate import evaluate


def answers_of(yes: np.ndarray, y: np.ndarray) -> Answers:
    return Answers("binary", y, probabilities=np.column_stack([1 - yes, yes]))


def days(rng: np.random.Generator, count: int, per_day: int, spread: float) -> tuple[Answers, np.ndarray]:
    """Rows whose day shares a shift that the predictor does not see."""
    day = np.repeat(np.arange(count), per_day)
    seen = rng.normal(size=len(day))
    truth = 1 / (1 + np.exp(-(seen + spread * rng.normal(size=count)[day])))
    y = (rng.random(len(day)) < truth).astype(np.int64)
    return answers_of(1 / (1 + np.exp(-seen)), y), day


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    rng = np.random.default_rng(0)
    y = rng.normal(size=400)
    answers = Answers("regression", y, value=np.zeros(400))

    mae = evaluate(answers, EvaluationSpec(bootstrap=BootstrapSpec(resamples=4000)))["mae"]

    error = np.abs(y).std() / np.sqrt(400)
    assert mae.value == pytest.approx(np.abs(y).mean())
    assert mae.upper - mae.lower == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_intervals_over_days_hold_the_truth_where_intervals_over_rows_do_not():
    rng = np.random.default_rng(1)
    day = np.repeat(np.arange(50), 60)
    held = {"days": 0, "rows": 0}

    for seed in range(60):
        y = rng.normal(size=50)[day] + 0.5 * rng.normal(size=len(day))
        answers = Answers("regression", y, value=np.zeros(len(day)))
        for name, groups in (("days", day), ("rows", None)):
            spec = EvaluationSpec(bootstrap=BootstrapSpec(resamples=200))
            interval = evaluate(answers, spec, groups=groups, seed=seed)["rmse"]
            held[name] += interval.lower <= np.sqrt(1 + 0.25) <= interval.upper

    assert held["days"] >= 49  # of 60; 57 are expected of exact intervals, and 50 groups cost the percentile kind some
    assert held["rows"] < 30


def test_a_paired_difference_is_far_narrower_than_the_intervals_of_its_two_sides():
    answers, day = days(np.random.default_rng(2), 40, 50, 1.0)
    nudged = answers_of(np.clip(answers.probabilities[:, 1] + 0.01, 0, 1), answers.y)

    compared = compare({"a": answers, "b": nudged}, EvaluationSpec(), groups=day, seed=0)

    difference, alone = compared.improvement("a", "b", "brier"), compared.interval("a", "brier")
    assert difference.upper - difference.lower < 0.2 * (alone.upper - alone.lower)
    assert difference.value == pytest.approx(compared.interval("b", "brier").value - alone.value)


def test_improvement_is_positive_for_the_better_in_every_metric():
    rng = np.random.default_rng(3)
    yes = rng.random(3000)
    y = (rng.random(3000) < yes).astype(np.int64)
    compared = compare(
        {"good": answers_of(yes, y), "bad": answers_of(rng.random(3000), y)}, EvaluationSpec(), groups=None, seed=0
    )

    for metric in compared.metrics:
        assert compared.improvement("good", "bad", metric).lower > 0, metric


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others():
    answers, day = days(np.random.default_rng(4), 20, 20, 0.5)

    first, second, other = (evaluate(answers, EvaluationSpec(), groups=day, seed=seed) for seed in (0, 0, 1))

    assert first == second
    assert first != other


def test_resamples_draw_as_many_clusters_as_there_are_in_every_chunk():
    clusters = Clusters.of(np.arange(3000))

    chunks = list(clusters.draw(2000, seed=0))

    assert len(chunks) > 1
    assert sum(len(chunk) for chunk in chunks) == 2000
    assert all((chunk.sum(axis=1) == 3000).all() for chunk in chunks)


def test_groups_may_be_of_any_sortable_type():
    answers, day = days(np.random.default_rng(6), 12, 30, 0.5)
    as_text = np.array([f"2013-01-{number + 1:02}" for number in day])

    assert evaluate(answers, EvaluationSpec(), groups=as_text) == evaluate(answers, EvaluationSpec(), groups=day)


def test_one_group_of_rows_is_refused():
    answers, _ = days(np.random.default_rng(7), 4, 5, 0.5)

    with pytest.raises(DataError, match="1 group says nothing"):
        evaluate(answers, EvaluationSpec(), groups=np.zeros(20))


def test_a_figure_that_a_rare_class_leaves_undefined_is_left_out_and_decides_nothing():
    y = np.zeros(40, dtype=np.int64)
    y[0] = 1
    rare = answers_of(np.linspace(0.1, 0.9, 40), y)

    compared = compare({"a": rare}, EvaluationSpec(), groups=None, seed=0)

    assert compared.undefined() == ("roc_auc of a", "average_precision of a")
    assert "brier" in compared.table()["a"]
    assert "roc_auc" not in compared.table()["a"]
    with pytest.raises(DataError, match=r"undefined on \d+% of the resamples"):
        compared.improvement("a", "a", "roc_auc")


def test_predictors_on_different_rows_are_refused():
    one, two = days(np.random.default_rng(8), 5, 9, 0.5)[0], days(np.random.default_rng(9), 5, 9, 0.5)[0]

    with pytest.raises(DataError, match="'b' does not answer the same rows"):
        compare({"a": one, "b": two}, EvaluationSpec(), groups=None, seed=0)


@pytest.mark.parametrize("name", ["rmse", "interval_coverage"])
def test_a_primary_metric_that_cannot_decide_is_refused(name: str):
    task = "binary" if name == "rmse" else "regression"

    with pytest.raises(UseCaseError, match=rf"evaluation\.primary is '{name}'"):
        EvaluationSpec(primary=name).primary_for(task)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"probabilities": np.array([[0.2, 0.8], [0.5, 0.6]])}, "does not sum to 1"),
        ({"probabilities": np.array([[0.2, 0.8], [np.nan, 0.6]])}, "not finite in 1 places"),
        ({"probabilities": np.array([[0.2, 0.8]])}, r"shape \(1, 2\); expected \(2, 2\)"),
        ({"probabilities": np.array([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]])}, "in a binary task"),
    ],
)
def test_outputs_that_are_no_probabilities_are_refused(outputs: dict[str, np.ndarray], message: str):
    with pytest.raises(DataError, match=message):
        Answers("binary", np.array([0, 1]), **outputs)
