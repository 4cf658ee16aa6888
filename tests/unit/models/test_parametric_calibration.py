"""Temperature, beta and Platt calibration against scipy's general optimisers, and what each can and cannot mend."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax

from aforo.errors import TrainingError
from aforo.models.calibration import BetaCalibration, CalibrationSpec, TemperatureScaling, fit_calibrator
from aforo.models.calibration.logistic import smoothed
from aforo.models.calibration.selection import brier_score
from aforo.models.estimators import Task


def sharpened(temperature: float, rows: int = 20_000, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities that are too sure by ``temperature``, and labels drawn from the right ones."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(rows, classes))
    y = (softmax(logits, axis=1).cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1).clip(max=classes - 1)
    return softmax(temperature * logits, axis=1), y


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_scaling_finds_how_much_too_sure_a_model_is(temperature: float):
    outputs, y = sharpened(temperature)

    fitted = TemperatureScaling.fit(outputs, y)

    # The standard error of the temperature on 20,000 rows is about 0.02 of it.
    assert fitted.temperature == pytest.approx(temperature, rel=0.05)


def test_temperature_is_where_scipy_finds_the_lowest_log_loss():
    outputs, y = sharpened(2.0, rows=500)

    def loss(t: float) -> float:
        return -log_softmax(np.log(outputs) / t, axis=1)[np.arange(len(y)), y].sum()

    oracle = minimize_scalar(loss, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-10}).x

    assert TemperatureScaling.fit(outputs, y).temperature == pytest.approx(oracle, rel=1e-6)


def test_temperature_by_hand():
    # At temperature 2, (0.8, 0.2) becomes roots: 0.8944 and 0.4472, which is 2 to 1.
    given = TemperatureScaling(temperature=2.0).apply(np.array([[0.8, 0.2], [1.0, 0.0]]))["probabilities"]

    np.testing.assert_allclose(given, [[2 / 3, 1 / 3], [1, 0]])


def test_temperature_never_changes_the_most_probable_class():
    outputs, y = sharpened(3.0, rows=2000)

    given = TemperatureScaling.fit(outputs, y).apply(outputs)["probabilities"]

    np.testing.assert_array_equal(given.argmax(axis=1), outputs.argmax(axis=1))


@pytest.mark.parametrize("right", [True, False])
def test_temperature_stays_finite_on_rows_that_ask_for_none_or_for_all(right: bool):
    outputs = np.tile([[0.9, 0.1]], (50, 1))

    fitted = TemperatureScaling.fit(outputs, np.full(50, 0 if right else 1))

    assert fitted.temperature == pytest.approx(0.01 if right else 100.0)
    assert np.isfinite(fitted.apply(outputs)["probabilities"]).all()


def lopsided(rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs whose truth is a beta curve with a = 2, b = 0.5 and c = 0.3, which no Platt curve can follow."""
    rng = np.random.default_rng(0)
    p = rng.uniform(0.01, 0.99, rows)
    truth = expit(2.0 * np.log(p) - 0.5 * np.log(1 - p) + 0.3)
    return np.column_stack([1 - p, p]), (rng.random(rows) < truth).astype(np.int64)


def test_beta_calibration_finds_the_curve_it_is_right_for():
    fitted = BetaCalibration.fit(*lopsided())

    assert (fitted.low[0], fitted.high[0], fitted.shifts[0]) == pytest.approx((2.0, 0.5, 0.3), abs=0.15)


def test_beta_is_where_scipy_finds_the_lowest_log_loss():
    outputs, y = lopsided(800)
    p, target = outputs[:, 1], smoothed(y.astype(np.float64))

    def loss(theta: np.ndarray) -> float:
        z = theta[0] * np.log(p) - theta[1] * np.log(1 - p) + theta[2]
        return float(np.sum(np.logaddexp(0, z) - target * z))

    oracle = minimize(
        loss, [1.0, 1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 5000}
    ).x
    fitted = BetaCalibration.fit(outputs, y)

    assert (fitted.low[0], fitted.high[0], fitted.shifts[0]) == pytest.approx(tuple(oracle), abs=1e-5)


def test_beta_never_falls_even_where_the_rows_ask_for_it():
    # The truth falls with p: the best curve that may not fall is flat, at the share.
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, 3000)
    y = (rng.random(3000) < 1 - p).astype(np.int64)

    fitted = BetaCalibration.fit(np.column_stack([1 - p, p]), y)

    assert fitted.low == fitted.high == (0.0,)
    assert expit(fitted.shifts[0]) == pytest.approx(y.mean(), abs=1e-3)


def test_beta_leaves_a_calibrated_model_as_it_is():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.02, 0.98, 20_000)
    y = (rng.random(20_000) < p).astype(np.int64)
    outputs = np.column_stack([1 - p, p])

    given = BetaCalibration.fit(outputs, y).apply(outputs)["probabilities"]

    assert np.abs(given - outputs).max() < 0.03


def test_the_right_method_is_chosen_for_the_miscalibration():
    spec = CalibrationSpec(methods=("none", "platt", "temperature", "beta"))
    binary, several = Task("binary", ("no", "yes")), Task("multiclass", tuple("abcd"))

    assert fit_calibrator(*lopsided(), binary, spec, seed=0).method == "beta"
    assert fit_calibrator(*sharpened(3.0), several, spec, seed=0).method == "temperature"


def test_two_classes_have_one_temperature_and_it_is_a_slope_of_the_log_odds():
    outputs, y = sharpened(2.0, classes=2)
    fitted = TemperatureScaling.fit(outputs, y)

    given = fitted.apply(outputs)["probabilities"][:, 1]

    np.testing.assert_allclose(given, expit(logit(outputs[:, 1]) / fitted.temperature), atol=1e-12)
    assert brier_score(fitted.apply(outputs)["probabilities"], y) < brier_score(outputs, y)


def test_isotonic_is_not_offered_where_a_class_is_rare():
    outputs, y = sharpened(2.0, rows=400)
    y = np.where(y == 3, 0, y)
    y[:19] = 3
    several = Task("multiclass", tuple("abcd"))

    chosen = fit_calibrator(outputs, y, several, CalibrationSpec(methods=("isotonic", "none")), seed=0)

    assert set(chosen.cross_validated) == {"none"}
    with pytest.raises(TrainingError, match="19 of its rarest class; isotonic calibration needs 200, and 20 of each"):
        fit_calibrator(outputs, y, several, CalibrationSpec(methods=("isotonic",)), seed=0)
