"""Categories as whole numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field
from typing_extensions import override

from aforo.features.categories import Categories
from aforo.features.feature import Feature, FeatureSpecification, Matrix
from aforo.graph import Graph

Order = Literal["value", "frequency"]


class OrdinalSpec(FeatureSpecification):
    """The code of each category, 0, 1, 2, … in one column: compact and quick, made for trees.

    Attributes
    ----------
    order
        Codes by ``value`` (alphabetical, or ascending numbers), or by ``frequency`` (the most frequent is 0).
    max_categories
        Keep this many of each column, the most frequent.
    min_count
        Leave out categories that appear in fewer training rows.
    unseen
        What a value that was left out, or never seen, becomes: a number, or ``missing``. Trees send a
        missing value the way that most of their training rows went; other models refuse it. So does a value
        that stands for several (see ``bridge``): one code can be no mixture of them.
    """

    kind: Literal["ordinal"] = "ordinal"
    order: Order = "value"
    max_categories: Annotated[int, Field(ge=1)] | None = None
    min_count: Annotated[int, Field(ge=1)] = 1
    unseen: float | Literal["missing"] = "missing"

    def build(self) -> OrdinalFeature:
        return OrdinalFeature(
            self.columns,
            order=self.order,
            max_categories=self.max_categories,
            min_count=self.min_count,
            unseen=float("nan") if self.unseen == "missing" else float(self.unseen),
        )


class OrdinalFeature(Feature):
    """One column of codes per raw column.

    Parameters
    ----------
    order, max_categories, min_count
        As in :class:`OrdinalSpec`.
    unseen
        Code of a value that has none; NaN by default.
    """

    takes_mixtures: ClassVar[bool] = True

    def __init__(
        self,
        columns: tuple[str, ...],
        *,
        order: Order = "value",
        max_categories: int | None = None,
        min_count: int = 1,
        unseen: float = float("nan"),
    ) -> None:
        super().__init__(columns)
        self.order = order
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
                order=self.order,
                leave_out=self.mixtures.get(name, ()),
            )
            for name in self.columns
        )
        self.names_ = self.columns
        return self

    def transform(self, table: pl.DataFrame) -> Matrix:
        matrix = np.empty((table.height, len(self.columns)))
        for position, categories in enumerate(self.categories_):
            matrix[:, position] = categories.codes(table, default=self.unseen)
        return matrix

    def add_to(self, graph: Graph, inputs: Mapping[str, str]) -> str:
        return graph.beside(
            [
                categories.add_to(graph, inputs[categories.column], default=self.unseen)
                for categories in self.categories_
            ]
        )
