"""The logistic fit that Platt and beta calibration share."""

from __future__ import annotations

import numpy as np

from aforo.errors import TrainingError
from aforo.models.calibration.calibrator import Matrix

# Keeps the log-odds of a certain row finite, at about 20.7. Nearer to 1 the log-odds would hang on the last bits of p.
CERTAIN = 1e-9
_MAX_STEPS = 100


def smoothed(truth: Matrix) -> Matrix:
    """Return Platt's targets (N,) for truths of 0 and 1: a little inside, so that fits stay finite.

    References
    ----------
    Platt, Probabilistic outputs for support vector machines, 1999.
    """
    positives = float(truth.sum())
    negatives = len(truth) - positives
    return np.where(truth > 0, (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0))


def fit_logistic(X: Matrix, target: Matrix, *, name: str) -> tuple[Matrix, float]:
    """Return the weights (D,) and the shift that minimise the log loss of sigmoid(X @ weights + shift).

    Newton's method with backtracking, on standardised columns, so that the Hessian is well conditioned whatever
    their spread.

    Parameters
    ----------
    X
        Shape (N, D); D may be 0, for a shift alone.
    target
        Between 0 and 1, shape (N,).
    name
        Of the method, for the message.

    Raises
    ------
    TrainingError
        It did not converge.

    References
    ----------
    Lin, Lin and Weng, A note on Platt's probabilistic outputs for support vector machines, Machine Learning 68, 2007.
    """
    rows, width = X.shape
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    Z = np.hstack([(X - mean) / deviation, np.ones((rows, 1))])
    theta = np.zeros(width + 1)
    theta[-1] = np.log(target.mean() / (1.0 - target.mean()))
    value = _log_loss(Z @ theta, target)
    for _ in range(_MAX_STEPS):
        p = sigmoid(Z @ theta)
        gradient = Z.T @ (p - target)
        if np.abs(gradient).max() < 1e-9 * rows:
            break
        hessian = (Z * (p * (1.0 - p))[:, None]).T @ Z + 1e-12 * rows * np.eye(width + 1)
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
        raise TrainingError(f"{name}: the curve did not converge in {_MAX_STEPS} Newton steps on {rows} rows")
    weights = theta[:-1] / deviation
    return weights, float(theta[-1] - weights @ mean)


def log_odds(p: Matrix) -> Matrix:
    """Return the log-odds of probabilities, finite for certain ones too."""
    clipped = np.clip(p, CERTAIN, 1.0 - CERTAIN)
    return np.log(clipped / (1.0 - clipped))


def sigmoid(z: Matrix) -> Matrix:
    """Return 1 / (1 + exp(-z)), without overflow."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def _log_loss(z: Matrix, target: Matrix) -> float:
    return float(np.sum(np.logaddexp(0.0, z) - target * z))
