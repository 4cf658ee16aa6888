"""What every estimator is: a matrix in, class probabilities or values out, and the same again as nodes of a graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, model_validator
from threadpoolctl import threadpool_limits

from aforo.contracts.prediction import TaskKind
from aforo.contracts.specification import Specification
from aforo.features import Features
from aforo.features.feature import Matrix
from aforo.graph import Graph

Target = npt.NDArray[np.int64] | npt.NDArray[np.float64]
"""Of shape (N,): the index of the class, or the value of a regression. Of a student: probabilities (N, K)."""

Hyperparameter = str | int | float | bool | None

_NOT_HYPERPARAMETERS = frozenset({"kind", "name", "features", "search"})


@dataclass(frozen=True)
class Task:
    """What is to be predicted.

    Attributes
    ----------
    width
        Columns of the output: one per class, or 1 for a regression.
    """

    kind: TaskKind
    classes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return max(1, len(self.classes))

    @property
    def is_regression(self) -> bool:
        return self.kind == "regression"


@dataclass(frozen=True)
class Examples:
    """Rows to learn from or to be judged on: a matrix (N, D) and its targets (N,)."""

    X: Matrix
    y: Target


class CandidateSpecification(Specification, ABC):
    """The part of a candidate's YAML that every kind has.

    Attributes
    ----------
    name
        How the candidate is called in runs and reports; its kind unless given.
    features
        Features of this candidate, instead of those of the use case.
    search
        Per hyperparameter, the values to try within the budget.
    """

    is_baseline: ClassVar[bool] = False

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    features: Features | None = None
    search: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _name_is_kind_by_default(cls, document: Any) -> Any:
        if isinstance(document, dict) and document.get("name") is None:
            return {**document, "name": cls.model_fields["kind"].default}
        return document

    @model_validator(mode="after")
    def _search_is_over_hyperparameters(self) -> Self:
        for field, values in self.search.items():
            if field not in self.hyperparameters:
                valid = ", ".join(self.hyperparameters) or "none"
                raise ValueError(f"search names {field!r}, which is no hyperparameter here; there are: {valid}")
            for value in values:
                try:
                    self.with_hyperparameters({field: value})
                except ValidationError as error:
                    reason = error.errors()[0]["msg"]
                    raise ValueError(f"search tries {field} = {value!r}: {reason}") from error
        return self

    @property
    def hyperparameters(self) -> dict[str, Hyperparameter]:
        """The fields that say how to fit, as runs record them: a list is one text, with commas."""
        values = {name: getattr(self, name) for name in type(self).model_fields if name not in _NOT_HYPERPARAMETERS}
        return {
            name: ", ".join(map(str, value)) if isinstance(value, tuple) else value for name, value in values.items()
        }

    def with_hyperparameters(self, values: dict[str, Any]) -> Self:
        """Return this candidate with some hyperparameters replaced, and nothing to search."""
        return self.model_validate({**self.model_dump(), "search": {}, **values})

    def own_features(self) -> Features | None:
        """The features that this kind brings along; ``None`` to take those of the use case."""
        return self.features

    @abstractmethod
    def build(self, task: Task) -> Estimator:
        """Return the estimator, not yet fitted."""


class Estimator(ABC):
    """A model over the encoded matrix.

    ``fit`` learns from the training examples, and may look at the validation examples to know when to stop.
    The same examples and seed give the same bits, in any process.

    Attributes
    ----------
    accepts_missing
        Whether NaN in the matrix means something to it.
    learns_from_probabilities
        Whether the targets to learn from may be another model's probabilities (N, K).
    """

    accepts_missing: ClassVar[bool] = False
    learns_from_probabilities: ClassVar[bool] = False

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def fit(self, train: Examples, validation: Examples, *, seed: int) -> Self:
        """Learn. Raises TrainingError where no model can come of it."""

    @abstractmethod
    def predict(self, X: Matrix) -> Matrix:
        """Return probabilities of shape (N, K), or values of shape (N, 1)."""

    @abstractmethod
    def add_to(self, graph: Graph, matrix: str) -> str:
        """Add what ``predict`` does; ``matrix`` is a tensor (N, D)."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS and OpenMP to one thread: sums taken in another order differ in the last bits."""
    with threadpool_limits(limits=1):
        yield


def sigmoid(z: Matrix) -> Matrix:
    """Return 1 / (1 + exp(-z)) without overflow."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def softmax(Z: Matrix) -> Matrix:
    """Return the softmax of each row of (N, K)."""
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def probabilities_of(scores: Matrix, task: Task) -> Matrix:
    """Turn log-odds (N, 1) of the second class, or logits (N, K), into probabilities (N, K); values stay."""
    if task.is_regression:
        return scores
    if task.kind == "binary":
        p = sigmoid(scores)
        return np.hstack([1.0 - p, p])
    return softmax(scores)


def add_probabilities(graph: Graph, scores: str, task: Task) -> str:
    """Add what ``probabilities_of`` does."""
    if task.is_regression:
        return scores
    if task.kind == "binary":
        return graph.both_classes(graph.mapped(scores, partial(graph.add, "Sigmoid")))
    last = graph.constant([1], dtype=np.int64)
    relative = graph.add("Sub", scores, graph.add("ReduceMax", scores, last, keepdims=1))
    powers = graph.mapped(relative, partial(graph.add, "Exp"))
    return graph.add("Div", powers, graph.row_sums(powers))
