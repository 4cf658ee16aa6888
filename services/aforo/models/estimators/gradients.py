"""Integrated gradients of a multilayer perceptron with ReLU, from its weights alone.

Axes: N rows, D columns of the matrix, K outputs, S steps, H units of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from aforo.features.feature import Matrix


def integrated_gradients(
    layers: Sequence[tuple[Matrix, Matrix]],
    X_ND: Matrix,
    baseline_D: Matrix,
    outputs_N: npt.NDArray[np.int64],
    *,
    steps: int = 100,
) -> Matrix:
    """Return what each column adds to a row's score on the straight way from the baseline, shape (N, D).

    The gradient is taken in the middle of each of ``steps`` equal pieces of the way. A row's sum is the difference of
    the two scores, but for what the pieces in which a unit wakes or sleeps get wrong: it shrinks with their length.

    Parameters
    ----------
    layers
        Weights (in, out) and bias (out,) of each; ReLU between them.
    outputs_N
        Which of the K scores is explained, row by row.

    References
    ----------
    Sundararajan, Taly and Yan, Axiomatic attribution for deep networks, ICML 2017.
    """
    way_ND = X_ND - baseline_D
    total_ND = np.zeros_like(X_ND)
    for step in range(steps):
        hidden = baseline_D + (step + 0.5) / steps * way_ND
        awake = []
        for weights, bias in layers[:-1]:
            hidden = hidden @ weights + bias
            awake.append(hidden > 0)
            hidden = np.where(awake[-1], hidden, 0.0)
        gradient = layers[-1][0].T[outputs_N]  # (N, H) of the last hidden layer
        for (weights, _), alive in zip(reversed(layers[:-1]), reversed(awake), strict=True):
            gradient = (gradient * alive) @ weights.T
        total_ND += gradient
    return way_ND * total_ND / steps


def scores(layers: Sequence[tuple[Matrix, Matrix]], X_ND: Matrix) -> Matrix:
    """Return the network's scores, shape (N, K): log-odds, logits of the classes, or a value."""
    for weights, bias in layers[:-1]:
        X_ND = np.maximum(X_ND @ weights + bias, 0.0)
    weights, bias = layers[-1]
    return np.asarray(X_ND @ weights + bias)
