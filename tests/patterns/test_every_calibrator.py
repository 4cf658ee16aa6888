"""What holds for every kind of calibrator, by being in the union."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest

from aforo.errors import DataError
from aforo.models.calibration import AnyCalibrator, CalibrationSpec, Calibrator, calibrator_from_json, fit_calibrator
from aforo.models.estimators import Task

Run = Callable[[Calibrator, np.ndarray], dict[str, np.ndarray]]

KINDS = [kind.model_fields["kind"].default for kind in get_args(get_args(AnyCalibrator)[0])]
BINARY = Task("binary", ("no", "yes"))
MULTICLASS = Task("multiclass", tuple("abcd"))
REGRESSION = Task("regression")


def scores_and_labels(task: Task, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return overconfident scores, some of them certain, with labels drawn from gentler probabilities."""
    rng = np.random.default_rng(seed)
    if task.is_regression:
        values = rng.normal(size=(rows, 1))
        return values, values[:, 0] + rng.normal(0, 0.3, rows)
    logits = rng.normal(0, 1.5, (rows, task.width))
    gentle = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = (gentle.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)
    sharp = np.exp(3 * logits) / np.exp(3 * logits).sum(axis=1, keepdims=True)
    sharp[:3] = np.eye(task.width)[[0, 1, 1]]
    return sharp, np.minimum(y, task.width - 1)


CASES = [(kind, task) for kind in KINDS for task in ((REGRESSION,) if kind == "conformal" else (BINARY, MULTICLASS))]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1].kind}")
def case(request: pytest.FixtureRequest) -> tuple[Calibrator, Task]:
    kind, task = request.param
    spec = CalibrationSpec() if task.is_regression else CalibrationSpec(methods=(kind,))
    return fit_calibrator(*scores_and_labels(task, 2000, 1), task, spec, seed=0), task


def extreme_outputs(task: Task) -> np.ndarray:
    if task.is_regression:
        return np.array([[0.0], [1e12], [-1e12], [5e-324]])
    certain = np.eye(task.width)
    even = np.full((1, task.width), 1 / task.width)
    almost = np.full((1, task.width), 1e-16)
    almost[0, 0] = 1.0
    return np.vstack([certain, even, almost])


def test_the_graph_says_the_same(case: tuple[Calibrator, Task], run_calibrator: Run) -> None:
    calibrator, task = case
    outputs = np.vstack([scores_and_labels(task, 5000, 2)[0], extreme_outputs(task)])

    found, expected = run_calibrator(calibrator, outputs), calibrator.apply(outputs)

    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-15, atol=1e-9)


def test_scores_that_sit_on_the_training_scores_agree_too(case: tuple[Calibrator, Task], run_calibrator: Run) -> None:
    calibrator, task = case
    seen = scores_and_labels(task, 2000, 1)[0]
    outputs = np.vstack([seen, np.nextafter(seen, 2.0), np.nextafter(seen, -1.0).clip(0 if task.classes else None)])

    found, expected = run_calibrator(calibrator, outputs), calibrator.apply(outputs)

    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-15, atol=1e-9)


def test_the_last_bits_of_a_score_do_not_matter(case: tuple[Calibrator, Task]) -> None:
    calibrator, task = case
    outputs = np.clip(scores_and_labels(task, 2000, 1)[0], *((0.001, 0.999) if task.classes else (None, None)))
    nudged = outputs * (1 + 4e-16)

    for name, value in calibrator.apply(outputs).items():
        np.testing.assert_allclose(calibrator.apply(nudged)[name], value, atol=2e-8)


def test_outputs_are_those_of_the_prediction_contract(case: tuple[Calibrator, Task]) -> None:
    calibrator, task = case
    outputs = np.vstack([scores_and_labels(task, 500, 2)[0], extreme_outputs(task)])

    calibrated = calibrator.apply(outputs)

    if task.is_regression:
        np.testing.assert_array_equal(calibrated["value"], outputs)
        assert (calibrated["interval"][:, 0] <= outputs[:, 0]).all()
        assert (calibrated["interval"][:, 1] >= outputs[:, 0]).all()
    else:
        assert calibrated["probabilities"].shape == outputs.shape
        assert (calibrated["probabilities"] >= 0).all()
        np.testing.assert_allclose(calibrated["probabilities"].sum(axis=1), 1.0, atol=1e-12)


def test_a_higher_score_never_gives_a_lower_probability(case: tuple[Calibrator, Task]) -> None:
    calibrator, task = case
    if task.kind != "binary":
        return
    p = np.linspace(0, 1, 10_001)

    calibrated = calibrator.apply(np.stack([1 - p, p], axis=1))["probabilities"][:, 1]

    # Where pieces of an isotonic curve meet, rounding may step back by the last bits.
    assert np.diff(calibrated).min() >= -1e-9


def test_a_calibrator_survives_another_process_as_json(case: tuple[Calibrator, Task]) -> None:
    calibrator, _ = case

    assert calibrator_from_json(calibrator.to_json()) == calibrator


def test_fitting_again_gives_the_same_bits(case: tuple[Calibrator, Task]) -> None:
    calibrator, task = case
    spec = CalibrationSpec() if task.is_regression else CalibrationSpec(methods=(calibrator.method,))

    again = fit_calibrator(*scores_and_labels(task, 2000, 1), task, spec, seed=0)

    assert again.to_json() == calibrator.to_json()


def test_no_rows_give_no_outputs(case: tuple[Calibrator, Task], run_calibrator: Run) -> None:
    calibrator, task = case
    nothing = np.empty((0, task.width))

    assert all(len(value) == 0 for value in calibrator.apply(nothing).values())
    assert all(len(value) == 0 for value in run_calibrator(calibrator, nothing).values())


def test_damaged_json_is_no_calibrator() -> None:
    with pytest.raises(DataError, match="not a stored calibrator"):
        calibrator_from_json('{"kind": "platt"}')
