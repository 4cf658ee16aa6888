"""The same membership in a warehouse's own SQL: BigQuery and PostgreSQL.

BigQuery has FarmHash built in. PostgreSQL does not: `postgres_functions` are SQL functions that compute it there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from importlib import resources
from typing import Literal

import polars as pl

Dialect = Literal["bigquery", "postgres"]

FUNCTION = "aforo_farm_fingerprint"


def postgres_functions() -> str:
    """Return the statements that create `FUNCTION` and what it needs; they may be run again."""
    return resources.files(__package__).joinpath("farm_fingerprint.sql").read_text(encoding="utf-8")


def quoted(name: str, dialect: Dialect) -> str:
    """Return a column's name as an identifier."""
    return f"`{name}`" if dialect == "bigquery" else f'"{name}"'


def literal(text: str, dialect: Dialect) -> str:
    """Return a text as an SQL literal."""
    if dialect == "postgres":
        return "'" + text.replace("'", "''") + "'"
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in escaped) + "'"


def text_of(name: str, dtype: pl.DataType, dialect: Dialect) -> str:
    """Return what `aforo.data.splits.keytext.key_text` computes, in SQL."""
    column = quoted(name, dialect)
    if dialect == "bigquery":
        return column if dtype == pl.String else f"CAST({column} AS STRING)"
    if dtype == pl.String:
        return column
    if isinstance(dtype, pl.Datetime):
        utc = f"({column} AT TIME ZONE 'UTC')"
        fraction = (
            f"CASE WHEN mod(extract(microseconds FROM {utc}), 1000000) = 0 THEN ''"
            f" WHEN mod(extract(microseconds FROM {utc}), 1000) = 0 THEN to_char({utc}, '.MS')"
            f" ELSE to_char({utc}, '.US') END"
        )
        return f"(to_char({utc}, 'YYYY-MM-DD HH24:MI:SS') || {fraction} || '+00')"
    if dtype == pl.Date:
        return f"to_char({column}, 'YYYY-MM-DD')"
    return f"{column}::text"


def concatenated(texts: Sequence[str], dialect: Dialect) -> str:
    """Return the texts as one, NULL if one of them is."""
    return f"CONCAT({', '.join(texts)})" if dialect == "bigquery" else f"({' || '.join(texts)})"


def percent_of(text: str, dialect: Dialect) -> str:
    """Return what `aforo.data.splits.keytext.percent_of` computes, in SQL."""
    function = "FARM_FINGERPRINT" if dialect == "bigquery" else FUNCTION
    return f"ABS(MOD({function}({text}), 100))"


def day_of(name: str, dtype: pl.DataType, dialect: Dialect) -> str:
    """Return the day (in UTC) of a date or a timestamp."""
    column = quoted(name, dialect)
    if dtype == pl.Date:
        return column
    return f"DATE({column})" if dialect == "bigquery" else f"({column} AT TIME ZONE 'UTC')::date"


def bucket(value: str, bounds: Sequence[int | dt.date], labels: Sequence[str], dialect: Dialect) -> str:
    """Return the label of the bucket that a value is in: ``labels[i]`` from ``bounds[i - 1]`` on; NULL for NULL."""
    written = ", ".join(f"DATE '{bound.isoformat()}'" if isinstance(bound, dt.date) else str(bound) for bound in bounds)
    names = ", ".join(literal(label, dialect) for label in labels)
    if dialect == "bigquery":
        return f"[{names}][OFFSET(RANGE_BUCKET({value}, [{written}]))]"
    return f"(ARRAY[{names}])[1 + width_bucket({value}, ARRAY[{written}])]"
