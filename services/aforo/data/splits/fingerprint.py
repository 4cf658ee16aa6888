"""The repeatable split: a row's part follows from its key alone."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Annotated, Literal

import polars as pl
from pydantic import Field
from typing_extensions import override

from aforo.contracts.run import PARTS
from aforo.contracts.table import ColumnType, TableContract
from aforo.data.splits import sql
from aforo.data.splits.keytext import TEXT, key_text, part_of, percent_of
from aforo.data.splits.sql import Dialect
from aforo.data.splits.strategy import Shares, SplitSpecification, SplitStrategy, refuse_types

TEXT_TYPES: tuple[ColumnType, ...] = ("string", "integer", "boolean", "date", "timestamp")
NO_TEXT = "which has no one text to fingerprint; expected text, whole numbers, booleans, dates or timestamps"


class FingerprintSplitSpec(SplitSpecification):
    """Split by the fingerprint of key columns.

    Attributes
    ----------
    key
        Rows that agree in these columns stay together. Choose what correlates: the date keeps a day's rows together.
    salt
        Changes which keys go where. Fix it once for a use case: another salt is another test part.
    """

    kind: Literal["fingerprint"] = "fingerprint"
    key: Annotated[tuple[str, ...], Field(min_length=1)]
    shares: Shares = Shares()
    salt: str = ""

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        return {"key": self.key, **super().reads}

    def refuse_unfit(self, table: TableContract) -> None:
        super().refuse_unfit(table)
        refuse_types(table, "key", self.key, TEXT_TYPES, NO_TEXT)

    @override
    def build(self, identity: tuple[str, ...] = ()) -> FingerprintSplit:
        return FingerprintSplit(key=self.key, shares=self.shares.in_order, salt=self.salt)


class FingerprintSplit(SplitStrategy):
    """Gives each row the part that its key's FarmHash64 falls into.

    A row keeps its part for ever: neither the order of rows nor rows that are added later change it. The share
    of rows in a part comes close to what was asked only with many keys; with 365 days expect it within a few percent.

    Parameters
    ----------
    key
        Key columns. Their texts are concatenated, after ``salt``, without a separator, as in BigQuery's
        ``ABS(MOD(FARM_FINGERPRINT(CONCAT(...)), 100))``.
    shares
        Percent for each part, in order.

    References
    ----------
    Lakshmanan, Robinson, Munn: Machine Learning Design Patterns, 2020, "Repeatable Splitting".

    Examples
    --------
    >>> days = pl.DataFrame({"date": ["2013-01-01", "2013-01-01", "2013-01-04"]})
    >>> FingerprintSplit(key=("date",), shares=(60, 15, 10, 15)).assign(days).to_list()
    [3, 3, 1]
    """

    def __init__(self, *, key: tuple[str, ...], shares: tuple[int, ...], salt: str = "") -> None:
        self.columns = key
        self.shares = shares
        self.salt = salt

    def prepared(self, schema: Mapping[str, pl.DataType]) -> dict[str, pl.Expr]:
        return {TEXT: pl.concat_str([pl.lit(self.salt), *(key_text(name, schema[name]) for name in self.columns)])}

    @override
    def part(self, schema: Mapping[str, pl.DataType]) -> pl.Expr:
        return part_of(percent_of(pl.col(TEXT)), self.shares)

    def sql(self, schema: Mapping[str, pl.DataType], dialect: Dialect) -> str:
        texts = [sql.text_of(name, schema[name], dialect) for name in self.columns]
        salted = [sql.literal(self.salt, dialect), *texts] if self.salt else texts
        percent = sql.percent_of(sql.concatenated(salted, dialect), dialect)
        return sql.bucket(percent, bounds_of(self.shares), PARTS, dialect)


def bounds_of(shares: tuple[int, ...]) -> list[int]:
    """The percentages at which each part but the first begins."""
    return list(accumulate(shares))[:-1]
