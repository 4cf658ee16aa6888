"""What goes wrong with a row on its way: numbers a little off, texts mistyped, values missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import polars as pl

from aforo.contracts.table import ColumnContract, TableContract

Kind = Literal["noise", "typing_errors", "missing_values"]
KINDS: tuple[Kind, ...] = ("noise", "typing_errors", "missing_values")


def damaged(
    table: pl.DataFrame,
    columns: TableContract,
    names: Sequence[str],
    kinds: Sequence[Kind],
    level: float,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Return the rows with some values changed; what comes out still fits the contract.

    Parameters
    ----------
    names
        Columns to damage.
    kinds
        ``noise`` adds normal noise with a standard deviation of ``level`` times the column's own to numbers, rounds
        whole ones, and keeps them within bounds. ``typing_errors`` replaces a share ``level`` of the texts: of a
        closed list by another entry, else by a misspelt one; truths are turned round. ``missing_values`` takes away
        a share ``level`` of the values that may be missing.
    level
        0 leaves everything as it is; at most 1.
    """
    changed = []
    for name in names:
        column, series = columns[name], table.get_column(name)
        if "noise" in kinds and column.type in ("integer", "number"):
            series = _noisy(series, column, level, rng)
        if "typing_errors" in kinds and column.type in ("string", "boolean"):
            series = _mistyped(series, column, level, rng)
        if "missing_values" in kinds and column.nullable:
            gone = pl.Series(rng.random(len(series)) < level)
            series = series.to_frame().select(pl.when(~gone).then(pl.col(name)).alias(name)).to_series()
        changed.append(series)
    return table.with_columns(changed)


def can_be_damaged(column: ColumnContract, kinds: Sequence[Kind]) -> bool:
    """Whether any of the kinds can happen to a column."""
    return (
        ("noise" in kinds and column.type in ("integer", "number"))
        or ("typing_errors" in kinds and column.type in ("string", "boolean"))
        or ("missing_values" in kinds and column.nullable)
    )


def _noisy(series: pl.Series, column: ColumnContract, level: float, rng: np.random.Generator) -> pl.Series:
    values = series.cast(pl.Float64).to_numpy()
    spread = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
    moved = values + level * spread * rng.normal(size=len(values))
    if column.type == "integer":
        moved = np.round(moved)
    moved = np.clip(
        moved,
        -np.inf if column.minimum is None else column.minimum,
        np.inf if column.maximum is None else column.maximum,
    )
    return pl.Series(series.name, moved).fill_nan(None).cast(series.dtype)


def _mistyped(series: pl.Series, column: ColumnContract, level: float, rng: np.random.Generator) -> pl.Series:
    hit = (rng.random(len(series)) < level) & series.is_not_null().to_numpy()
    values = series.to_list()
    for position in np.flatnonzero(hit).tolist():
        if column.type == "boolean":
            values[position] = not values[position]
        elif column.categories is not None:
            others = [category for category in column.categories if category != values[position]]
            values[position] = others[rng.integers(len(others))] if others else values[position]
        else:
            values[position] = misspelt(values[position], rng)
    return pl.Series(series.name, values, dtype=series.dtype)


def misspelt(text: str, rng: np.random.Generator) -> str:
    """Return ``text`` with one slip of the finger: a letter doubled, left out, or swapped with the next."""
    slips: tuple[Callable[[str, int], str], ...] = (
        lambda t, i: t[: i + 1] + t[i:],
        lambda t, i: t[:i] + t[i + 1 :],
        lambda t, i: t[:i] + t[i + 1 : i + 2] + t[i] + t[i + 2 :],
    )
    if not text:
        return text
    position, first = int(rng.integers(len(text))), int(rng.integers(len(slips)))
    # A slip may change nothing (two equal letters swapped) or leave nothing; a letter doubled always shows.
    tried = [slips[(first + turn) % len(slips)](text, position) for turn in range(len(slips))]
    return next(slip for slip in tried if slip not in (text, ""))
