"""What a split may do unasked: tear apart what belongs together, or leave a slice without rows."""

from __future__ import annotations

import polars as pl

from aforo.contracts.run import PARTS
from aforo.data.splits.strategy import LEFT_OUT

_EXAMPLES = 3


def spanning_keys(column: pl.Series, parts: pl.Series) -> str | None:
    """Say how many values of a column have rows in more than one part, with examples; ``None`` if none has.

    Parameters
    ----------
    column
        (N,) for example the customer of each row; missing values belong to nobody.
    parts
        (N,) uint8, as `SplitStrategy.assign` gives them.
    """
    placed = pl.DataFrame({"value": column, "part": parts}).filter(
        pl.col("value").is_not_null(), pl.col("part") != LEFT_OUT
    )
    spread = placed.group_by("value").agg(pl.col("part").n_unique().alias("parts"))
    torn = spread.filter(pl.col("parts") > 1).sort("parts", "value", descending=[True, False])
    if torn.is_empty():
        return None
    examples = ", ".join(str(value) for value in torn.get_column("value").head(_EXAMPLES))
    return f"{torn.height:,} of {spread.height:,} values of {column.name!r} span parts, for example {examples}"


def missing_slices(column: pl.Series, parts: pl.Series) -> list[str]:
    """Say which values of a column have no row in which part that has rows at all, a sentence a part."""
    placed = pl.DataFrame({"value": column, "part": parts}).filter(
        pl.col("value").is_not_null(), pl.col("part") != LEFT_OUT
    )
    values = set(placed.get_column("value").unique())
    sentences = []
    for code, part in enumerate(PARTS):
        rows = placed.filter(pl.col("part") == code)
        absent = sorted(values - set(rows.get_column("value").unique()), key=str)
        if absent and rows.height:
            examples = ", ".join(str(value) for value in absent[:_EXAMPLES]) + (
                ", ..." if len(absent) > _EXAMPLES else ""
            )
            sentences.append(
                f"{len(absent):,} of {len(values):,} values of {column.name!r} have no row in {part}: {examples}"
            )
    return sentences
