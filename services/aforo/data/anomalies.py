"""Where a table does not look as its contract says, in figures that a snapshot's manifest has already."""

from __future__ import annotations

from collections.abc import Sequence

from aforo.contracts.table import ColumnContract, Role, TableContract
from aforo.data.casting import DTYPES
from aforo.data.statistics import ColumnStatistics

# A column that is missing this often deserves a look, however well the model copes.
_MANY_NULLS = 0.5


def anomalies(columns: Sequence[ColumnStatistics], rows: int, contract: TableContract) -> list[str]:
    """Return what is out of the ordinary, a sentence each: in the order of the contract, then what it does not know.

    Rows that break the contract are quarantined when they are read; what is found here has changed since, was never
    checked, or is allowed and useless: a feature of one value, or of hardly any.

    Parameters
    ----------
    columns
        Figures of a snapshot's columns.
    rows
        Rows of the snapshot.
    """
    found = {column.name: column for column in columns}
    sentences = []
    for declared in contract.columns:
        if declared.name not in found:
            sentences.append(f"column {declared.name!r} is in the contract, and not in the table")
            continue
        sentences += _of_column(found[declared.name], rows, declared)
    unknown = [name for name in found if name not in contract.names]
    return sentences + [f"column {name!r} is in the table, and not in the contract" for name in unknown]


def _of_column(found: ColumnStatistics, rows: int, declared: ColumnContract) -> list[str]:
    name, expected = declared.name, str(DTYPES[declared.type])
    if found.type != expected:
        return [f"column {name!r} is {found.type}; the contract says {declared.type} ({expected})"]
    sentences = []
    if found.nulls and not declared.nullable:
        sentences.append(f"column {name!r} is missing in {found.nulls:,} rows; the contract says never")
    if declared.minimum is not None and isinstance(found.minimum, int | float) and found.minimum < declared.minimum:
        sentences.append(f"column {name!r} goes down to {found.minimum:g}; the contract says {declared.minimum:g}")
    if declared.maximum is not None and isinstance(found.maximum, int | float) and found.maximum > declared.maximum:
        sentences.append(f"column {name!r} goes up to {found.maximum:g}; the contract says {declared.maximum:g}")
    # Only the most frequent values are on record: with fewer than that, all are.
    if declared.categories is not None and found.top is not None:
        strangers = [value for value in found.top if value not in declared.categories]
        if strangers:
            sentences.append(f"column {name!r} has {', '.join(strangers)}; the contract does not")
    if Role.FEATURE in declared.role:
        sentences += _of_feature(found, rows)
    return sentences


def _of_feature(found: ColumnStatistics, rows: int) -> list[str]:
    if found.nulls == rows:
        return [f"feature {found.name!r} is missing in every row"]
    if found.nulls > _MANY_NULLS * rows:
        return [f"feature {found.name!r} is missing in {found.nulls / rows:.0%} of the rows"]
    if found.minimum == found.maximum and found.minimum is not None and not found.nulls:
        return [f"feature {found.name!r} has the one value {found.minimum!r}"]
    return []
