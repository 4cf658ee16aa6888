"""What every calibrator is: uncalibrated outputs in, the prediction contract's outputs out, and the same as nodes."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
from pydantic import Field

from aforo.contracts.specification import Specification
from aforo.graph import Graph

Matrix = npt.NDArray[np.float64]

# What is left of a row that every map sends to 0 is rounding, which must not be blown up to a probability.
_NOTHING = 1e-3


class Calibrator(Specification, ABC):
    """A fitted calibrator: plain numbers, so that it crosses processes as JSON and is never pickled.

    Attributes
    ----------
    cross_validated
        Per method that was tried, its Brier score (classes) or mean interval width (regression), on
        rows of the calibration part that it was not fitted on.
    """

    cross_validated: dict[str, float] = Field(default_factory=dict)

    @property
    @abstractmethod
    def method(self) -> str:
        """The method's name, as in ``methods``."""

    @abstractmethod
    def apply(self, outputs: Matrix) -> dict[str, Matrix]:
        """Turn uncalibrated outputs (N, K) into the outputs of the prediction contract."""

    @abstractmethod
    def add_to(self, graph: Graph, tensor: str) -> dict[str, str]:
        """Add what ``apply`` does; return the tensor of each output of the prediction contract."""

    def to_json(self) -> str:
        """Return all there is to know about it; :func:`aforo.models.calibration.calibrator_from_json` reads it."""
        return self.model_dump_json()


class ProbabilityCalibrator(Calibrator):
    """A map per class from probability to probability.

    Two classes share one map, of the second class. More are mapped one against the rest and renormalised;
    a row whose mapped probabilities are all next to 0 keeps its uncalibrated ones.

    References
    ----------
    Zadrozny and Elkan, Transforming classifier scores into accurate multiclass probability estimates, KDD 2002.
    """

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of maps: 1 for two classes, else one per class."""

    @abstractmethod
    def map(self, P: Matrix) -> Matrix:
        """Map probabilities of shape (N, width), column by column."""

    @abstractmethod
    def add_map_to(self, graph: Graph, tensor: str) -> str:
        """Add what ``map`` does."""

    def apply(self, outputs: Matrix) -> dict[str, Matrix]:
        if self.width == 1:
            p = self.map(outputs[:, 1:])
            return {"probabilities": np.hstack([1.0 - p, p])}
        mapped = self.map(outputs)
        total = mapped.sum(axis=1, keepdims=True)
        somewhere = total > _NOTHING
        return {"probabilities": np.where(somewhere, mapped / np.where(somewhere, total, 1.0), outputs)}

    def add_to(self, graph: Graph, tensor: str) -> dict[str, str]:
        if self.width == 1:
            return {"probabilities": graph.both_classes(self.add_map_to(graph, graph.second_class(tensor)))}
        mapped = self.add_map_to(graph, tensor)
        total = graph.row_sums(mapped)
        somewhere = graph.add("Greater", total, graph.constant(_NOTHING))
        return {"probabilities": graph.add("Where", somewhere, graph.add("Div", mapped, total), tensor)}


def class_columns(outputs: Matrix) -> Matrix:
    """Return the probabilities that are mapped: the second of two classes, or all of them."""
    return outputs[:, 1:] if outputs.shape[1] == 2 else outputs


def one_against_rest(y: npt.NDArray[np.int64], width: int) -> Matrix:
    """Return what the mapped probabilities should have been: 0 or 1, of shape (N, width)."""
    return (y == 1).astype(np.float64)[:, None] if width == 1 else np.eye(width)[y]
