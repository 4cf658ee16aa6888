"""What the contract says about values: which may be missing, in which range, of which categories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from aforo.contracts.table import ColumnContract


@dataclass(frozen=True)
class Violation:
    """Rows whose value in one column breaks the contract.

    Attributes
    ----------
    rows
        (N,) boolean, without nulls.
    """

    column: str
    reason: str
    rows: pl.Series


def violations(table: pl.DataFrame, columns: tuple[ColumnContract, ...]) -> Iterator[Violation]:
    """Yield what breaks the contract, in the order of its columns; a clean column costs one look at its extremes."""
    for column in columns:
        values = table.get_column(column.name)
        if not column.nullable and values.null_count():
            yield Violation(column.name, "is missing", values.is_null())
        if column.minimum is not None:
            lowest = values.min()
            if lowest is not None and lowest < column.minimum:  # type: ignore[operator]
                yield Violation(
                    column.name, f"is below {_with_unit(column.minimum, column)}", _true(values < column.minimum)
                )
        if column.maximum is not None:
            highest = values.max()
            if highest is not None and highest > column.maximum:  # type: ignore[operator]
                yield Violation(
                    column.name, f"is above {_with_unit(column.maximum, column)}", _true(values > column.maximum)
                )
        if column.categories is not None:
            stranger = ~values.is_in(list(column.categories))
            if stranger.any():
                yield Violation(column.name, f"is none of {_some(column.categories)}", _true(stranger))


def _true(claims: pl.Series) -> pl.Series:
    return claims.fill_null(False)


def _with_unit(bound: float, column: ColumnContract) -> str:
    return f"{bound:g} {column.unit}" if column.unit else f"{bound:g}"


def _some(categories: tuple[str, ...]) -> str:
    shown = ", ".join(categories[:8])
    return shown if len(categories) <= 8 else f"{shown} ... ({len(categories)} categories)"
