"""Temperature scaling: one number that makes all classes less sure, or surer, together."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from aforo.graph import Graph
from aforo.models.calibration.calibrator import Calibrator, Matrix

# Beyond these, probabilities are all even, or all certain, and no data asks for more.
_COLDEST, _HOTTEST = 0.01, 100.0
# A certain row counts as this sure while fitting, or it alone would decide.
_CERTAIN = 1e-9
_HALVINGS = 60


class TemperatureScaling(Calibrator):
    """softmax(ln p / temperature): the probabilities to the power of 1 / temperature, normalised.

    A temperature above 1 softens, below 1 sharpens. The order of the classes stays, so the most probable one does
    not change: the first choice for networks with several classes. With one parameter it needs the fewest rows, and it
    cannot shift anything.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017.
    """

    kind: Literal["temperature"] = "temperature"
    temperature: Annotated[float, Field(gt=0)]

    @classmethod
    def fit(cls, outputs: Matrix, y: npt.NDArray[np.int64]) -> Self:
        """Fit to uncalibrated probabilities (N, K) and class indices (N,) by the lowest log loss."""
        logs = np.log(np.clip(outputs, _CERTAIN, 1.0))
        of_the_truth = logs[np.arange(len(y)), y]

        def slope(power: float) -> float:
            shares = _softmax(power * logs)
            return float(np.sum((shares * logs).sum(axis=1) - of_the_truth))

        # The log loss is convex in 1 / temperature: its slope never falls, and is 0 where the loss is lowest.
        low, high = np.log(1.0 / _HOTTEST), np.log(1.0 / _COLDEST)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2.0
            low, high = (low, middle) if slope(np.exp(middle)) > 0 else (middle, high)
        return cls(temperature=float(np.exp(-(low + high) / 2.0)))

    @property
    def method(self) -> str:
        return self.kind

    def apply(self, outputs: Matrix) -> dict[str, Matrix]:
        # Relative to the largest, so that no power vanishes everywhere in a row.
        relative = outputs / outputs.max(axis=1, keepdims=True)
        with np.errstate(divide="ignore"):
            powers = np.exp(np.log(relative) / self.temperature)
        return {"probabilities": powers / powers.sum(axis=1, keepdims=True)}

    def add_to(self, graph: Graph, tensor: str) -> dict[str, str]:
        axis = graph.constant([1], dtype=np.int64)
        relative = graph.add("Div", tensor, graph.add("ReduceMax", tensor, axis, keepdims=1))

        def powered(relative: str) -> str:
            return graph.add("Exp", graph.add("Div", graph.add("Log", relative), graph.constant(self.temperature)))

        powers = graph.mapped(relative, powered)
        return {"probabilities": graph.add("Div", powers, graph.row_sums(powers))}


def _softmax(logs: Matrix) -> Matrix:
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
