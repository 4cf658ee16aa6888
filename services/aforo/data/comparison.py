"""What differs between two tables in their columns and distributions; `aforo.data.differences` compares rows.

Two snapshots of one source say what happened in between. `aforo.data.skew` compares what a model is asked with what it
learnt from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from aforo.contracts.specification import Specification
from aforo.data.profiles import ColumnProfile, edges_of, profile_of, range_of

Tables = Callable[[], Iterable[pl.DataFrame]]
"""Gives a table part by part, from the start at every call."""

BINS = 1_000
"""Of the distance between two histograms; narrower than those of a picture."""
ALPHA = 0.001
"""How rarely chance alone makes one column stand out."""


class Difference(Specification):
    """How far one column's distributions are apart.

    Attributes
    ----------
    distance
        0-1, of the values that are there; ``None`` where one side has none, or there are too many to count.
        Numbers, dates and timestamps: the Kolmogorov-Smirnov distance, the largest difference between the shares of
        values up to a bound (over 1,000 bins, so never above the exact one). Texts and booleans: the largest
        difference between the shares of one value (L-infinity).
    chance
        The distance that chance alone exceeds once in 1,000 columns of independent rows that do not differ.
    missing
        Share of rows without a value, before and after.
    where
        The value whose share moved most, of texts and booleans.
    new_values, lost_values
        Values of a text column that only the table after, or before, has; at most 20 each.

    References
    ----------
    Smirnov: Table for estimating the goodness of fit of empirical distributions, 1948 (the bound of numbers).
    Breck et al.: Data Validation for Machine Learning, 2019 (L-infinity, because it names what moved).
    """

    column: str
    distance: Annotated[float, Field(ge=0, le=1)] | None
    chance: float | None
    missing: tuple[float, float]
    where: str | None = None
    new_values: tuple[str, ...] = ()
    lost_values: tuple[str, ...] = ()

    @property
    def stands_out(self) -> bool:
        """Whether chance is no good explanation, or values or gaps came or went."""
        moved = self.distance is not None and self.chance is not None and self.distance > self.chance
        return moved or bool(self.new_values) or abs(self.missing[1] - self.missing[0]) > 0.01


class Comparison(Specification):
    """What differs between two tables.

    Attributes
    ----------
    retyped
        Column to type before and after.
    differences
        Of the columns that both tables have with the same type, the furthest apart first.
    """

    added_columns: tuple[str, ...]
    removed_columns: tuple[str, ...]
    retyped: dict[str, tuple[str, str]]
    differences: tuple[Difference, ...]


def compare(before: Tables, after: Tables, *, private: frozenset[str] = frozenset()) -> Comparison:
    """Return how two tables' columns differ, in two passes over each and in constant memory.

    Parameters
    ----------
    private
        Columns whose values must not show.
    """
    first, last = next(iter(before())), next(iter(after()))
    shared = [name for name in first.columns if name in last.columns]
    retyped = {n: (str(first.schema[n]), str(last.schema[n])) for n in shared if first.schema[n] != last.schema[n]}
    same = [name for name in shared if name not in retyped]
    sides = [_Columns(tables, same) for tables in (before, after)]
    edges = edges_of((range_of(side) for side in sides), BINS)
    profiles = [profile_of(side, edges, private) for side in sides]
    differences = [difference(old, new) for old, new in zip(*profiles, strict=True)]
    return Comparison(
        added_columns=tuple(name for name in last.columns if name not in first.columns),
        removed_columns=tuple(name for name in first.columns if name not in last.columns),
        retyped=retyped,
        differences=tuple(sorted(differences, key=lambda d: (-(d.distance or 0), d.column))),
    )


def difference(before: ColumnProfile, after: ColumnProfile) -> Difference:
    """Return how far two profiles of one column, counted into the same bins, are apart."""
    both = before.present > 0 and after.present > 0
    found = Difference(column=before.name, distance=None, chance=None, missing=(before.missing, after.missing))
    if both and before.histogram is not None and after.histogram is not None:
        shares = [np.cumsum(side.counts) / sum(side.counts) for side in (before.histogram, after.histogram)]
        distance = float(np.abs(shares[1] - shares[0]).max())
        return found.model_copy(update={"distance": min(1.0, distance), "chance": _chance(before, after, 1)})
    if both and before.frequencies is not None and after.frequencies is not None:
        old, new = before.frequencies, after.frequencies
        moved = {name: abs(new.get(name, 0) / after.present - old.get(name, 0) / before.present) for name in old | new}
        where = max(moved, key=lambda name: (moved[name], name))
        return found.model_copy(
            update={
                "distance": moved[where],
                "chance": _chance(before, after, len(moved)),
                "where": where,
                "new_values": tuple(name for name in new if name not in old)[:20],
                "lost_values": tuple(name for name in old if name not in new)[:20],
            }
        )
    return found


class _Columns:
    """Some columns of a table, part by part, as often as they are asked for."""

    def __init__(self, tables: Tables, names: list[str]) -> None:
        self._tables = tables
        self._names = names

    def __iter__(self) -> Iterator[pl.DataFrame]:
        return (part.select(self._names) for part in self._tables())


def _chance(before: ColumnProfile, after: ColumnProfile, values: int) -> float:
    """The distance under which independent rows of one distribution stay, but for one time in 1,000."""
    # Both are differences of empirical distributions; with Smirnov's bound, Bonferroni's for several values is wider.
    bound = np.sqrt(np.log(2 / ALPHA) / 2) if values == 1 else np.sqrt(np.log(2 * values / ALPHA) / 2)
    return float(min(1.0, bound * np.sqrt(1 / before.present + 1 / after.present)))
