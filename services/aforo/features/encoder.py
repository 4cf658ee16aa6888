"""The encoder: all features of a candidate, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from aforo.data.bridging import Mixtures
from aforo.features.columns import is_text
from aforo.features.feature import Feature, Matrix
from aforo.graph import Graph


class Encoder:
    """Raw columns to one matrix; the only place where raw values are transformed.

    Parameters
    ----------
    features
        Not yet fitted, at least one.
    mixtures
        Values of some columns that stand for several others.

    Attributes
    ----------
    names_
        Names of the matrix's columns.
    text_columns_
        The raw columns that hold texts; the others hold numbers.
    """

    names_: tuple[str, ...]
    text_columns_: tuple[str, ...]

    def __init__(self, features: Sequence[Feature], mixtures: Mixtures | None = None) -> None:
        if not features:
            raise ValueError("an encoder needs at least one feature")
        self.features = tuple(feature.mixing(mixtures or {}) for feature in features)

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns that are read, each once, in order of first use."""
        return tuple(dict.fromkeys(name for feature in self.features for name in feature.columns))

    def fit(self, table: pl.DataFrame, target: npt.NDArray[np.generic] | None = None) -> Self:
        """Learn every feature from the training rows."""
        self.text_columns_ = tuple(name for name in self.columns if is_text(table, name))
        self.names_ = tuple(name for feature in self.features for name in feature.fit(table, target).names_)
        return self

    def transform(self, table: pl.DataFrame) -> Matrix:
        """Return the matrix of shape (N, len(names_)); missing values are NaN."""
        return np.hstack([feature.transform(table) for feature in self.features])

    def add_to(self, graph: Graph, inputs: Mapping[str, str]) -> str:
        """Add all features to a graph; ``inputs`` maps raw columns to tensors (N, 1)."""
        return graph.beside([feature.add_to(graph, inputs) for feature in self.features])
