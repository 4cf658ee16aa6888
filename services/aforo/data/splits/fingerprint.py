"""The repeatable split: a row's part follows from its key alone."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from aforo.contracts.specification import Specification
from aforo.data.splits.keytext import fingerprint, key_text
from aforo.data.splits.strategy import Shares
from aforo.errors import DataError


class FingerprintSplitSpec(Specification):
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

    def build(self) -> FingerprintSplit:
        return FingerprintSplit(key=self.key, shares=self.shares.in_order, salt=self.salt)


class FingerprintSplit:
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
    """

    def __init__(self, *, key: tuple[str, ...], shares: tuple[int, ...], salt: str = "") -> None:
        self.key = key
        self.shares = shares
        self.salt = salt

    def assign(self, table: pl.DataFrame | pl.LazyFrame) -> pl.Series:
        """Return the part of each row: (N,) uint8, 0-3 in the order of `aforo.contracts.run.PARTS`.

        Raises
        ------
        DataError
            A key column is absent, has missing values, or is of a type without one text.
        """
        rows = table.lazy()
        schema = rows.collect_schema()
        absent = [name for name in self.key if name not in schema]
        if absent:
            raise DataError(f"the split's key {', '.join(absent)} is not in the table: {', '.join(schema)}")
        text = pl.concat_str([pl.lit(self.salt), *(key_text(name, schema[name]) for name in self.key)])
        part = pl.Series(np.repeat(np.arange(4, dtype=np.uint8), self.shares))
        hashed = fingerprint(text)
        # |signed value| of the upper half is 2**64 - hashed, which is one more than uint64 holds.
        negative = ((pl.lit(2**64 - 1, dtype=pl.UInt64) - hashed) % 100 + 1) % 100
        percent = pl.when(hashed < 2**63).then(hashed % 100).otherwise(negative)
        parts = rows.select(part=pl.lit(part).gather(percent)).collect(engine="streaming").to_series()
        if parts.null_count():
            raise DataError(
                f"{parts.null_count()} rows have no value in the split's key ({', '.join(self.key)})",
                hint="split by columns that are never missing",
            )
        return parts
