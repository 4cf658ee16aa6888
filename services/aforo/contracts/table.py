"""The table contract: what each column means, and what its values may be.

One declared contract drives validation, training and the prediction API.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from aforo.contracts.specification import Specification

ColumnType = Literal["string", "integer", "number", "boolean", "date", "timestamp"]

# Graphs and JSON carry every number as float64, which counts exactly up to here.
LARGEST_EXACT_INTEGER = 2**53


class Role(StrEnum):
    """What a column is for. A column may have several roles, for example key and feature."""

    KEY = "key"
    """Part of what identifies a row; two rows with the same key are duplicates."""
    TIME = "time"
    """When the row happened; orders rows in time."""
    TARGET = "target"
    """What is predicted."""
    FEATURE = "feature"
    """Known at the moment of prediction."""
    LEAK = "leak"
    """Known only after the moment of prediction. Never a feature."""
    INFO = "info"
    """Kept for people, slices and splits; not a feature."""


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class ColumnContract(Specification):
    """One column of a table.

    Attributes
    ----------
    type
        ``integer`` is exact up to 2**53 in magnitude. ``date`` is ``YYYY-MM-DD``; ``timestamp`` is ISO 8601 in UTC.
    role
        One role or a list of them.
    expression
        SQL expression over columns declared above it, for a column that is derived
        rather than read, for example ``arr_delay >= 15``.
    minimum, maximum
        Inclusive bounds, in ``unit``.
    categories
        All allowed values of a string column. Without them every string is allowed.
    nullable
        Whether the value may be missing. An empty string counts as missing.
    private
        Whether the value must not be written to logs as it is.
    known_at
        The timestamp column from which on the value is known; needed of what a window is over.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")]
    type: ColumnType
    role: Annotated[tuple[Role, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    description: str = ""
    unit: str | None = None
    expression: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None
    nullable: bool = False
    private: bool = False
    known_at: str | None = None
    example: str | int | float | bool | None = None

    @property
    def is_numeric(self) -> bool:
        return self.type in ("integer", "number", "boolean")

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if Role.LEAK in self.role and Role.FEATURE in self.role:
            raise ValueError(f"column {self.name!r} is both feature and leak; it can be one of them")
        if self.categories is not None and self.type != "string":
            raise ValueError(f"column {self.name!r} has categories, and is of type {self.type}; expected string")
        if self.categories is not None and "" in self.categories:
            raise ValueError(f"column {self.name!r} has an empty category; an empty string counts as missing")
        if (self.minimum is not None or self.maximum is not None) and self.type not in ("integer", "number"):
            raise ValueError(f"column {self.name!r} has bounds, and is of type {self.type}; expected a number")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"column {self.name!r}: minimum {self.minimum:g} is above maximum {self.maximum:g}")
        if Role.FEATURE in self.role and self.type in ("date", "timestamp"):
            raise ValueError(
                f"column {self.name!r} is a {self.type} feature; derive numbers from it with `expression` instead"
            )
        if Role.KEY in self.role and self.nullable:
            raise ValueError(f"key column {self.name!r} is nullable; a key is never missing")
        return self


class SetAside(Specification):
    """Rows that are well formed, and still no examples: counted and kept apart with the reason.

    Attributes
    ----------
    reason
        One word that names the group, for example ``cancelled``.
    where
        SQL condition over the contract's columns.
    """

    reason: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    where: str


class TableContract(Specification):
    """The columns of a table, in order, and how many of its rows may be bad.

    Attributes
    ----------
    max_bad_rows
        How many rows may be quarantined: a count when an integer, a share (0-1) of the rows read when a fraction.
    """

    columns: Annotated[tuple[ColumnContract, ...], Field(min_length=1)]
    set_aside: tuple[SetAside, ...] = ()
    max_bad_rows: int | float = 0

    @field_validator("max_bad_rows")
    @classmethod
    def _count_or_share(cls, value: int | float) -> int | float:
        if value < 0 or (isinstance(value, float) and value > 1):
            raise ValueError(f"max_bad_rows is {value}; expected a count (an integer) or a share between 0.0 and 1.0")
        return value

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        repeated = [name for name, count in Counter(c.name for c in self.columns).items() if count > 1]
        if repeated:
            raise ValueError(f"columns declared twice: {', '.join(repeated)}")
        if len(self.with_role(Role.TARGET)) != 1:
            raise ValueError(f"expected one target column, found {len(self.with_role(Role.TARGET))}")
        if len(self.with_role(Role.TIME)) > 1:
            raise ValueError("expected at most one time column")
        moments = {column.name for column in self.columns if column.type == "timestamp"}
        for column in self.columns:
            if column.known_at is not None and column.known_at not in moments:
                raise ValueError(
                    f"column {column.name!r}: known_at is {column.known_at!r}, which is no timestamp column"
                )
        return self

    def __getitem__(self, name: str) -> ColumnContract:
        """Return the column called ``name``; KeyError lists the valid names."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"no column {name!r}; the table has: {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def key(self) -> tuple[str, ...]:
        """Names of the key columns; empty if rows are identified by their whole content."""
        return tuple(column.name for column in self.with_role(Role.KEY))

    @property
    def target(self) -> ColumnContract:
        return self.with_role(Role.TARGET)[0]

    @property
    def time(self) -> ColumnContract | None:
        return next(iter(self.with_role(Role.TIME)), None)

    def with_role(self, role: Role) -> tuple[ColumnContract, ...]:
        return tuple(column for column in self.columns if role in column.role)
