"""Training: the budget is fair, the target is checked, and the best setting is kept."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from aforo.errors import TrainingError
from aforo.features import NumericSpec
from aforo.models.estimators import BoostedTreesSpec, LinearSpec, NeuralNetworkSpec, Task
from aforo.models.targets import encode_target, loss
from aforo.models.training import Budget, FitReport, FittedCandidate, fit_candidate, settings


def rows(count: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    return pl.DataFrame({"x": x, "z": rng.normal(size=count), "late": x + rng.normal(size=count) > 0})


def fit(spec: LinearSpec | BoostedTreesSpec, budget: Budget, reports: list[FitReport] | None = None) -> FittedCandidate:
    return fit_candidate(
        spec,
        features=[NumericSpec(columns=("x", "z"))],
        task="binary",
        classes=("on time", "late"),
        train=rows(400, 1),
        validation=rows(200, 2),
        target="late",
        seed=7,
        budget=budget,
        progress=None if reports is None else reports.append,
    )


def test_a_candidates_own_setting_comes_first() -> None:
    spec = LinearSpec(penalty=5.0, search={"penalty": (1.0, 10.0)})

    assert [setting.penalty for setting in settings(spec, 10, seed=0)] == [5.0, 1.0, 10.0]


def test_no_candidate_gets_more_fits_than_the_budget() -> None:
    spec = BoostedTreesSpec(search={"learning_rate": (0.01, 0.05, 0.1), "leaves": (7, 15, 31)})

    tried = settings(spec, 4, seed=0)

    assert len(tried) == 4
    assert len({(setting.learning_rate, setting.leaves) for setting in tried}) == 4
    assert tried == settings(spec, 4, seed=0)
    assert tried != settings(spec, 4, seed=1)


def test_a_setting_that_repeats_the_candidates_own_costs_no_fit() -> None:
    assert len(settings(LinearSpec(penalty=1.0, search={"penalty": (1.0, 2.0, 2.0)}), 10, seed=0)) == 2


def test_the_setting_with_the_lowest_validation_loss_is_kept() -> None:
    reports: list[FitReport] = []
    spec = BoostedTreesSpec(trees=1, search={"trees": (3, 40), "learning_rate": (0.1, 0.001)})

    candidate = fit(spec, Budget(fits=5), reports)

    assert [report.fit for report in reports] == [1, 2, 3, 4, 5]
    assert candidate.history == tuple(reports)
    assert candidate.validation_loss == min(report.validation_loss for report in reports)
    assert candidate.hyperparameters == {**spec.hyperparameters, "trees": 40, "learning_rate": 0.1}


def test_the_validation_loss_is_the_log_loss_of_the_outputs() -> None:
    candidate, validation = fit(LinearSpec(), Budget()), rows(200, 2)
    p = candidate.outputs(validation)[:, 1]
    late = validation["late"].to_numpy()

    assert candidate.validation_loss == pytest.approx(-np.mean(np.where(late, np.log(p), np.log(1 - p))), rel=1e-12)


def test_at_most_so_many_rows_are_drawn_and_always_the_same() -> None:
    few = fit(LinearSpec(), Budget(max_rows=50))

    assert few.outputs(rows(10, 3)).tolist() == fit(LinearSpec(), Budget(max_rows=50)).outputs(rows(10, 3)).tolist()
    assert few.outputs(rows(10, 3)).tolist() != fit(LinearSpec(), Budget(max_rows=400)).outputs(rows(10, 3)).tolist()


def test_hyperparameters_are_recorded_as_plain_values() -> None:
    assert NeuralNetworkSpec(hidden=(64, 32)).hyperparameters["hidden"] == "64, 32"
    assert all(isinstance(v, str | int | float) for v in NeuralNetworkSpec().hyperparameters.values())


def test_a_search_value_that_is_not_allowed_is_named() -> None:
    with pytest.raises(ValidationError, match="search tries leaves = 1: Input should be greater than or equal to 2"):
        BoostedTreesSpec(search={"leaves": (31, 1)})


def test_booleans_are_no_and_yes_whatever_the_classes_are_called() -> None:
    assert encode_target(pl.Series([True, False]), Task("binary", ("on time", "late"))).tolist() == [1, 0]


def test_whole_numbers_are_classes_by_their_text() -> None:
    assert encode_target(pl.Series([2, 0]), Task("multiclass", ("0", "1", "2"))).tolist() == [2, 0]


def test_a_missing_target_is_refused_with_its_count() -> None:
    with pytest.raises(TrainingError, match="target 'y' is missing in 2 of 3 rows"):
        encode_target(pl.Series("y", [None, 1.0, None]), Task("regression"))


def test_an_infinite_target_is_refused() -> None:
    with pytest.raises(TrainingError, match="target 'y' is not finite in 2 rows"):
        encode_target(pl.Series("y", [float("inf"), 1.0, float("nan")]), Task("regression"))


def test_the_loss_of_a_certain_error_is_finite() -> None:
    certain = np.array([[1.0, 0.0]])

    assert loss(certain, np.array([1]), Task("binary", ("no", "yes"))) == pytest.approx(15 * np.log(10))


def test_the_loss_of_a_regression_is_the_squared_error() -> None:
    assert loss(np.array([[1.0], [2.0]]), np.array([2.0, 4.0]), Task("regression")) == 2.5
