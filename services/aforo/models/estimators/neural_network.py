"""A small neural network on the encoded matrix.

Axes: N rows, D columns of the matrix, H units of a hidden layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field

from aforo.features.feature import Matrix
from aforo.graph import Graph
from aforo.models.estimators.estimator import (
    CandidateSpecification,
    Estimator,
    Examples,
    Task,
    add_probabilities,
    probabilities_of,
)
from aforo.models.estimators.gradients import integrated_gradients, scores
from aforo.models.estimators.linear import center_and_deviation

Units = Annotated[int, Field(ge=1, le=4096)]


class PerceptronSpec(CandidateSpecification):
    """What every kind of multilayer perceptron is told.

    Attributes
    ----------
    hidden
        Units of each hidden layer.
    dropout
        Share (0-1) of hidden units left out at random in training.
    weight_decay
        Of AdamW.
    batch_rows
        Rows per step; fewer where the training part is so small that an epoch would have under 32 steps.
    epochs, patience
        Most passes over the training rows; stop after this many without a lower loss on the validation part.
    """

    kind: str
    hidden: Annotated[tuple[Units, ...], Field(max_length=6)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    batch_rows: Annotated[int, Field(ge=1)] = 512
    epochs: Annotated[int, Field(ge=1)] = 50
    patience: Annotated[int, Field(ge=1)] = 5

    def network(self, task: Task) -> NeuralNetwork:
        """Return the network in floating point, not yet fitted."""
        return NeuralNetwork(
            task,
            hidden=self.hidden,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            batch_rows=self.batch_rows,
            epochs=self.epochs,
            patience=self.patience,
        )


class NeuralNetworkSpec(PerceptronSpec):
    """A multilayer perceptron with early stopping. Worth a try from some ten thousand rows on."""

    kind: Literal["neural_network"] = "neural_network"
    hidden: Annotated[tuple[Units, ...], Field(min_length=1, max_length=6)] = (64, 32)
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3

    def build(self, task: Task) -> NeuralNetwork:
        return self.network(task)


class NeuralNetwork(Estimator):
    """A multilayer perceptron with ReLU, fitted by AdamW in float32 and evaluated in float64.

    Columns, and the target of a regression, are standardised inside; the scale is folded into the
    first and the last layer. It starts from the overall rate (or mean), and the weights with the
    lowest validation loss are kept, so that it is never worse there than that rate.

    Parameters
    ----------
    hidden, learning_rate, weight_decay, dropout, batch_rows, epochs, patience
        As in :class:`PerceptronSpec`.

    References
    ----------
    Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019.
    """

    learns_from_probabilities = True

    def __init__(
        self,
        task: Task,
        *,
        hidden: Sequence[int] = (64, 32),
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        dropout: float = 0.0,
        batch_rows: int = 512,
        epochs: int = 50,
        patience: int = 5,
    ) -> None:
        super().__init__(task)
        self.hidden = tuple(hidden)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.batch_rows = batch_rows
        self.epochs = epochs
        self.patience = patience

    def fit(self, train: Examples, validation: Examples, *, seed: int) -> Self:
        from aforo.models.estimators.perceptron import train_perceptron  # torch takes seconds to load

        mean_D, deviation_D = center_and_deviation(train.X)
        shift, factor = _target_scale(train.y) if self.task.is_regression else (0.0, 1.0)

        def standardised(examples: Examples) -> Examples:
            y = np.asarray((examples.y - shift) / factor, np.float64) if self.task.is_regression else examples.y
            return Examples((examples.X - mean_D) / deviation_D, y)

        layers = train_perceptron(
            standardised(train),
            standardised(validation),
            self.task,
            hidden=self.hidden,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            batch_rows=self.batch_rows,
            epochs=self.epochs,
            patience=self.patience,
            seed=seed,
        )
        layers[0] = (layers[0][0] / deviation_D[:, None], layers[0][1])
        layers[0] = (layers[0][0], layers[0][1] - mean_D @ layers[0][0])
        layers[-1] = (layers[-1][0] * factor, layers[-1][1] * factor + shift)
        self.layers_ = tuple(layers)
        return self

    def predict(self, X: Matrix) -> Matrix:
        return probabilities_of(scores(self.layers_, X), self.task)

    def attributions(self, X: Matrix, baseline: Matrix) -> Matrix:
        """Return integrated gradients of each row's score, shape (N, D): log-odds, a value, or the highest logit.

        Parameters
        ----------
        baseline
            Where the way begins, shape (D,).
        """
        outputs = scores(self.layers_, X).argmax(axis=1)  # the only one, but for several classes
        return integrated_gradients(self.layers_, X, baseline, outputs)

    def add_to(self, graph: Graph, matrix: str) -> str:
        for weights, bias in self.layers_[:-1]:
            matrix = graph.add("Relu", graph.add("Gemm", matrix, graph.constant(weights), graph.constant(bias)))
        weights, bias = self.layers_[-1]
        scores = graph.add("Gemm", matrix, graph.constant(weights), graph.constant(bias))
        return add_probabilities(graph, scores, self.task)


def _target_scale(y: np.ndarray) -> tuple[float, float]:
    deviation = float(np.std(y))
    return float(np.mean(y)), deviation if deviation > 0 else 1.0
