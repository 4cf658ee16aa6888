"""SQL expressions of a use case, tried on an empty table before any row is read."""

from __future__ import annotations

import polars as pl

from aforo.errors import UseCaseError


def parse(text: str, place: str) -> pl.Expr:
    """Return the expression; ``place`` is where it is written, for messages."""
    try:
        return pl.sql_expr(text)
    except pl.exceptions.PolarsError as error:
        raise UseCaseError(
            f"{place}: {text!r} is not an SQL expression: {_first_line(error)}",
            hint="write it as in a SELECT, for example `arr_delay >= 15`",
        ) from error


def result_type(text: str, place: str, schema: dict[str, pl.DataType]) -> pl.DataType:
    """Return the type that the expression gives over columns of these types.

    Raises
    ------
    UseCaseError
        It names an unknown column, or operates on types it cannot operate on.
    """
    expression = parse(text, place)
    unknown = [name for name in expression.meta.root_names() if name not in schema]
    if unknown:
        raise UseCaseError(
            f"{place}: {text!r} names {', '.join(map(repr, unknown))}; it may use: {', '.join(schema)}",
            hint="declare the columns it needs above it",
        )
    try:
        return pl.DataFrame(schema=schema).select(expression).to_series().dtype
    except pl.exceptions.PolarsError as error:
        raise UseCaseError(
            f"{place}: {text!r} cannot be computed: {_first_line(error)}",
            hint="CAST its columns to types that it can work on",
        ) from error


def require_condition(text: str, place: str, schema: dict[str, pl.DataType]) -> None:
    """Refuse an expression whose result is not true or false."""
    dtype = result_type(text, place, schema)
    if dtype != pl.Boolean:
        raise UseCaseError(f"{place}: {text!r} gives {dtype}; expected a condition", hint="compare it with something")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
