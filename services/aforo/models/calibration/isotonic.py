"""Isotonic calibration: the best curve that never falls."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from aforo.contracts.specification import Specification
from aforo.graph import Graph
from aforo.models.calibration.calibrator import Matrix, ProbabilityCalibrator, class_columns, one_against_rest
from aforo.models.trees import Tree, Trees

# Fewer rows than this give a curve of noise: Niculescu-Mizil and Caruana (2005) see it lose to Platt up to 1,000.
MIN_ROWS = 200
# A curve of one class against the rest has no more steps than the class has rows.
MIN_ROWS_OF_A_CLASS = 20

# Scores closer than this are ties. Between two thresholds the curve is a straight line. The same score summed in
# another order differs by some 1e-16; with thresholds 1e-6 apart or more, no slope turns that into more than 1e-9.
# And no calibration part is large enough to tell apart probabilities that differ by a millionth.
_TIE = 1e-6


class Curve(Specification):
    """A function that never falls: straight lines between points, constant beyond the first and the last.

    Attributes
    ----------
    x, y
        The points, x rising strictly; the two have one length, at least 1.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def lines(self) -> tuple[Matrix, Matrix]:
        """Return slope and intercept of each piece, len(x) + 1 of them, the first ending at ``x[0]``."""
        x, y = np.array(self.x), np.array(self.y)
        slopes = np.diff(y) / np.diff(x)
        inner = y[:-1] - slopes * x[:-1]
        return np.array([0.0, *slopes, 0.0]), np.array([y[0], *inner, y[-1]])


class IsotonicCalibration(ProbabilityCalibrator):
    """The non-decreasing curve with the lowest squared error, by pooling adjacent violators.

    It mends a miscalibration of any shape that keeps the order of the rows, and needs rows for it:
    with a few hundred it fits their noise. Equal scores get equal probabilities.

    Attributes
    ----------
    curves
        One per map.

    References
    ----------
    Zadrozny and Elkan, Transforming classifier scores into accurate multiclass probability estimates, KDD 2002.
    """

    kind: Literal["isotonic"] = "isotonic"
    curves: tuple[Curve, ...]

    @classmethod
    def fit(cls, outputs: Matrix, y: npt.NDArray[np.int64]) -> Self:
        """Fit to uncalibrated probabilities (N, K) and class indices (N,)."""
        P = class_columns(outputs)
        truth = one_against_rest(y, P.shape[1])
        return cls(curves=tuple(_fit_curve(p, t) for p, t in zip(P.T, truth.T, strict=True)))

    @property
    def method(self) -> str:
        return self.kind

    @property
    def width(self) -> int:
        return len(self.curves)

    def map(self, P: Matrix) -> Matrix:
        mapped = np.empty_like(P)
        for column, curve in enumerate(self.curves):
            slopes, intercepts = curve.lines()
            piece = np.searchsorted(curve.x, P[:, column], side="left")
            mapped[:, column] = slopes[piece] * P[:, column] + intercepts[piece]
        return np.clip(mapped, 0.0, 1.0)

    def add_map_to(self, graph: Graph, tensor: str) -> str:
        # One look-up for all classes: a tree per class finds the slope of the row's piece, another its intercept.
        trees = []
        for column, curve in enumerate(self.curves):
            slopes, intercepts = curve.lines()
            trees.append(_search_tree(curve.x, slopes, feature=column, output=column))
            trees.append(_search_tree(curve.x, intercepts, feature=column, output=self.width + column))
        found = Trees(trees=tuple(trees), outputs=2 * self.width).add_to(graph, tensor, offset=np.zeros(2 * self.width))
        slopes_name, intercepts_name = graph.add_many("Split", found, outputs=2, axis=1, num_outputs=2)
        line = graph.add("Add", graph.add("Mul", slopes_name, tensor), intercepts_name)
        return graph.add("Clip", line, graph.constant(0.0), graph.constant(1.0))


def _fit_curve(p: Matrix, truth: Matrix) -> Curve:
    from sklearn.isotonic import IsotonicRegression  # takes seconds, and reading a use case must not

    ties = np.round(p / _TIE) * _TIE
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(ties, truth)
    return Curve(x=tuple(fitted.X_thresholds_.tolist()), y=tuple(fitted.y_thresholds_.tolist()))


def _search_tree(x: tuple[float, ...], values: Matrix, *, feature: int, output: int) -> Tree:
    """Return a balanced tree whose leaf for a row is ``values[i]``, i being the number of ``x`` below the row's."""
    left: list[int] = []
    right: list[int] = []
    threshold: list[float] = []
    value: list[float] = []

    def grow(first: int, last: int) -> int:
        node = len(left)
        left.append(-1)
        right.append(-1)
        if first == last:
            threshold.append(0.0)
            value.append(float(values[first]))
            return node
        middle = (first + last) // 2
        threshold.append(x[middle])
        value.append(0.0)
        left[node] = grow(first, middle)
        right[node] = grow(middle + 1, last)
        return node

    grow(0, len(x))
    return Tree(
        output=output,
        feature=np.full(len(left), feature),
        threshold=np.array(threshold),
        missing_left=np.zeros(len(left), np.bool_),
        left=np.array(left),
        right=np.array(right),
        is_leaf=np.array(left) < 0,
        value=np.array(value),
    )
