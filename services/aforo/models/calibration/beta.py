"""Beta calibration: a curve that bends each end of the probabilities by itself."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from aforo.graph import Graph
from aforo.models.calibration.calibrator import Matrix, ProbabilityCalibrator, class_columns, one_against_rest
from aforo.models.calibration.logistic import CERTAIN, fit_logistic, sigmoid, smoothed


class BetaCalibration(ProbabilityCalibrator):
    """sigmoid(a ln p - b ln(1 - p) + c), with a and b never negative: three parameters.

    The right curve where the scores of each class follow beta distributions. It holds Platt's curve over
    log-odds (a = b) and the identity (a = b = 1, c = 0), and can besides sharpen one end while it softens the
    other. It needs few rows, though more than Platt's, and cannot mend a curve of another shape.

    Attributes
    ----------
    low, high, shifts
        a, b and c, one per map.

    References
    ----------
    Kull, Silva Filho and Flach, Beta calibration: a well-founded and easily implemented improvement on logistic
    calibration for binary classifiers, AISTATS 2017.
    """

    kind: Literal["beta"] = "beta"
    low: tuple[float, ...]
    high: tuple[float, ...]
    shifts: tuple[float, ...]

    @classmethod
    def fit(cls, outputs: Matrix, y: npt.NDArray[np.int64]) -> Self:
        """Fit to uncalibrated probabilities (N, K) and class indices (N,)."""
        P = class_columns(outputs)
        truth = one_against_rest(y, P.shape[1])
        fitted = [_fit_curve(p, t) for p, t in zip(P.T, truth.T, strict=True)]
        low, high, shifts = zip(*fitted, strict=True)
        return cls(low=low, high=high, shifts=shifts)

    @property
    def method(self) -> str:
        return self.kind

    @property
    def width(self) -> int:
        return len(self.shifts)

    def map(self, P: Matrix) -> Matrix:
        ends = _ends(P)
        return sigmoid(np.array(self.low) * ends[0] + np.array(self.high) * ends[1] + np.array(self.shifts))

    def add_map_to(self, graph: Graph, tensor: str) -> str:
        p = graph.add("Clip", tensor, graph.constant(CERTAIN), graph.constant(1.0 - CERTAIN))

        def curve(p: str) -> str:
            low = graph.add("Mul", graph.add("Log", p), graph.constant([self.low]))
            rest = graph.add("Log", graph.add("Sub", graph.constant(1.0), p))
            high = graph.add("Mul", rest, graph.constant([[-b for b in self.high]]))
            line = graph.add("Add", graph.add("Add", low, high), graph.constant([self.shifts]))
            return graph.add("Sigmoid", line)

        return graph.mapped(p, curve)


def _ends(p: Matrix) -> tuple[Matrix, Matrix]:
    """Return ln p and -ln(1 - p), which both rise with p."""
    clipped = np.clip(p, CERTAIN, 1.0 - CERTAIN)
    return np.log(clipped), -np.log(1.0 - clipped)


def _fit_curve(p: Matrix, truth: Matrix) -> tuple[float, float, float]:
    """Return a, b and c; an end whose weight would be negative is left out, as the paper does."""
    X, target = np.stack(_ends(p), axis=1), smoothed(truth)
    kept = [0, 1]
    while True:
        weights, shift = fit_logistic(X[:, kept], target, name="beta")
        if not kept or weights.min() >= 0:
            break
        kept.pop(int(weights.argmin()))
    ends = dict(zip(kept, weights.tolist(), strict=True))
    return ends.get(0, 0.0), ends.get(1, 0.0), shift
