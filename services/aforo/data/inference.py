"""A contract to start from, inferred from the rows that there are.

Only a person knows what is to be predicted, what leaks, and how far values may go: those are left to say.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray

from aforo.contracts.table import ColumnContract, ColumnType, Role
from aforo.data.casting import cast, normalise
from aforo.errors import DataError

MOST_CATEGORIES = 30
"""A text column with more values than this gets no list of categories."""

# What reads as a type is of no later one.
_NARROW_TO_WIDE: tuple[ColumnType, ...] = ("integer", "number", "boolean", "date", "timestamp")
_HEADING = """\
# Inferred. Say of one column `role: target`, and of what is known too late `role: leak`; bounds and categories are
# those that were seen: widen them to what may come.
"""


def infer_columns(parts: Iterable[pl.DataFrame]) -> tuple[ColumnContract, ...]:
    """Return a contract that every row keeps: the narrowest type of each column, its bounds or categories.

    A column without repetition or gap is the key, the first one if there are several. Memory holds one part,
    and eight bytes a row for each column that may be the key.

    Parameters
    ----------
    parts
        Rows as the source gives them; columns of text may hold any type.

    Raises
    ------
    DataError
        There are no rows, or a name is not usable as one.
    """
    columns: list[_Column] = []
    for part in parts:
        columns = columns or [_Column(name) for name in part.columns]
        for column in columns:
            column.add(part.get_column(column.name))
    if not any(column.rows for column in columns):
        raise DataError("there are no rows to infer a contract from", hint="check the path")
    key = next((column.name for column in columns if column.is_key), None)
    return tuple(column.contract(is_key=column.name == key) for column in columns)


def as_yaml(columns: Iterable[ColumnContract]) -> str:
    """Return the columns as they are written in ``use_case.yaml``, one a line."""
    lines = []
    for column in columns:
        said = column.model_dump(mode="json", exclude_defaults=True)
        said["role"] = said["role"][0]
        if column.type == "integer":
            said |= {bound: int(said[bound]) for bound in ("minimum", "maximum") if bound in said}
        text = yaml.safe_dump(said, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
        lines.append(f"  - {text.strip()}\n")
    return f"{_HEADING}columns:\n{''.join(lines)}"


class _Column:
    """What is known of a column so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = 0
        self._nulls = 0
        self._types = list(_NARROW_TO_WIDE)
        self._bounds: tuple[float, float] | None = None
        self._values: set[str] | None = set()
        self._hashes: list[NDArray[np.uint64]] | None = []

    @property
    def is_key(self) -> bool:
        """Whether each value occurs once, and in every row."""
        if self._hashes is None or self._nulls or self._type not in ("integer", "string"):
            return False
        return bool(np.unique(np.concatenate(self._hashes)).size == self.rows)

    @property
    def _type(self) -> ColumnType:
        return self._types[0] if self._types and self._nulls < self.rows else "string"

    def add(self, given: pl.Series) -> None:
        given = normalise(given)
        present = given.drop_nulls()
        self.rows += len(given)
        self._nulls += given.null_count()
        self._types = [kind for kind in self._types if _fits(present, kind)]
        if self._types and self._types[0] in ("integer", "number") and len(present):
            numbers = cast(present, self._types[0]).cast(pl.Float64).to_numpy()
            low, high = self._bounds or (np.inf, -np.inf)
            self._bounds = (min(low, float(numbers.min())), max(high, float(numbers.max())))
        distinct = present.unique()
        if len(distinct) < len(given):
            self._hashes = None
        if self._hashes is not None:
            self._hashes.append(distinct.hash(seed=1).to_numpy())
        if self._values is not None:
            self._values.update(distinct.head(MOST_CATEGORIES + 1).cast(pl.String).to_list())
            self._values = self._values if len(self._values) <= MOST_CATEGORIES else None

    def contract(self, *, is_key: bool) -> ColumnContract:
        kind = self._type
        is_time = kind in ("date", "timestamp")
        bounds = self._bounds if kind in ("integer", "number") and not is_key else None
        categories = tuple(sorted(self._values)) if kind == "string" and self._values and not is_key else None
        try:
            return ColumnContract(
                name=self.name,
                type=kind,
                role=(Role.KEY if is_key else Role.INFO if is_time else Role.FEATURE,),
                minimum=None if bounds is None else bounds[0],
                maximum=None if bounds is None else bounds[1],
                categories=categories,
                nullable=bool(self._nulls),
            )
        except ValueError as error:
            raise DataError(
                f"{self.name!r} is no name for a column: expected letters, digits and _, a letter first",
                hint="rename it in the source, or map it with `source: {columns: {...}}`",
            ) from error


def _fits(present: pl.Series, kind: ColumnType) -> bool:
    dtype = present.dtype
    if dtype == pl.Boolean or dtype.is_temporal():
        return kind == ("boolean" if dtype == pl.Boolean else "date" if dtype == pl.Date else "timestamp")
    if dtype.is_numeric() and kind not in ("integer", "number"):
        return False
    if dtype == pl.String and kind in ("integer", "number") and present.str.contains(r"^\s*[+-]?0\d").any():
        return False  # A leading zero means something: 007 is no number.
    try:
        return cast(present, kind).null_count() == 0
    except DataError:
        return False
