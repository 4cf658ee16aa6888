"""Training-serving skew: the rows that a model is asked about beside those that it learnt from, column by column.

A unit that changed on the way, a feed that fell silent, a code that means something else now: the model answers all
the same, and nobody sees it in an answer. It shows in the columns before it shows in the labels, which come later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from aforo.contracts.specification import Specification
from aforo.contracts.table import ColumnContract
from aforo.data.comparison import ALPHA, BINS, Difference, difference
from aforo.data.profiles import ColumnProfile, Floats, Range, profile_of, recorded_ranges
from aforo.data.snapshots import SnapshotManifest
from aforo.errors import DataError

Share = Annotated[float, Field(ge=0, le=1)]


class ColumnBounds(Specification):
    """What may differ in one column; ``None`` is as in all columns. See `SkewSpec`."""

    max_distance: Share | None = None
    max_missing: Share | None = None
    max_unseen: Share | None = None


class SkewSpec(Specification):
    """From where on a column is skewed: the section ``skew`` of ``use_case.yaml``. With 1 nothing is.

    Attributes
    ----------
    max_distance
        Between the distributions, see :attr:`aforo.data.comparison.Difference.distance`: 0.1 is a tenth of the rows
        that are elsewhere.
    max_missing
        Difference between the shares of rows without a value.
    max_unseen
        Share of the values that training has not: other texts, or numbers beyond its extremes.
    columns
        Column to its own bounds. What goes with the season, as the month does, is never in a day's requests what it is
        in a year's table.
    """

    max_distance: Share = 0.1
    max_missing: Share = 0.05
    max_unseen: Share = 0.01
    columns: Mapping[str, ColumnBounds] = {}

    def of(self, column: str) -> SkewSpec:
        """Return what holds for one column."""
        own = self.columns.get(column, ColumnBounds()).model_dump(exclude_none=True)
        return self.model_copy(update={**own, "columns": {}})

    def refuse_unknown(self, inputs: Collection[str]) -> None:
        """Refuse bounds of a column that no model reads, with a ValueError."""
        if unknown := sorted(set(self.columns) - set(inputs)):
            raise ValueError(
                f"skew.columns names {', '.join(map(repr, unknown))}, which no candidate reads; they read "
                f"{', '.join(sorted(inputs))}"
            )


class ColumnSkew(Specification):
    """One column.

    Attributes
    ----------
    difference
        Between the snapshot (before) and what was asked (after).
    trained
        Lowest and highest number of training; ``None`` for texts, booleans and private columns.
    unseen
        Share of the values asked about that training has not; ``None`` where they are private, too many to count, or
        none.
    bounds
        What they are held against.
    faults
        What is beyond its bound, and beyond chance, in sentences; empty where nothing is.
    """

    column: str
    difference: Difference
    trained: tuple[float, float] | None
    unseen: float | None
    bounds: SkewSpec
    faults: tuple[str, ...]


class Skew(Specification):
    """All columns that a model reads, the skewed ones first.

    Attributes
    ----------
    trained_rows, asked_rows
        How many rows were compared.
    """

    trained_rows: int
    asked_rows: int
    columns: tuple[ColumnSkew, ...]

    @property
    def skewed(self) -> tuple[ColumnSkew, ...]:
        return tuple(column for column in self.columns if column.faults)


def skew(
    manifest: SnapshotManifest,
    snapshot: Iterable[pl.DataFrame],
    asked: Iterable[pl.DataFrame],
    inputs: Sequence[ColumnContract],
    spec: SkewSpec,
) -> tuple[Skew, tuple[tuple[ColumnProfile, ColumnProfile], ...]]:
    """Compare what a model is asked about with what it learnt from, in one pass over each and in constant memory.

    Parameters
    ----------
    snapshot
        The rows of training, part by part, which ``manifest`` describes.
    asked
        The rows of requests, part by part, with one column an input; what else the table has is left alone. Of private
        columns it has hashes, so that only what is missing is compared.

    Returns
    -------
    Skew
        The finding.
    tuple
        What each column looks like, before and after, in the order of ``inputs``.

    Raises
    ------
    DataError
        There are no requests, or they lack one of the inputs.
    """
    asked = _complete(asked, inputs)
    ranges = recorded_ranges(column for column in manifest.columns if column.name in {c.name for c in inputs})
    edges = {name: _edges(found) for name, found in ranges.items()}
    private = frozenset(column.name for column in inputs if column.private)
    names = [column.name for column in inputs]
    before, after = (profile_of((part.select(names) for part in parts), edges, private) for parts in (snapshot, asked))
    columns = [
        _column(old, new, ranges.get(old.name), spec.of(old.name)) for old, new in zip(before, after, strict=True)
    ]
    columns.sort(key=lambda found: (not found.faults, -(found.difference.distance or 0), found.column))
    finding = Skew(trained_rows=before[0].rows, asked_rows=after[0].rows, columns=tuple(columns))
    return finding, tuple(zip(before, after, strict=True))


def _complete(asked: Iterable[pl.DataFrame], inputs: Sequence[ColumnContract]) -> Iterator[pl.DataFrame]:
    """Return the parts, of which the first one has been looked at."""
    parts = iter(asked)
    first = next(parts, None)
    if first is None:
        raise DataError("there are no requests to compare with the rows of training")
    lacking = [column.name for column in inputs if column.name not in first.columns]
    if lacking:
        raise DataError(
            f"the table of requests has no {', '.join(lacking)}; expected every input of the model",
            hint="select the columns of the requests, one an input",
        )
    return chain((first,), parts)


def _edges(found: Range) -> Floats:
    """Return bins of equal width over a range of training, with one more on either side for what is beyond it."""
    if found.is_whole and found.high - found.low < BINS:
        return np.arange(found.low - 1, found.high + 3, dtype=np.float64)
    # A little wider, and never so narrow, that rounding puts neither of the extremes beyond themselves.
    span = max(found.high - found.low, 1e-6 * max(abs(found.low), abs(found.high)), 1e-300)
    low, width = found.low - 1e-6 * span, span * (1 + 2e-6) / (BINS - 2)
    return low + width * np.arange(-1, BINS, dtype=np.float64)


def _column(before: ColumnProfile, after: ColumnProfile, trained: Range | None, bounds: SkewSpec) -> ColumnSkew:
    found = difference(before, after)
    unseen = _unseen(before, after)
    faults = []
    missing = abs(found.missing[1] - found.missing[0])
    if missing > bounds.max_missing and _beyond_chance(after.nulls, after.rows, found.missing[0], bounds.max_missing):
        faults.append(
            f"{found.missing[1]:.1%} are missing, {found.missing[0]:.1%} in training; {bounds.max_missing:.1%} more or "
            "less are allowed"
        )
    if unseen is not None and unseen > bounds.max_unseen:
        count = round(unseen * after.present)
        if _beyond_chance(count, after.present, 0.0, bounds.max_unseen):
            new = ", ".join(map(repr, found.new_values[:3]))
            what = f"new, as {new}" if trained is None else f"beyond {trained.low:g} to {trained.high:g}"
            faults.append(f"{unseen:.1%} of the values are {what}; {bounds.max_unseen:.1%} may be")
    distance, chance = found.distance, found.chance
    if distance is not None and chance is not None and distance > max(chance, bounds.max_distance):
        where = "" if found.where is None else f", most of all in the share of {found.where!r}"
        faults.append(
            f"the distributions are {distance:.3f} apart{where}; {bounds.max_distance:g} is allowed, and chance gives "
            f"{chance:.3f}"
        )
    return ColumnSkew(
        column=before.name,
        difference=found,
        trained=None if trained is None else (trained.low, trained.high),
        unseen=unseen,
        bounds=bounds,
        faults=tuple(faults),
    )


def _unseen(before: ColumnProfile, after: ColumnProfile) -> float | None:
    if not before.present or not after.present:
        return None
    if after.histogram is not None and before.histogram is not None:
        counts = after.histogram.counts
        return (counts[0] + counts[-1]) / after.present
    if after.frequencies is not None and before.frequencies is not None:
        known = before.frequencies
        return sum(rows for value, rows in after.frequencies.items() if value not in known) / after.present
    return None


def _beyond_chance(count: int, rows: int, share: float, allowed: float) -> bool:
    """Whether so many, or so few, of the rows are hardly ever there where the share is within what is allowed."""
    from scipy.stats import binom

    too_many = float(binom.sf(count - 1, rows, min(1.0, share + allowed)))
    too_few = float(binom.cdf(count, rows, max(0.0, share - allowed)))
    return min(too_many, too_few) < ALPHA
