"""Platt scaling: a logistic curve over the log-odds of the uncalibrated probability."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from aforo.errors import TrainingError
from aforo.graph import Graph
from aforo.models.calibration.calibrator import Matrix, ProbabilityCalibrator, class_columns, one_against_rest

# Keeps the log-odds of a certain row finite, at about 20.7. Nearer to 1 the log-odds would hang on the last bits of p.
_CERTAIN = 1e-9
_MAX_STEPS = 100


class PlattCalibration(ProbabilityCalibrator):
    """A slope and a shift of the log-odds: few rows suffice, and it bends too sharp or too timid a model straight.

    Fitted by Newton's method on Platt's smoothed targets, which keep it finite where the classes
    separate. Two parameters cannot mend a curve of another shape; that is for isotonic calibration.

    Attributes
    ----------
    slopes, shifts
        One per map.

    References
    ----------
    Platt, Probabilistic outputs for support vector machines, 1999.
    Lin, Lin and Weng, A note on Platt's probabilistic outputs for support vector machines, Machine Learning 68, 2007.
    Niculescu-Mizil and Caruana, Predicting good probabilities with supervised learning, ICML 2005.
    """

    kind: Literal["platt"] = "platt"
    slopes: tuple[float, ...]
    shifts: tuple[float, ...]

    @classmethod
    def fit(cls, outputs: Matrix, y: npt.NDArray[np.int64]) -> Self:
        """Fit to uncalibrated probabilities (N, K) and class indices (N,)."""
        P = class_columns(outputs)
        truth = one_against_rest(y, P.shape[1])
        fitted = [_fit_curve(_log_odds(p), t) for p, t in zip(P.T, truth.T, strict=True)]
        return cls(slopes=tuple(slope for slope, _ in fitted), shifts=tuple(shift for _, shift in fitted))

    @property
    def method(self) -> str:
        return self.kind

    @property
    def width(self) -> int:
        return len(self.slopes)

    def map(self, P: Matrix) -> Matrix:
        return _sigmoid(_log_odds(P) * np.array(self.slopes) + np.array(self.shifts))

    def add_map_to(self, graph: Graph, tensor: str) -> str:
        p = graph.add("Clip", tensor, graph.constant(_CERTAIN), graph.constant(1.0 - _CERTAIN))
        odds = graph.add("Div", p, graph.add("Sub", graph.constant(1.0), p))
        scaled = graph.add("Mul", graph.mapped("Log", odds), graph.constant([self.slopes]))
        return graph.mapped("Sigmoid", graph.add("Add", scaled, graph.constant([self.shifts])))


def _log_odds(p: Matrix) -> Matrix:
    clipped = np.clip(p, _CERTAIN, 1.0 - _CERTAIN)
    return np.log(clipped / (1.0 - clipped))


def _sigmoid(z: Matrix) -> Matrix:
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def _fit_curve(z: Matrix, truth: Matrix) -> tuple[float, float]:
    """Minimise the log loss of sigmoid(slope * z + shift) by Newton's method with backtracking."""
    positives = float(truth.sum())
    negatives = len(truth) - positives
    target = np.where(truth > 0, (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0))
    # Standardised, so that the Hessian is well conditioned whatever the spread of the log-odds.
    mean, deviation = float(z.mean()), float(z.std()) or 1.0
    Z = np.stack([(z - mean) / deviation, np.ones_like(z)], axis=1)
    theta = np.array([0.0, np.log((positives + 1.0) / (negatives + 1.0))])
    value = _log_loss(Z @ theta, target)
    for _ in range(_MAX_STEPS):
        p = _sigmoid(Z @ theta)
        gradient = Z.T @ (p - target)
        if np.abs(gradient).max() < 1e-9 * len(z):
            break
        hessian = (Z * (p * (1.0 - p))[:, None]).T @ Z + 1e-12 * len(z) * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-10:
            moved = _log_loss(Z @ (theta - size * step), target)
            if moved < value:
                break
            size /= 2.0
        else:
            break  # no step lowers the loss any more: this is the minimum, to rounding
        theta, value = theta - size * step, moved
    else:
        raise TrainingError(f"platt: the curve did not converge in {_MAX_STEPS} Newton steps on {len(z)} rows")
    slope = theta[0] / deviation
    return float(slope), float(theta[1] - slope * mean)


def _log_loss(z: Matrix, target: Matrix) -> float:
    return float(np.sum(np.logaddexp(0.0, z) - target * z))
