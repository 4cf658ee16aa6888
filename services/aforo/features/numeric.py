"""Numbers as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from typing_extensions import override

from aforo.features.columns import number_matrix
from aforo.features.feature import Feature, FeatureSpecification, Matrix, Missing, refuse_empty, refuse_infinite
from aforo.graph import Graph


class NumericSpec(FeatureSpecification):
    """Numbers and booleans, unchanged.

    Attributes
    ----------
    missing
        What to do about missing values. By default they stay missing, which trees can use and other models refuse.
    """

    kind: Literal["numeric"] = "numeric"
    missing: Missing | None = None

    def build(self) -> NumericFeature:
        return NumericFeature(self.columns, missing=self.missing)


class NumericFeature(Feature):
    """Number columns unchanged, with missing values filled if asked.

    Parameters
    ----------
    missing
        How to fill missing values; ``None`` leaves them NaN.
    """

    def __init__(self, columns: tuple[str, ...], *, missing: Missing | None = None) -> None:
        super().__init__(columns)
        self.missing = missing

    @override
    def fit(self, table: pl.DataFrame, target: npt.NDArray[np.generic] | None = None) -> Self:
        matrix = number_matrix(table, self.columns)
        refuse_infinite(matrix, self.columns)
        if self.missing is None:
            refuse_empty(matrix, self.columns, hint="leave the column out, or give it `missing: {fill: <number>}`")
        self.fill_ = None if self.missing is None else self.missing.learn(matrix, self.columns)
        self.names_ = self.columns + indicator_names(self.columns, self.missing)
        return self

    def transform(self, table: pl.DataFrame) -> Matrix:
        return fill(number_matrix(table, self.columns), self.fill_, self.missing)

    def add_to(self, graph: Graph, inputs: Mapping[str, str]) -> str:
        raw = graph.beside([inputs[name] for name in self.columns])
        filled, indicators = add_fill(graph, raw, self.fill_, self.missing)
        return graph.beside([filled, *indicators])


def indicator_names(columns: tuple[str, ...], missing: Missing | None) -> tuple[str, ...]:
    """Return the names of the columns that say where a value was missing."""
    if missing is None or not missing.indicator:
        return ()
    return tuple(f"{name} is missing" for name in columns)


def fill(matrix: Matrix, filling: Matrix | None, missing: Missing | None) -> Matrix:
    """Return the matrix with missing values filled, and the indicators appended on the right."""
    if filling is None or missing is None:
        return matrix
    absent = np.isnan(matrix)
    filled = np.where(absent, filling, matrix)
    return np.hstack([filled, absent.astype(np.float64)]) if missing.indicator else filled


def add_fill(graph: Graph, raw: str, filling: Matrix | None, missing: Missing | None) -> tuple[str, list[str]]:
    """Add what ``fill`` does; return the filled matrix, and the matrix of indicators if there is one."""
    if filling is None or missing is None:
        return raw, []
    absent = graph.add("IsNaN", raw)
    filled = graph.add("Where", absent, graph.constant(filling[None, :]), raw)
    return filled, [graph.cast(absent, "number")] if missing.indicator else []
