"""What every split strategy shares.

A part is a function of one row's own columns. That is no choice: a split that keeps every row in its part whatever is
added, in whatever order, gives a row the same part alone as among others. So what must be known of the whole
table (where the future begins, which salt spreads a rare slice) is written into the specification.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Self

import polars as pl
from pydantic import Field, model_validator

from aforo.contracts.run import PARTS
from aforo.contracts.specification import Specification
from aforo.contracts.table import ColumnType, TableContract
from aforo.data.repeats import do_repeat, once_each
from aforo.data.splits.sql import Dialect
from aforo.errors import DataError

LEFT_OUT = len(PARTS)
"""Code of the rows that a gap keeps out of every part."""

LABELS = (*PARTS, "left_out")
"""What each code is called, in SQL and in manifests."""

Percent = Annotated[int, Field(ge=0, le=100)]


class Shares(Specification):
    """How much goes into each part, in percent; whole numbers that add up to 100."""

    train: Percent = 60
    validation: Percent = 15
    calibration: Percent = 10
    test: Percent = 15

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        if sum(self.in_order) != 100:
            raise ValueError(f"the shares add up to {sum(self.in_order)}; expected 100 (percent)")
        if not self.train or not self.test:
            raise ValueError("train and test need a share above 0")
        return self

    @property
    def in_order(self) -> tuple[int, ...]:
        """The shares in the order of `aforo.contracts.run.PARTS`."""
        return tuple(getattr(self, part) for part in PARTS)


class SplitStrategy(ABC):
    """Puts each row into one part, or leaves it out."""

    columns: tuple[str, ...]
    """The columns it reads."""

    def prepared(self, schema: Mapping[str, pl.DataType]) -> dict[str, pl.Expr]:  # noqa: ARG002
        """Return columns that `part` reads by name beside the table's own.

        What an expression names several times is worked out as often; a text to hash is the dearest of it.
        """
        return {}

    @abstractmethod
    def part(self, schema: Mapping[str, pl.DataType]) -> pl.Expr:
        """Return the part of a row (uint8) as an expression over its columns and `prepared`; null if it cannot be told.

        Raises
        ------
        DataError
            A column is of a type that the strategy cannot read.
        """

    @abstractmethod
    def sql(self, schema: Mapping[str, pl.DataType], dialect: Dialect) -> str:
        """Return the same as an SQL expression, which gives the part's name, one of `LABELS`."""

    def assign(self, table: pl.DataFrame | pl.LazyFrame) -> pl.Series:
        """Return the part of each row.

        Returns
        -------
        pl.Series
            (N,) uint8: 0-3 in the order of `aforo.contracts.run.PARTS`, or `LEFT_OUT`.

        Raises
        ------
        DataError
            A column that it reads is absent, has missing values, or is of a type that it cannot read.
        """
        rows = table.lazy()
        schema = rows.collect_schema()
        absent = [name for name in self.columns if name not in schema]
        if absent:
            raise DataError(
                f"the split's key {', '.join(absent)} is not in the table: {', '.join(schema)}",
                hint="name columns of the table",
            )
        if isinstance(table, pl.DataFrame) and do_repeat(keys := table.select(self.columns)):
            parts = once_each(keys, lambda few: self._placed(few.lazy(), few.schema).collect().to_series()).alias(
                "part"
            )
        else:
            parts = self._placed(rows, schema).collect(engine="streaming").to_series()
        if parts.null_count():
            raise DataError(
                f"{parts.null_count()} rows have no value in the split's key ({', '.join(self.columns)})",
                hint="split by columns that are never missing",
            )
        return parts

    def _placed(self, rows: pl.LazyFrame, schema: Mapping[str, pl.DataType]) -> pl.LazyFrame:
        prepared = rows.select(*self.columns, **self.prepared(schema))
        return prepared.select(part=self.part(schema))


class SplitSpecification(Specification):
    """The base of every split in ``use_case.yaml``.

    Attributes
    ----------
    together
        Columns whose values must each stay in one part, for example the customer: the split is refused otherwise.
    slices
        Columns whose values should each have rows in every part: a warning names those that have none.
    """

    together: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        """Field to the columns that it names."""
        return {"together": self.together, "slices": self.slices}

    def refuse_unfit(self, table: TableContract) -> None:
        """Refuse a table that has no such columns, or of other types.

        Raises
        ------
        ValueError
            The message begins with the path of the field.
        """
        for field, names in self.reads.items():
            for name in names:
                if name not in table.names:
                    raise ValueError(f"split.{field} names {name!r}, which is not in data.columns")

    @abstractmethod
    def build(self, identity: tuple[str, ...] = ()) -> SplitStrategy:
        """Return the strategy.

        Parameters
        ----------
        identity
            Columns that identify a row: the key of the table contract.
        """


def refuse_types(
    table: TableContract, field: str, names: tuple[str, ...], types: tuple[ColumnType, ...], why: str
) -> None:
    """Refuse a column of another type than ``types``, with a ValueError that says why."""
    for name in names:
        if table[name].type not in types:
            raise ValueError(f"split.{field}: column {name!r} is a {table[name].type}, {why}")
