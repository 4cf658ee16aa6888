"""Categories: which values of a column are told apart, and the number of each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from aforo.errors import TrainingError
from aforo.features.columns import is_text, numbers, texts
from aforo.graph import Graph


@dataclass(frozen=True)
class Categories:
    """The values of one column that were seen often enough in training, in a fixed order.

    A missing value is a category like any other if training has it: "" among texts, NaN among numbers.

    Attributes
    ----------
    values
        Distinct texts, or distinct numbers; the position of a value is its code.
    """

    column: str
    values: tuple[str, ...] | tuple[float, ...]
    text: bool

    @classmethod
    def learn(
        cls,
        table: pl.DataFrame,
        column: str,
        *,
        limit: int | None = None,
        min_count: int = 1,
        order: Literal["value", "frequency"] = "value",
        leave_out: Collection[str] = (),
    ) -> Self:
        """Learn the categories of a column.

        Parameters
        ----------
        limit
            Keep this many, the most frequent; of equally frequent ones those that sort first.
        min_count
            Leave out what appears in fewer rows.
        order
            By value (missing first among texts, last among numbers), or the most frequent first.
        leave_out
            Texts that are no category, because they stand for several.
        """
        text = is_text(table, column)
        if text:
            seen = texts(table, column).value_counts()
            seen = seen.filter(~seen.get_column(column).is_in(list(leave_out)))
            values = np.asarray(seen.get_column(column).to_list(), dtype=object)
            counts = seen.get_column("count").to_numpy()
        else:
            values, counts = np.unique(numbers(table, column), return_counts=True)
        by_value = np.argsort(values, kind="stable")
        values, counts = values[by_value], counts[by_value]
        by_frequency = np.argsort(-counts.astype(np.int64), kind="stable")
        kept = by_frequency[counts[by_frequency] >= min_count][:limit]
        if not len(kept):
            raise TrainingError(
                f"column {column!r} has no value that appears in {min_count} training rows",
                hint="lower `min_count`, or leave the column out",
            )
        chosen = values[kept if order == "frequency" else np.sort(kept)]
        return cls(column=column, values=tuple(chosen.tolist()), text=text)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def labels(self) -> tuple[str, ...]:
        """The categories as people read them."""
        return tuple("missing" if value == "" or value != value else _label(value) for value in self.values)

    def codes(self, table: pl.DataFrame, *, default: float) -> npt.NDArray[np.float64]:
        """Return the code of each row, of shape (N,); ``default`` where the value is none of these."""
        if self.text:
            found = texts(table, self.column).replace_strict(
                list(self.values), list(range(len(self.values))), default=default, return_dtype=pl.Float64
            )
            return found.to_numpy().astype(np.float64, copy=False)
        column = numbers(table, self.column)
        values = np.asarray(self.values, np.float64)
        ordered = np.argsort(values, kind="stable")
        position = np.minimum(np.searchsorted(values[ordered], column), len(values) - 1)
        code = ordered[position]
        matches = (values[code] == column) | (np.isnan(values[code]) & np.isnan(column))
        return np.where(matches, code.astype(np.float64), default)

    def add_to(self, graph: Graph, tensor: str, *, default: float) -> str:
        """Add what ``codes`` does, to a tensor (N, 1)."""
        return graph.lookup(tensor, self.values, range(len(self.values)), default=default)


def _label(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"
