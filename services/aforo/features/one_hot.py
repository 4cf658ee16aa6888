"""Categories as one column each."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, groupby
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field
from typing_extensions import override

from aforo.features.categories import Categories
from aforo.features.columns import texts
from aforo.features.feature import Feature, FeatureSpecification, Matrix
from aforo.graph import Graph

Unseen = Literal["zeros", "other"]


class OneHotSpec(FeatureSpecification):
    """One column per category, 1 where the row has it. For models that add up columns.

    Trees do better with ``ordinal``, which is one column and faster to serve.

    Attributes
    ----------
    max_categories
        Keep this many of each column, the most frequent.
    min_count
        Leave out categories that appear in fewer training rows.
    unseen
        What a value that was left out, or never seen, becomes: ``zeros`` in every column, or a 1 in a
        column ``other`` of its own, which learns from the rare categories of training.
    """

    kind: Literal["one_hot"] = "one_hot"
    max_categories: Annotated[int, Field(ge=1)] | None = None
    min_count: Annotated[int, Field(ge=1)] = 1
    unseen: Unseen = "zeros"

    def build(self) -> OneHotFeature:
        return OneHotFeature(
            self.columns, max_categories=self.max_categories, min_count=self.min_count, unseen=self.unseen
        )


class OneHotFeature(Feature):
    """Columns of 0 and 1, one per category. Numbers can be categories too, for example hours.

    A value that stands for several (see ``bridge``) has the share of each in place of 0 and 1.

    Parameters
    ----------
    max_categories, min_count, unseen
        As in :class:`OneHotSpec`.
    """

    takes_mixtures: ClassVar[bool] = True

    def __init__(
        self,
        columns: tuple[str, ...],
        *,
        max_categories: int | None = None,
        min_count: int = 1,
        unseen: Unseen = "zeros",
    ) -> None:
        super().__init__(columns)
        self.max_categories = max_categories
        self.min_count = min_count
        self.unseen = unseen

    @override
    def fit(self, table: pl.DataFrame, target: npt.NDArray[np.generic] | None = None) -> Self:
        self.categories_ = tuple(
            Categories.learn(
                table,
                name,
                limit=self.max_categories,
                min_count=self.min_count,
                leave_out=self.mixtures.get(name, ()),
            )
            for name in self.columns
        )
        other = ("other",) if self.unseen == "other" else ()
        self.names_ = tuple(f"{one.column}={label}" for one in self.categories_ for label in (*one.labels, *other))
        return self

    def transform(self, table: pl.DataFrame) -> Matrix:
        matrix = np.zeros((table.height, len(self.names_)))
        for categories, offset in zip(self.categories_, self._offsets, strict=True):
            codes = categories.codes(table, default=self._default(categories))
            rows = np.flatnonzero(codes >= 0)
            matrix[rows, offset + codes[rows].astype(np.int64)] = 1.0
            for value, vector in self._vectors(categories).items():
                own = (texts(table, categories.column) == value).to_numpy()
                matrix[own, offset : offset + len(vector)] = vector
        return matrix

    def add_to(self, graph: Graph, inputs: Mapping[str, str]) -> str:
        runs = groupby(self.categories_, key=lambda categories: categories.column in self.mixtures)
        return graph.beside(
            [
                tensor
                for mixed, run in runs
                for tensor in (
                    [self._add_mixed(graph, inputs, categories) for categories in run]
                    if mixed
                    else [self._add_plain(graph, inputs, list(run))]
                )
            ]
        )

    def _add_plain(self, graph: Graph, inputs: Mapping[str, str], run: list[Categories]) -> str:
        codes = graph.beside(
            [
                categories.add_to(graph, inputs[categories.column], default=self._default(categories))
                for categories in run
            ]
        )
        widths = [self._width(categories) for categories in run]
        if len(widths) > 1:
            codes = graph.columns(codes, np.repeat(np.arange(len(widths)), widths).tolist())
        # One comparison for all columns: three nodes, however many columns there are.
        own = np.concatenate([np.arange(width, dtype=np.float64) for width in widths])
        return graph.cast(graph.add("Equal", codes, graph.constant(own[None, :])), "number")

    def _add_mixed(self, graph: Graph, inputs: Mapping[str, str], categories: Categories) -> str:
        """Look the whole vector up: one row of a table for each category, each mixture, and all other values."""
        vectors, width = self._vectors(categories), self._width(categories)
        table = np.vstack([np.eye(len(categories), width), *vectors.values(), self._vector(categories, None)])
        keys = [str(value) for value in (*categories.values, *vectors)]
        row = graph.lookup(inputs[categories.column], keys, range(len(keys)), default=len(keys))
        row = graph.add("Squeeze", graph.cast(row, "index"), graph.constant([1], dtype=np.int64))
        return graph.add("Gather", graph.constant(table), row, axis=0)

    def _vectors(self, categories: Categories) -> dict[str, Matrix]:
        """For each value that stands for several, the shares in which it does: (width,)."""
        vectors = {}
        for value, mixture in self.mixtures.get(categories.column, {}).items():
            vectors[value] = np.zeros(self._width(categories))
            for new, share in mixture.items():
                vectors[value] += share * self._vector(categories, new)
        return vectors

    def _vector(self, categories: Categories, value: str | None) -> Matrix:
        """The 0 and 1 of one value; ``None`` is one that was never seen."""
        vector = np.zeros(self._width(categories))
        code = categories.values.index(value) if value in categories.values else int(self._default(categories))
        if code >= 0:
            vector[code] = 1.0
        return vector

    @property
    def _offsets(self) -> list[int]:
        return [0, *accumulate(self._width(categories) for categories in self.categories_)][:-1]

    def _width(self, categories: Categories) -> int:
        return len(categories) + (self.unseen == "other")

    def _default(self, categories: Categories) -> float:
        return float(len(categories)) if self.unseen == "other" else -1.0
