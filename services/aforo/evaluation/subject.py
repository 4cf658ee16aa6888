"""What is judged by its behaviour: a predictor as a function of raw rows, with rows to ask it about."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aforo.contracts.prediction import PredictionContract, Scalar
from aforo.contracts.table import ColumnContract, Role, TableContract
from aforo.errors import DataError
from aforo.evaluation.answers import Answers, Floats
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.metrics.regression import bounds_of

Predict = Callable[[pl.DataFrame], Mapping[str, Floats]]
"""From raw rows (N) to the outputs of the prediction contract: the exported graph itself, or any stand-in for it."""

_MASK = "(private)"


@dataclass(frozen=True, eq=False)
class Subject:
    """A predictor, and rows whose true values are known.

    Attributes
    ----------
    contract
        What the predictor takes and gives.
    columns
        What the columns of ``table`` mean; it has more of them than the predictor reads.
    y
        True values as in :class:`~aforo.evaluation.answers.Answers`, shape (N,).
    groups
        Which rows belong together, shape (N,); ``None`` if they are independent.
    """

    contract: PredictionContract
    columns: TableContract
    predict: Predict
    table: pl.DataFrame
    y: NDArray[Any]
    groups: NDArray[Any] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.y) != self.table.height or (self.groups is not None and len(self.groups) != len(self.y)):
            raise DataError(f"a table of {self.table.height} rows comes with {len(self.y)} true values")

    def __len__(self) -> int:
        return self.table.height

    @property
    def clusters(self) -> Clusters:
        """Which of the rows are drawn together by a bootstrap."""
        return Clusters.of_rows(len(self), self.groups)

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the columns that the predictor takes."""
        return tuple(column.name for column in self.contract.inputs)

    def column(self, name: str) -> ColumnContract:
        """Return what a column means."""
        return self.columns[name]

    def answers(self, table: pl.DataFrame | None = None) -> Answers:
        """Return the answers on the rows, or on ``table``: the same rows with some of their values changed."""
        return Answers.of(self.contract, self.y, self.predict(self.table if table is None else table))

    def sample(self, rows: int) -> Subject:
        """Return the predictor with at most ``rows`` of the rows, drawn by the seed, in their order."""
        return self if rows >= len(self) else self.take(np.sort(self.rng("sample").permutation(len(self))[:rows]))

    def take(self, positions: NDArray[np.int64]) -> Subject:
        """Return the predictor with the rows at ``positions``."""
        groups = None if self.groups is None else self.groups[positions]
        return replace(self, table=self.table[positions], y=self.y[positions], groups=groups)

    def rng(self, purpose: str) -> np.random.Generator:
        """Return random numbers of one purpose, which do not change when another purpose draws more of them."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode())])

    def shown(self, position: int, *names: str) -> dict[str, Scalar]:
        """Return what identifies a row, and the named columns, for people to read; private values are masked."""
        wanted = dict.fromkeys((*(column.name for column in self.columns.with_role(Role.KEY)), *names))
        return {name: self.masked(name, self.table.item(position, name)) for name in wanted}

    def masked(self, name: str, value: Any) -> Scalar:
        """Return a value of a column as a report may show it."""
        if self.column(name).private and value is not None:
            return _MASK
        return value if isinstance(value, str | int | float | bool | None) else str(value)


def graded(answers: Answers, label: str | None = None, classes: tuple[str, ...] = ()) -> Floats:
    """Return the one output that can rise and fall, shape (N,).

    It is the value of a regression, the probability of the positive class of a binary task, and the probability
    of ``label`` where there are several classes.
    """
    if answers.task == "regression":
        return answers.value
    return answers.probabilities[:, classes.index(label) if label is not None else 1]


def outputs_of(answers: Answers) -> Floats:
    """Return all that a change can show in, shape (N, K): the value, or the probability of each class."""
    if answers.task == "regression":
        return answers.value[:, None]
    return answers.probabilities[:, 1:] if answers.task == "binary" else answers.probabilities


def decision_changed(before: Answers, after: Answers) -> NDArray[np.bool_]:
    """Return which rows are decided otherwise, shape (N,).

    A class is decided otherwise when another label is answered; a value, when it leaves the interval that was given
    for it before.
    """
    if before.task == "regression":
        lower, upper = bounds_of(before).T
        return np.asarray((after.value < lower) | (after.value > upper))
    return np.asarray(before.labels != after.labels)
