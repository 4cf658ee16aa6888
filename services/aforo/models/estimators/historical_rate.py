"""The heuristic that every model has to beat: what happened before to rows like this one."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import override

from aforo.errors import TrainingError
from aforo.features import Features, OrdinalSpec
from aforo.features.feature import Matrix
from aforo.graph import Graph
from aforo.models.estimators.estimator import CandidateSpecification, Estimator, Examples, Task

# Numbers in the table: 8 MB in the graph.
LARGEST_TABLE = 1_000_000


class HistoricalRateSpec(CandidateSpecification):
    """Rate (or mean) of the training rows with the same values in a few columns.

    Attributes
    ----------
    by
        Columns that form the groups, the most telling first. The groups of all of them fall back to the
        groups of all but the last, and so on, to the rate of all rows.
    smoothing
        Weight of the coarser group's rate, in rows: a group of this many rows counts half.
    """

    is_baseline: ClassVar[bool] = True

    kind: Literal["historical_rate"] = "historical_rate"
    by: Annotated[tuple[str, ...], Field(max_length=6)] = ()
    smoothing: Annotated[float, Field(gt=0)] = 20.0

    @model_validator(mode="after")
    def _brings_its_own_features(self) -> Self:
        if self.features is not None:
            raise ValueError("historical_rate takes its columns from `by`; `features` has no meaning here")
        return self

    def own_features(self) -> Features | None:
        return (OrdinalSpec(columns=self.by, unseen=-1.0),) if self.by else None

    def build(self, task: Task) -> HistoricalRate:
        return HistoricalRate(task, levels=len(self.by), smoothing=self.smoothing)


class HistoricalRate(Estimator):
    """Smoothed rates per group of codes, each level shrunk towards the coarser one.

    Everything is precomputed into one dense table with a place for unseen codes, so that
    prediction is one look-up.

    Parameters
    ----------
    levels
        How many columns of the matrix form the groups, from the left; each holds codes 0, 1, … and -1 for unseen.
        With 0, every row gets the overall rate.
    smoothing
        Weight of the coarser level, in rows.

    References
    ----------
    Micci-Barreca, A Preprocessing Scheme for High-Cardinality Categorical Attributes, SIGKDD Explorations 3(1), 2001.
    """

    accepts_missing: ClassVar[bool] = True  # it never looks at other columns

    def __init__(self, task: Task, *, levels: int, smoothing: float = 20.0) -> None:
        super().__init__(task)
        self.levels = levels
        self.smoothing = smoothing

    @override
    def fit(self, train: Examples, validation: Examples, *, seed: int) -> Self:
        codes = train.X[:, : self.levels].astype(np.int64)
        classes = np.eye(self.task.width)
        values = train.y[:, None] if self.task.is_regression else classes[train.y.astype(np.int64)]
        self.sizes_ = codes.max(axis=0, initial=-1) + 2 if self.levels else np.zeros(0, np.int64)
        places = float(np.prod(self.sizes_, dtype=np.float64))
        if places * self.task.width > LARGEST_TABLE:
            raise TrainingError(
                f"historical_rate: {places:,.0f} groups of {self.task.width} numbers are more than {LARGEST_TABLE:,}",
                hint="name fewer columns in `by`, or columns with fewer values",
            )
        table = values.mean(axis=0)
        for level in range(self.levels):
            sizes = self.sizes_[: level + 1]
            flat = np.ravel_multi_index(tuple(codes[:, : level + 1].T + 1), tuple(sizes))
            size = int(np.prod(sizes))
            count = np.bincount(flat, minlength=size)
            total = np.stack([np.bincount(flat, weights=column, minlength=size) for column in values.T], axis=1)
            coarser = np.repeat(table.reshape(-1, self.task.width), int(sizes[-1]), axis=0)
            table = (total + self.smoothing * coarser) / (count + self.smoothing)[:, None]
        self.table_ = table.reshape(-1, self.task.width)
        return self

    def predict(self, X: Matrix) -> Matrix:
        place = (X[:, : self.levels] + 1.0) @ self._strides
        return np.asarray(self.table_[place.astype(np.int64)])

    def add_to(self, graph: Graph, matrix: str) -> str:
        weights = np.zeros((max(self.levels, 1), 1)) if not self.levels else self._strides[:, None]
        if not self.levels:
            matrix = graph.columns(matrix, [0])
            # A missing value times 0 is still missing.
            matrix = graph.add("Where", graph.add("IsNaN", matrix), graph.constant(0.0), matrix)
        place = graph.add("Gemm", matrix, graph.constant(weights), graph.constant(self._strides.sum()[None]))
        index = graph.add("Squeeze", graph.cast(place, "index"), graph.constant([1], dtype=np.int64))
        return graph.add("Gather", graph.constant(self.table_), index, axis=0)

    @property
    def _strides(self) -> Matrix:
        return np.cumprod([1, *self.sizes_[:0:-1]])[::-1].astype(np.float64) if self.levels else np.zeros(0)
