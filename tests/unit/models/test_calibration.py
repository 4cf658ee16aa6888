"""Calibration: against scikit-learn, by hand, and by the statistics that each method promises."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression

from aforo.errors import TrainingError
from aforo.export.inference import open_session
from aforo.graph import Graph
from aforo.models.calibration import CalibrationSpec, fit_calibrator
from aforo.models.calibration.conformal import ConformalInterval
from aforo.models.calibration.isotonic import Curve, IsotonicCalibration
from aforo.models.calibration.platt import PlattCalibration
from aforo.models.calibration.selection import brier_score, fold_of_each_row
from aforo.models.estimators import Task
from aforo.models.estimators.estimator import add_probabilities, probabilities_of

BINARY = Task("binary", ("no", "yes"))
MULTICLASS = Task("multiclass", ("a", "b", "c"))
REGRESSION = Task("regression")


def both(p: np.ndarray) -> np.ndarray:
    return np.stack([1 - p, p], axis=1)


def sample(rows: int, seed: int, *, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return scores whose log-odds are ``sharpness`` times the true ones, and labels."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, rows)
    y = (rng.random(rows) < 1 / (1 + np.exp(-z))).astype(np.int64)
    return both(1 / (1 + np.exp(-sharpness * z))), y


def test_platt_is_scikit_learns_sigmoid_on_log_odds() -> None:
    outputs, y = sample(500, 1, sharpness=3.0)
    odds = np.log(outputs[:, 1] / outputs[:, 0])
    expected = _SigmoidCalibration().fit(odds, y).predict(odds)

    found = PlattCalibration.fit(outputs, y).apply(outputs)["probabilities"][:, 1]

    np.testing.assert_allclose(found, expected, atol=1e-4)  # scikit-learn's optimiser stops at about 1e-5


@pytest.mark.parametrize(("slope", "shift"), [(0.7, 0.1), (-0.5, 2.0), (3.0, -1.0), (0.0, 1.0)])
def test_platt_in_a_graph_goes_on_from_the_log_odds_of_the_model(slope: float, shift: float) -> None:
    z = np.concatenate([np.linspace(-40, 40, 161), [np.inf, -np.inf, np.nan]])[:, None]
    calibrator = PlattCalibration(slopes=(slope,), shifts=(shift,))
    graph = Graph("scores")
    graph.output(add_probabilities(graph, graph.input("z"), BINARY), "scores", width=2)
    graph = Graph.from_bytes(graph.to_bytes())
    tensors = calibrator.add_to(graph, graph.reopen("scores"))
    graph.output(tensors["probabilities"], "probabilities", width=2)
    model = graph.to_bytes()

    found = open_session(model).run(None, {"z": z})[0]

    # Not the same bits: the log-odds of a probability next to 1 hang on its last bits, as those of the model do not.
    expected = calibrator.apply(probabilities_of(z, BINARY))["probabilities"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    assert "Log" not in {node.op_type for node in onnx.load_model_from_string(model).graph.node}


def test_platt_undoes_overconfidence() -> None:
    fitted = PlattCalibration.fit(*sample(100_000, 1, sharpness=3.0))

    assert fitted.slopes[0] == pytest.approx(1 / 3, abs=0.01)
    assert fitted.shifts[0] == pytest.approx(0.0, abs=0.03)


def test_platt_stays_finite_where_the_classes_separate() -> None:
    outputs, y = both(np.array([0.0, 0.1, 0.9, 1.0])), np.array([0, 0, 1, 1])

    calibrated = PlattCalibration.fit(outputs, y).apply(outputs)["probabilities"][:, 1]

    # Platt's targets for two rows of each class: 1/4 and 3/4, never 0 and 1.
    assert ((calibrated > 0.1) & (calibrated < 0.9)).all()


def test_platt_of_equal_scores_is_the_smoothed_rate() -> None:
    calibrated = PlattCalibration.fit(both(np.full(4, 0.3)), np.array([0, 0, 0, 1])).apply(both(np.array([0.3])))

    # Mean of Platt's targets: three of 1/5 and one of 2/3.
    assert calibrated["probabilities"][0, 1] == pytest.approx((3 / 5 + 2 / 3) / 4, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=2, max_size=60))
def test_isotonic_is_scikit_learns_with_ties_averaged(rows: list[tuple[int, bool]]) -> None:
    p, y = np.array([score / 50 for score, _ in rows]), np.array([label for _, label in rows], dtype=np.int64)
    reference = IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1).fit(p, y)
    later = np.linspace(0, 1, 301)

    found = IsotonicCalibration.fit(both(p), y).apply(both(later))["probabilities"][:, 1]

    np.testing.assert_allclose(found, reference.predict(later), atol=1e-9)


def test_scores_that_differ_in_their_last_bits_are_ties() -> None:
    p = np.repeat([0.2, 0.6], 2)
    p[1::2] = np.nextafter(p[::2], 1)

    fitted = IsotonicCalibration.fit(both(p), np.array([0, 1, 0, 1]))

    assert set(fitted.curves[0].y) == {0.5}


def test_a_curve_is_straight_between_its_points_and_constant_beyond() -> None:
    fitted = IsotonicCalibration(curves=(Curve(x=(0.2, 0.4), y=(0.1, 0.5)),))

    found = fitted.apply(both(np.array([0.0, 0.2, 0.3, 0.4, 1.0])))["probabilities"][:, 1]

    np.testing.assert_allclose(found, [0.1, 0.1, 0.3, 0.5, 0.5], atol=1e-15)


def test_several_classes_are_renormalised() -> None:
    half = Curve(x=(0.0, 1.0), y=(0.0, 0.5))
    fitted = IsotonicCalibration(curves=(half, half, Curve(x=(0.0,), y=(0.25,))))

    found = fitted.apply(np.array([[0.5, 0.3, 0.2]]))["probabilities"]

    # 0.25, 0.15 and 0.25, divided by their sum.
    np.testing.assert_allclose(found, [[0.25 / 0.65, 0.15 / 0.65, 0.25 / 0.65]], rtol=1e-14)


def test_a_row_that_every_class_disowns_keeps_its_uncalibrated_probabilities() -> None:
    nothing = Curve(x=(0.6, 0.9), y=(0.0, 1.0))

    found = IsotonicCalibration(curves=(nothing,) * 3).apply(np.array([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]]))

    assert found["probabilities"].tolist() == [[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]]


def test_calibrated_scores_are_left_alone() -> None:
    chosen = fit_calibrator(*sample(5000, 3), BINARY, CalibrationSpec(methods=("none", "isotonic")), seed=0)

    assert chosen.method == "none"
    assert set(chosen.cross_validated) == {"none", "isotonic"}


def test_the_method_with_the_lowest_cross_validated_brier_score_is_chosen() -> None:
    outputs, y = sample(5000, 1, sharpness=3.0)

    chosen = fit_calibrator(outputs, y, BINARY, CalibrationSpec(), seed=0)

    assert chosen.method == min(chosen.cross_validated, key=chosen.cross_validated.__getitem__) == "platt"
    assert chosen.cross_validated["none"] == pytest.approx(brier_score(outputs, y))
    assert brier_score(chosen.apply(outputs)["probabilities"], y) < chosen.cross_validated["none"]


def test_a_curve_of_another_shape_takes_isotonic() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(5000)
    y = (rng.random(5000) < np.where(p < 0.5, 0.3, 0.6)).astype(np.int64)

    assert fit_calibrator(both(p), y, BINARY, CalibrationSpec(), seed=0).method == "isotonic"


def test_isotonic_is_not_offered_to_few_rows_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="aforo.models.calibration.selection"):
        chosen = fit_calibrator(*sample(199, 1), BINARY, CalibrationSpec(), seed=0)

    assert "isotonic" not in chosen.cross_validated
    assert "isotonic calibration not offered" in caplog.text


def test_isotonic_alone_on_few_rows_is_an_error() -> None:
    with pytest.raises(TrainingError, match="199 rows, 91 of its rarest class; isotonic calibration needs 200"):
        fit_calibrator(*sample(199, 1), BINARY, CalibrationSpec(methods=("isotonic",)), seed=0)


def test_a_calibration_part_of_one_class_is_refused() -> None:
    outputs, _ = sample(300, 1)

    with pytest.raises(TrainingError, match="all 300 rows of the calibration part are of class 'yes'"):
        fit_calibrator(outputs, np.ones(300, np.int64), BINARY, CalibrationSpec(), seed=0)


def test_a_class_that_the_calibration_part_lacks_is_no_fault() -> None:
    rng = np.random.default_rng(0)
    outputs = rng.dirichlet(np.ones(3), 600)

    calibrator = fit_calibrator(outputs, np.arange(600) % 2, MULTICLASS, CalibrationSpec(), seed=0)

    np.testing.assert_allclose(calibrator.apply(outputs)["probabilities"].sum(axis=1), 1.0, atol=1e-12)


def test_too_few_rows_for_the_folds_are_refused() -> None:
    with pytest.raises(TrainingError, match="3 rows, too few for 5 folds"):
        fit_calibrator(*sample(3, 1), BINARY, CalibrationSpec(), seed=0)


@given(st.integers(1, 400), st.integers(2, 10), st.integers(0, 5))
def test_rows_of_a_group_stay_in_one_fold(rows: int, folds: int, seed: int) -> None:
    groups = np.arange(rows) % 7
    if len(np.unique(groups)) < 2:
        return

    fold = fold_of_each_row(np.zeros(rows, np.int64), folds, seed=seed, groups=groups, stratified=True)

    assert all(len(set(fold[groups == group])) == 1 for group in range(min(rows, 7)))
    assert set(fold) == set(range(min(folds, len(np.unique(groups)))))


def test_classes_are_spread_evenly_over_folds() -> None:
    y = np.array([1] * 10 + [0] * 90)

    fold = fold_of_each_row(y, 5, seed=0, groups=None, stratified=True)

    assert np.bincount(fold[y == 1]).tolist() == [2] * 5
    assert np.bincount(fold).tolist() == [20] * 5


def test_a_single_group_cannot_be_folded() -> None:
    with pytest.raises(TrainingError, match="all 300 rows are of one group, 2013-01-01"):
        fit_calibrator(*sample(300, 1), BINARY, CalibrationSpec(), seed=0, groups=np.array(["2013-01-01"] * 300))


def test_the_interval_takes_the_ceil_of_n_plus_1_times_coverage_th_error() -> None:
    # Ten errors 1..10: ceil(11 * 0.9) = 10th smallest; ceil(11 * 0.5) = 6th.
    y = np.arange(1.0, 11.0)

    assert ConformalInterval.fit(np.zeros((10, 1)), y, coverage=0.9).half_width == 10.0
    assert ConformalInterval.fit(np.zeros((10, 1)), -y, coverage=0.5).half_width == 6.0


def test_nine_rows_are_just_enough_for_ninety_percent() -> None:
    y = np.arange(1.0, 10.0)

    assert ConformalInterval.fit(np.zeros((9, 1)), y, coverage=0.9).half_width == 9.0
    with pytest.raises(TrainingError, match=r"coverage 0.9 needs 9 calibration rows or more, got 8"):
        ConformalInterval.fit(np.zeros((8, 1)), y[:8], coverage=0.9)


def test_the_interval_holds_its_coverage_on_average() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        errors = rng.standard_t(2, 31)  # heavy tails, and nobody told the method
        interval = ConformalInterval.fit(np.zeros((30, 1)), errors[:30], coverage=0.8)
        held.append(abs(errors[30]) <= interval.half_width)

    # Exactly 25 / 31 = 0.806 by the theory; the standard error of the mean is 0.009.
    assert np.mean(held) == pytest.approx(25 / 31, abs=0.03)


def test_the_mean_width_of_the_interval_is_cross_validated() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=20_000)

    fitted = fit_calibrator(np.zeros((20_000, 1)), y, REGRESSION, CalibrationSpec(coverage=0.9), seed=0)

    assert fitted.cross_validated["conformal"] == pytest.approx(2 * 1.645, abs=0.08)
    assert fitted.apply(np.array([[5.0]]))["interval"].tolist() == [[5.0 - fitted.half_width, 5.0 + fitted.half_width]]
