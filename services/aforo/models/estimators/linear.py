"""Linear models: logistic regression for classes, ridge regression for values."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field
from typing_extensions import override

from aforo.errors import TrainingError
from aforo.features.feature import Matrix
from aforo.graph import Graph
from aforo.models.estimators.estimator import (
    CandidateSpecification,
    Estimator,
    Examples,
    Task,
    add_probabilities,
    one_thread,
    probabilities_of,
)

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

# Up to here the Hessian of Newton's method is small: a few exact steps beat hundreds of gradient steps.
_NEWTON_UP_TO = 1000


class LinearSpec(CandidateSpecification):
    """A weighted sum of the features. The first real model to try, and easy to read.

    Attributes
    ----------
    penalty
        Strength of the squared penalty on the weights, as scikit-learn's ``1 / C`` and ``alpha``.
    max_iterations
        Of the solver of the logistic regression.
    """

    kind: Literal["linear"] = "linear"
    penalty: Annotated[float, Field(gt=0)] = 1.0
    max_iterations: Annotated[int, Field(ge=1)] = 1000

    def build(self, task: Task) -> LinearModel:
        return LinearModel(task, penalty=self.penalty, max_iterations=self.max_iterations)


class LinearModel(Estimator):
    """Logistic or ridge regression over standardised columns.

    The columns are standardised inside, so that the penalty treats them alike and the solver converges;
    the scale is folded into the weights afterwards and costs nothing at prediction.

    Parameters
    ----------
    penalty, max_iterations
        As in :class:`LinearSpec`.
    """

    def __init__(self, task: Task, *, penalty: float = 1.0, max_iterations: int = 1000) -> None:
        super().__init__(task)
        self.penalty = penalty
        self.max_iterations = max_iterations

    @override
    def fit(self, train: Examples, validation: Examples, *, seed: int) -> Self:
        from sklearn.linear_model import Ridge  # takes seconds, and reading a use case must not

        mean, deviation = center_and_deviation(train.X)
        X = (train.X - mean) / deviation
        with one_thread():
            if self.task.is_regression:
                model = Ridge(alpha=self.penalty, solver="cholesky").fit(X, train.y)
                weights, bias = model.coef_[:, None], np.atleast_1d(model.intercept_)
            else:
                model = self._fit_classes(X, train.y, seed)
                weights, bias = model.coef_.T, model.intercept_
        self.weights_ = weights / deviation[:, None]
        self.bias_ = bias - mean @ self.weights_
        return self

    def predict(self, X: Matrix) -> Matrix:
        return probabilities_of(X @ self.weights_ + self.bias_, self.task)

    def add_to(self, graph: Graph, matrix: str) -> str:
        scores = graph.add("Gemm", matrix, graph.constant(self.weights_), graph.constant(self.bias_))
        return add_probabilities(graph, scores, self.task)

    def _fit_classes(self, X: Matrix, y: np.ndarray, seed: int) -> LogisticRegression:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        small = X.shape[1] * self.task.width <= _NEWTON_UP_TO
        model = LogisticRegression(
            C=1.0 / self.penalty,
            solver="newton-cholesky" if small else "lbfgs",
            max_iter=self.max_iterations,
            random_state=seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                return model.fit(X, y)
            except ConvergenceWarning as warning:
                raise TrainingError(
                    f"linear: the solver did not converge in {self.max_iterations} iterations",
                    hint="raise `max_iterations` or `penalty`",
                ) from warning


def center_and_deviation(X: Matrix) -> tuple[Matrix, Matrix]:
    """Return mean and standard deviation of each column; the deviation of a constant column is 1."""
    deviation = X.std(axis=0)
    # Rounding can leave a constant column with a deviation of 1e-17.
    constant = X.max(axis=0) == X.min(axis=0)
    return X.mean(axis=0), np.where(constant | (deviation == 0), 1.0, deviation)
