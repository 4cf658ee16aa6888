"""Which calibration to use: chosen by cross-validation within the calibration part."""

from __future__ import annotations

import logging
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from aforo.contracts.specification import Specification
from aforo.errors import TrainingError
from aforo.models.calibration.beta import BetaCalibration
from aforo.models.calibration.calibrator import Calibrator, Matrix
from aforo.models.calibration.conformal import ConformalInterval
from aforo.models.calibration.isotonic import MIN_ROWS, MIN_ROWS_OF_A_CLASS, IsotonicCalibration
from aforo.models.calibration.none import NoCalibration
from aforo.models.calibration.platt import PlattCalibration
from aforo.models.calibration.temperature import TemperatureScaling
from aforo.models.estimators.estimator import Target, Task, one_thread

logger = logging.getLogger(__name__)

Method = Literal["none", "platt", "temperature", "beta", "isotonic"]

_FITTED: dict[Method, type[PlattCalibration | TemperatureScaling | BetaCalibration | IsotonicCalibration]] = {
    "platt": PlattCalibration,
    "temperature": TemperatureScaling,
    "beta": BetaCalibration,
    "isotonic": IsotonicCalibration,
}


class CalibrationSpec(Specification):
    """How outputs are calibrated.

    Attributes
    ----------
    methods
        Those to choose from, for classes. Of equally good ones the first wins.
    folds
        Of the cross-validation within the calibration part.
    coverage
        Share (0-1) of true values that a regression's interval is meant to hold, or of true labels that ``sets`` are.
    sets
        Classes: whether sets of labels are made too, and their coverage judged.
    """

    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = ("none", "platt", "isotonic")
    folds: Annotated[int, Field(ge=2, le=100)] = 5
    coverage: Annotated[float, Field(gt=0, lt=1)] = 0.9
    sets: bool = False

    @field_validator("methods")
    @classmethod
    def _methods_are_unique(cls, methods: tuple[Method, ...]) -> tuple[Method, ...]:
        return tuple(dict.fromkeys(methods))


def fit_calibrator(
    outputs: Matrix,
    y: Target,
    task: Task,
    spec: CalibrationSpec,
    *,
    seed: int,
    groups: npt.NDArray[np.generic] | None = None,
) -> Calibrator:
    """Fit the method with the lowest Brier score on rows it has not seen; a regression gets an interval.

    Parameters
    ----------
    outputs
        Uncalibrated probabilities (N, K), or values (N, 1), of the calibration part.
    y
        Class indices, or true values, of shape (N,).
    groups
        Of shape (N,), for example days: rows of a group stay in one fold, so that correlated rows do not
        make a method look better than it is.

    Raises
    ------
    TrainingError
        The calibration part is empty or too small.
    """
    if len(outputs) != len(y) or (groups is not None and len(groups) != len(y)):
        raise TrainingError(f"calibration: {len(outputs)} outputs, {len(y)} targets; expected as many")
    if len(y) < spec.folds:
        raise TrainingError(
            f"the calibration part has {len(y)} rows, too few for {spec.folds} folds",
            hint="give the calibration part a larger share, or lower `folds`",
        )
    with one_thread():
        if task.is_regression:
            return _interval(outputs, y.astype(np.float64), spec, seed, groups)
        return _probabilities(outputs, y.astype(np.int64), task, spec, seed, groups)


def fold_of_each_row(
    y: Target, folds: int, *, seed: int, groups: npt.NDArray[np.generic] | None, stratified: bool
) -> npt.NDArray[np.int64]:
    """Return the fold of each row, of shape (N,): groups stay together; without groups, classes are spread evenly."""
    rng = np.random.default_rng(seed)
    if groups is not None:
        distinct, group_of_row = np.unique(groups, return_inverse=True)
        if len(distinct) < 2:
            raise TrainingError(
                f"calibration: all {len(y)} rows are of one group, {distinct[0]!s}; folds need two or more",
                hint="choose another column to group by, or a larger calibration part",
            )
        fold_of_group = np.empty(len(distinct), np.int64)
        fold_of_group[rng.permutation(len(distinct))] = np.arange(len(distinct)) % min(folds, len(distinct))
        return fold_of_group[group_of_row]
    shuffled = rng.permutation(len(y))
    if stratified:
        shuffled = shuffled[np.argsort(y[shuffled], kind="stable")]
    fold = np.empty(len(y), np.int64)
    fold[shuffled] = np.arange(len(y)) % folds
    return fold


def brier_score(P: Matrix, y: npt.NDArray[np.int64]) -> float:
    """Return the mean squared error of the probabilities: of the second of two classes, or summed over classes."""
    if P.shape[1] == 2:
        return float(np.mean((P[:, 1] - y) ** 2))
    return float(np.mean(np.sum((P - np.eye(P.shape[1])[y]) ** 2, axis=1)))


def _probabilities(
    outputs: Matrix,
    y: npt.NDArray[np.int64],
    task: Task,
    spec: CalibrationSpec,
    seed: int,
    groups: npt.NDArray[np.generic] | None,
) -> Calibrator:
    fold = fold_of_each_row(y, spec.folds, seed=seed, groups=groups, stratified=True)
    scores: dict[Method, float] = {}
    for method in _offered(spec.methods, y, task):
        held_out = np.empty_like(outputs)
        for number in range(int(fold.max()) + 1):
            inside = fold == number
            fitted = _fit(method, outputs[~inside], y[~inside])
            held_out[inside] = fitted.apply(outputs[inside])["probabilities"]
        scores[method] = brier_score(held_out, y)
    chosen = min(scores, key=scores.__getitem__)
    logger.info("calibration chosen", extra={"method": chosen, "rows": len(y), "brier": scores})
    return _fit(chosen, outputs, y).model_copy(update={"cross_validated": scores})


def _offered(methods: tuple[Method, ...], y: npt.NDArray[np.int64], task: Task) -> list[Method]:
    offered = list(methods)
    rarest = int(np.bincount(y, minlength=task.width).min())
    if "isotonic" in offered and (len(y) < MIN_ROWS or rarest < MIN_ROWS_OF_A_CLASS):
        offered.remove("isotonic")
        needed = {"rows_needed": MIN_ROWS, "rows_of_rarest_class": rarest, "needed_of_each_class": MIN_ROWS_OF_A_CLASS}
        logger.warning("isotonic calibration not offered", extra={"rows": len(y), **needed})
    if not offered:
        raise TrainingError(
            f"the calibration part has {len(y)} rows, {rarest} of its rarest class; isotonic calibration needs "
            f"{MIN_ROWS}, and {MIN_ROWS_OF_A_CLASS} of each class",
            hint="add `platt`, `temperature` or `none` to the methods, or give the calibration part a larger share",
        )
    if len(np.unique(y)) < 2 and offered != ["none"]:
        raise TrainingError(
            f"all {len(y)} rows of the calibration part are of class {task.classes[int(y[0])]!r}",
            hint="give the calibration part a larger share",
        )
    return offered


def _fit(method: Method, outputs: Matrix, y: npt.NDArray[np.int64]) -> Calibrator:
    return NoCalibration() if method == "none" else _FITTED[method].fit(outputs, y)


def _interval(
    outputs: Matrix,
    y: npt.NDArray[np.float64],
    spec: CalibrationSpec,
    seed: int,
    groups: npt.NDArray[np.generic] | None,
) -> Calibrator:
    chosen = ConformalInterval.fit(outputs, y, coverage=spec.coverage)
    fold = fold_of_each_row(y, spec.folds, seed=seed, groups=groups, stratified=False)
    widths = np.empty(len(y))
    held = np.empty(len(y), np.bool_)
    for number in range(int(fold.max()) + 1):
        inside = fold == number
        half_width = ConformalInterval.fit(outputs[~inside], y[~inside], coverage=spec.coverage).half_width
        widths[inside] = 2.0 * half_width
        held[inside] = np.abs(y[inside] - outputs[inside, 0]) <= half_width
    width, coverage = float(widths.mean()), float(held.mean())
    logger.info("interval fitted", extra={"rows": len(y), "width": width, "cross_validated_coverage": coverage})
    return chosen.model_copy(update={"cross_validated": {chosen.method: width}})
