"""Two tables of one contract, compared row by row: which rows came, went or changed, and in which values."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

_THEN = " then"


def row_differences(
    then: pl.DataFrame,
    now: pl.DataFrame,
    key: Sequence[str],
    *,
    private: frozenset[str] = frozenset(),
    examples: int = 5,
) -> list[str]:
    """Return what differs, in sentences: the counts, then the first few rows and values.

    Parameters
    ----------
    key
        Columns that identify a row; without them rows are compared as wholes, so that a changed value shows as one
        row gone and one row new.
    private
        Columns whose values are not shown.
    examples
        How many rows and values are shown.

    Returns
    -------
    list of str
        Empty if both hold the same rows, in whatever order.
    """
    if then.schema != now.schema:
        return [f"columns were {_schema(then)}, and are {_schema(now)}"]
    columns = tuple(key) or tuple(then.columns)
    gone = then.join(now, on=columns, how="anti", nulls_equal=True)
    new = now.join(then, on=columns, how="anti", nulls_equal=True)
    sentences = []
    for rows, word in ((gone, "gone"), (new, "new")):
        if rows.height:
            shown = "; ".join(_row(row, private) for row in rows.select(columns).head(examples).to_dicts())
            sentences.append(f"{rows.height} row(s) {word}: {shown}")
    if not key:
        return sentences + _repetitions(then, now)
    both = now.join(then, on=columns, how="inner", nulls_equal=True, suffix=_THEN)
    for name in (name for name in then.columns if name not in columns):
        changed = both.filter(pl.col(name).ne_missing(pl.col(name + _THEN)))
        if changed.height:
            shown = "; ".join(_change(row, columns, name, private) for row in changed.head(examples).to_dicts())
            sentences.append(f"{name} changed in {changed.height} row(s): {shown}")
    return sentences


def _repetitions(then: pl.DataFrame, now: pl.DataFrame) -> list[str]:
    return [] if then.height == now.height else [f"{then.height} rows then, {now.height} now"]


def _row(row: dict[str, object], private: frozenset[str]) -> str:
    return ", ".join(f"{name}={'(private)' if name in private else value}" for name, value in row.items())


def _change(row: dict[str, object], key: Sequence[str], name: str, private: frozenset[str]) -> str:
    where = _row({column: row[column] for column in key}, private)
    what = "(private)" if name in private else f"{row[name + _THEN]!r} -> {row[name]!r}"
    return f"{where}: {what}"


def _schema(table: pl.DataFrame) -> str:
    return ", ".join(f"{name} {dtype}" for name, dtype in table.schema.items())
