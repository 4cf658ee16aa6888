"""Numbers brought to a common scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field
from typing_extensions import override

from aforo.features.columns import number_matrix
from aforo.features.feature import Feature, FeatureSpecification, Matrix, Missing, refuse_infinite
from aforo.features.numeric import add_fill, fill, indicator_names
from aforo.graph import Graph

Method = Literal["standard", "min_max", "robust"]


class ScaleSpec(FeatureSpecification):
    """Numbers on a common scale, for models that compare columns: linear ones and networks.

    Attributes
    ----------
    method
        ``standard``: mean 0, standard deviation 1. ``min_max``: training values in 0-1.
        ``robust``: median 0, interquartile range 1, for columns with far outliers.
    clip
        Values outside these two quantiles (0-1) of the training rows are moved to the quantile first,
        so that one absurd value at serving cannot carry the prediction away.
    missing
        How missing values are filled, in the column's own unit.
    """

    kind: Literal["scale"] = "scale"
    method: Method = "standard"
    clip: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] | None = None
    missing: Missing = Missing()

    def build(self) -> ScaledFeature:
        return ScaledFeature(self.columns, method=self.method, clip=self.clip, missing=self.missing)


class ScaledFeature(Feature):
    """Number columns shifted and divided, after filling and, if asked, clipping.

    A column that is constant in training becomes 0, wherever its values later go.

    Parameters
    ----------
    method, clip, missing
        As in :class:`ScaleSpec`.
    """

    def __init__(
        self,
        columns: tuple[str, ...],
        *,
        method: Method = "standard",
        clip: tuple[float, float] | None = None,
        missing: Missing | None = None,
    ) -> None:
        super().__init__(columns)
        self.method = method
        self.clip = clip
        self.missing = missing or Missing()

    @override
    def fit(self, table: pl.DataFrame, target: npt.NDArray[np.generic] | None = None) -> Self:
        raw = number_matrix(table, self.columns)
        refuse_infinite(raw, self.columns)
        self.fill_ = self.missing.learn(raw, self.columns)
        filled = np.where(np.isnan(raw), self.fill_, raw)
        self.bounds_ = None if self.clip is None else np.quantile(filled, self.clip, axis=0)
        if self.bounds_ is not None:
            filled = np.clip(filled, self.bounds_[0], self.bounds_[1])
        self.center_, spread = _center_and_spread(filled, self.method)
        varies = filled.max(axis=0) > filled.min(axis=0)
        # Half a column may sit on its median: its interquartile range is 0, and yet it varies.
        spread = np.where(varies & (spread == 0), filled.std(axis=0), spread)
        # A product, not a quotient, so that a constant column can be sent to 0.
        self.factor_ = np.where(varies & (spread > 0), 1.0 / np.where(spread > 0, spread, 1.0), 0.0)
        self.names_ = self.columns + indicator_names(self.columns, self.missing)
        return self

    def transform(self, table: pl.DataFrame) -> Matrix:
        matrix = fill(number_matrix(table, self.columns), self.fill_, self.missing)
        values, indicators = matrix[:, : len(self.columns)], matrix[:, len(self.columns) :]
        if self.bounds_ is not None:
            values = np.clip(values, self.bounds_[0], self.bounds_[1])
        return np.hstack([(values - self.center_) * self.factor_, indicators])

    def add_to(self, graph: Graph, inputs: Mapping[str, str]) -> str:
        raw = graph.beside([inputs[name] for name in self.columns])
        values, indicators = add_fill(graph, raw, self.fill_, self.missing)
        if self.bounds_ is not None:
            lower, upper = (graph.constant(bound[None, :]) for bound in self.bounds_)
            values = graph.add("Min", graph.add("Max", values, lower), upper)
        shifted = graph.add("Sub", values, graph.constant(self.center_[None, :]))
        return graph.beside([graph.add("Mul", shifted, graph.constant(self.factor_[None, :])), *indicators])


def _center_and_spread(matrix: Matrix, method: Method) -> tuple[Matrix, Matrix]:
    if method == "standard":
        return matrix.mean(axis=0), matrix.std(axis=0)
    if method == "min_max":
        return matrix.min(axis=0), np.ptp(matrix, axis=0)
    lower, middle, upper = np.quantile(matrix, (0.25, 0.5, 0.75), axis=0)
    return middle, upper - lower
