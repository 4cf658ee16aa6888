"""Platt scaling: a logistic curve over the log-odds of the uncalibrated probability."""

from __future__ import annotations

from functools import partial
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from aforo.graph import Graph
from aforo.models.calibration.calibrator import Matrix, ProbabilityCalibrator, class_columns, one_against_rest
from aforo.models.calibration.logistic import CERTAIN, fit_logistic, log_odds, sigmoid, smoothed
from aforo.models.trees import add_line

_ENDS = np.array([CERTAIN, 1.0 - CERTAIN])


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
        fitted = [_fit_curve(log_odds(p), t) for p, t in zip(P.T, truth.T, strict=True)]
        return cls(slopes=tuple(slope for slope, _ in fitted), shifts=tuple(shift for _, shift in fitted))

    @property
    def method(self) -> str:
        return self.kind

    @property
    def width(self) -> int:
        return len(self.slopes)

    def map(self, P: Matrix) -> Matrix:
        return sigmoid(log_odds(P) * np.array(self.slopes) + np.array(self.shifts))

    def add_map_to(self, graph: Graph, tensor: str) -> str:
        z = graph.log_odds(tensor)
        if z is not None and self.width == 1:
            return graph.mapped(self._add_line(graph, z), partial(graph.add, "Sigmoid"))
        p = graph.add("Clip", tensor, *map(graph.constant, _ENDS))
        odds = graph.add("Div", p, graph.add("Sub", graph.constant(1.0), p))

        def curve(odds: str) -> str:
            scaled = graph.add("Mul", graph.add("Log", odds), graph.constant([self.slopes]))
            return graph.add("Sigmoid", graph.add("Add", scaled, graph.constant([self.shifts])))

        return graph.mapped(odds, curve)

    def _add_line(self, graph: Graph, z: str) -> str:
        """Add the line through log-odds (N, 1), which may become part of the model."""
        (slope,), (shift,), ends = self.slopes, self.shifts, log_odds(_ENDS)
        line = add_line(graph, z, slope, shift, ends=ends)
        if line is not None:
            return line
        clipped = graph.add("Clip", z, *map(graph.constant, ends))
        return graph.add("Add", graph.add("Mul", clipped, graph.constant([self.slopes])), graph.constant([self.shifts]))


def _fit_curve(z: Matrix, truth: Matrix) -> tuple[float, float]:
    weights, shift = fit_logistic(z[:, None], smoothed(truth), name="platt")
    return float(weights[0]), shift
