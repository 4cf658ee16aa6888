"""What every feature is: columns in, a matrix of float64 out, and the same again as nodes of a graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, field_validator

from aforo.contracts.specification import Specification
from aforo.data.bridging import Mixtures
from aforo.errors import TrainingError
from aforo.graph import Graph

Matrix = npt.NDArray[np.float64]


class FeatureSpecification(Specification, ABC):
    """The part of a feature's YAML that every kind has.

    Attributes
    ----------
    columns
        The raw columns it reads, at least one.
    """

    columns: Annotated[tuple[str, ...], Field(min_length=1)]

    @field_validator("columns")
    @classmethod
    def _columns_are_unique(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        repeated = sorted({name for name in columns if columns.count(name) > 1})
        if repeated:
            raise ValueError(f"columns named twice: {', '.join(repeated)}")
        return columns

    @abstractmethod
    def build(self) -> Feature:
        """Return the feature, not yet fitted."""


class Feature(ABC):
    """Columns of a table turned into columns of a matrix.

    ``fit`` learns from training rows and nothing else; ``transform`` only reads what was learnt; ``add_to``
    says the same in nodes of a graph. The three agree on every value: seen, unseen and missing.

    Attributes
    ----------
    names_
        Names of the output columns, known once fitted.
    takes_mixtures
        Whether it has an answer to a value that stands for several.
    """

    takes_mixtures: ClassVar[bool] = False

    names_: tuple[str, ...]

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self.mixtures: Mixtures = {}

    def mixing(self, mixtures: Mixtures) -> Self:
        """Let some values stand for several others; said before ``fit``.

        Raises
        ------
        TrainingError
            It reads a column with such values, and can make nothing of them.
        """
        self.mixtures = {name: mixtures[name] for name in self.columns if name in mixtures}
        if self.mixtures and not self.takes_mixtures:
            raise TrainingError(
                f"{type(self).__name__} reads column {next(iter(self.mixtures))!r}, which is bridged, and can make "
                "nothing of a value that stands for several",
                hint="read the column by `one_hot` or `ordinal`",
            )
        return self

    @abstractmethod
    def fit(self, table: pl.DataFrame, target: npt.NDArray[np.generic] | None = None) -> Self:
        """Learn from the training rows; ``target`` is for kinds that look at it."""

    @abstractmethod
    def transform(self, table: pl.DataFrame) -> Matrix:
        """Return the matrix of shape (N, len(names_)); missing values are NaN."""

    @abstractmethod
    def add_to(self, graph: Graph, inputs: Mapping[str, str]) -> str:
        """Add what ``transform`` does; ``inputs`` maps raw columns to tensors (N, 1)."""


class Missing(Specification):
    """What to put where a number is missing.

    Attributes
    ----------
    fill
        A number, or the ``mean``, ``median`` or ``most_frequent`` value of the training rows.
    indicator
        Whether to add a column that is 1 where the value was missing, so that a model can tell.
    """

    fill: float | Literal["mean", "median", "most_frequent"] = "mean"
    indicator: bool = False

    def learn(self, matrix: Matrix, columns: tuple[str, ...]) -> Matrix:
        """Return the filling of each column, of shape (C,)."""
        if not isinstance(self.fill, str):
            return np.full(matrix.shape[1], float(self.fill))
        refuse_empty(matrix, columns, hint=f"its {self.fill} is unknown: leave the column out, or fill with a number")
        if self.fill == "mean":
            return np.asarray(np.nanmean(matrix, axis=0))
        if self.fill == "median":
            return np.nanmedian(matrix, axis=0)
        return np.array([_most_frequent(column[~np.isnan(column)]) for column in matrix.T])


def refuse_infinite(matrix: Matrix, columns: tuple[str, ...]) -> None:
    """Raise TrainingError if a column holds an infinite number: no statistic of it means anything."""
    for name, column in zip(columns, matrix.T, strict=True):
        if np.isinf(column).any():
            raise TrainingError(
                f"column {name!r} holds an infinite number in {int(np.isinf(column).sum())} training rows",
                hint="give the column a minimum and a maximum in the table contract",
            )


def refuse_empty(matrix: Matrix, columns: tuple[str, ...], *, hint: str) -> None:
    """Raise TrainingError if a column has no value at all: nothing can be learnt from it."""
    for name, column in zip(columns, matrix.T, strict=True):
        if np.isnan(column).all():
            raise TrainingError(f"no training row has a value in column {name!r}", hint=hint)


def _most_frequent(values: Matrix) -> float:
    distinct, counts = np.unique(values, return_counts=True)
    return float(distinct[np.argmax(counts)])  # of several, the smallest
