"""A small neural network in whole numbers of 8 bits, for a device or as the first phase of two.

Axes: N rows, D columns of the matrix, H units of a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from aforo.errors import TrainingError
from aforo.features.feature import Matrix
from aforo.graph import Graph
from aforo.models.estimators.estimator import (
    Estimator,
    Examples,
    Task,
    add_probabilities,
    probabilities_of,
)
from aforo.models.estimators.neural_network import NeuralNetwork, PerceptronSpec, Units

# Inputs of a layer are 0 to 255. Weights are -127 to 127, and stored with 128 added: ONNX Runtime multiplies two
# unsigned bytes exactly on every processor; with signed weights, some older ones cut sums off at 16 bits.
_LARGEST_INPUT, _LARGEST_WEIGHT, _ZERO = 255, 127, 128
# A sum of this many products is sure to fit into 32 bits.
_MOST_COLUMNS = 2**31 // (_LARGEST_INPUT * (_LARGEST_WEIGHT + _ZERO))


class QuantizedNetworkSpec(PerceptronSpec):
    """A neural network whose weights take a byte each: an eighth of the size, a little less exact.

    Attributes
    ----------
    hidden
        Units of each hidden layer; none at all gives a linear model.
    learning_rate, weight_decay, dropout, batch_rows, epochs, patience
        As of a ``neural_network``.
    """

    kind: Literal["quantized_network"] = "quantized_network"
    hidden: Annotated[tuple[Units, ...], Field(max_length=6)] = (16,)
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3

    def build(self, task: Task) -> QuantizedNetwork:
        return QuantizedNetwork(self.network(task))


@dataclass(frozen=True, eq=False)
class _Layer:
    """One layer in whole numbers: ``round((x - low) * factor) @ weights * scale + bias``.

    Attributes
    ----------
    low, factor
        What brings each input to 0-255, shape (D,).
    weights
        (D, H) whole numbers from -127 to 127, as float64: sums of them are exact.
    scale, bias
        Of each unit, shape (H,).
    """

    low: Matrix
    factor: Matrix
    weights: Matrix
    scale: Matrix
    bias: Matrix

    @classmethod
    def of(cls, weights: Matrix, bias: Matrix, inputs: Matrix) -> _Layer:
        """Quantise a layer for inputs that are like ``inputs`` (N, D)."""
        low, high = inputs.min(axis=0), inputs.max(axis=0)
        step = np.where(high > low, (high - low) / _LARGEST_INPUT, 1.0)
        wanted = weights * step[:, None]
        scale = np.abs(wanted).max(axis=0) / _LARGEST_WEIGHT
        scale = np.where(scale > 0, scale, 1.0)
        return cls(low, 1.0 / step, np.rint(wanted / scale), scale, bias + low @ weights)

    def apply(self, X: Matrix) -> Matrix:
        whole = np.clip(np.rint((X - self.low) * self.factor), 0, _LARGEST_INPUT)
        return (whole @ self.weights) * self.scale + self.bias

    def add_to(self, graph: Graph, tensor: str) -> str:
        shifted = graph.add("Sub", tensor, graph.constant(self.low[None, :]))
        scaled = graph.add("Round", graph.add("Mul", shifted, graph.constant(self.factor[None, :])))
        whole = graph.cast(graph.add("Clip", scaled, graph.constant(0.0), graph.constant(_LARGEST_INPUT)), "byte")
        weights = graph.constant(self.weights + _ZERO, dtype=np.uint8)
        zeros = graph.constant(0, dtype=np.uint8), graph.constant(_ZERO, dtype=np.uint8)
        sums = graph.cast(graph.add("MatMulInteger", whole, weights, *zeros), "number")
        return graph.add(
            "Add", graph.add("Mul", sums, graph.constant(self.scale[None, :])), graph.constant(self.bias[None, :])
        )


class QuantizedNetwork(Estimator):
    """A multilayer perceptron with ReLU, fitted in floating point and then rounded to bytes.

    Every input of a layer has a range of its own, that of the training rows; what lies outside is moved to its end.
    Ranges are fixed here and not taken from the rows that are predicted together, as dynamic quantisation does:
    there, a row's answer depends on which others came with it. Whole numbers add up to the same sum in any order and
    on any machine.

    It can learn from probabilities in place of labels, which is how a large model teaches it.

    Parameters
    ----------
    network
        What is fitted, and then rounded.

    References
    ----------
    Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
    CVPR 2018.
    """

    learns_from_probabilities = True

    def __init__(self, network: NeuralNetwork) -> None:
        super().__init__(network.task)
        self.network = network

    def fit(self, train: Examples, validation: Examples, *, seed: int) -> Self:
        if max(train.X.shape[1], *self.network.hidden, 0) > _MOST_COLUMNS:
            raise TrainingError(
                f"quantized_network: {train.X.shape[1]:,} columns; expected {_MOST_COLUMNS:,} at most",
                hint="give it features of its own, fewer of them",
            )
        network = self.network.fit(train, validation, seed=seed)
        layers = []
        X = train.X
        for weights, bias in network.layers_:
            layers.append(_Layer.of(weights, bias, X))
            # The next layer is fitted to what this one gives, rounding included.
            X = np.maximum(layers[-1].apply(X), 0.0)
        self.layers_ = tuple(layers)
        return self

    def predict(self, X: Matrix) -> Matrix:
        scores, unknown = X, _unknown(X)
        for number, layer in enumerate(self.layers_):
            scores = layer.apply(np.maximum(scores, 0.0) if number else scores)
        return probabilities_of(scores + unknown, self.task)

    def add_to(self, graph: Graph, matrix: str) -> str:
        scores = matrix
        for number, layer in enumerate(self.layers_):
            scores = layer.add_to(graph, graph.add("Relu", scores) if number else scores)
        unknown = graph.add("Mul", graph.row_sums(matrix), graph.constant(0.0))
        return add_probabilities(graph, graph.add("Add", scores, unknown), self.task)


def _unknown(X: Matrix) -> npt.NDArray[np.float64]:
    """Return 0 for each row, and NaN for one with a number that is missing or not finite: no byte can say so."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(X.sum(axis=1, keepdims=True) * 0.0)
