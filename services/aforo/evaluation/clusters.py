"""Which rows belong together, and how often a resample draws each group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from aforo.errors import DataError

# Weights of one chunk of resamples stay below 32 MiB, however many groups there are.
_WEIGHTS_PER_CHUNK = 4_000_000


@dataclass(frozen=True)
class Clusters:
    """Groups of rows that are drawn together, because they are not independent (the flights of one day).

    Attributes
    ----------
    codes
        Group of each row, shape (N,), from 0 to ``count`` - 1.
    """

    codes: NDArray[np.int64]
    count: int

    @classmethod
    def of(cls, groups: Sequence[Any] | NDArray[Any]) -> Self:
        """Return the clusters of rows that share a value of ``groups``, shape (N,)."""
        labels, codes = np.unique(np.asarray(groups), return_inverse=True)
        return cls(codes.astype(np.int64), len(labels))

    @classmethod
    def single_rows(cls, rows: int) -> Self:
        """Return one cluster a row, for rows that are independent."""
        return cls(np.arange(rows, dtype=np.int64), rows)

    @classmethod
    def of_rows(cls, rows: int, groups: Sequence[Any] | NDArray[Any] | None) -> Self:
        """Return the clusters of ``groups``, shape (N,); one a row where there are none."""
        return cls.single_rows(rows) if groups is None else cls.of(groups)

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of ``values``, shape (N,) or (N, D), within each cluster: shape (G, D)."""
        columns = values.reshape(len(self.codes), -1)
        if self.count == len(self.codes):
            totals = np.empty_like(columns)
            totals[self.codes] = columns
            return totals
        return np.stack([np.bincount(self.codes, column, self.count) for column in columns.T], axis=1)

    def draw(self, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
        """Yield how often each resample draws each cluster: arrays (R, G) whose rows sum to G, R in chunks.

        Raises
        ------
        DataError
            There are fewer than two clusters, so nothing can be said about chance.
        """
        if self.count < 2:
            raise DataError(
                f"a bootstrap over {self.count} group says nothing; expected two groups of rows or more",
                hint="name another column in evaluation.bootstrap.by, or leave it out for independent rows",
            )
        rng = np.random.default_rng(seed)
        chunk = max(1, _WEIGHTS_PER_CHUNK // self.count)
        for start in range(0, resamples, chunk):
            rows = min(chunk, resamples - start)
            drawn = rng.integers(0, self.count, size=(rows, self.count))
            drawn += np.arange(rows)[:, None] * self.count
            counts = np.bincount(drawn.reshape(-1), minlength=rows * self.count)
            yield counts.reshape(rows, self.count).astype(np.float64)
