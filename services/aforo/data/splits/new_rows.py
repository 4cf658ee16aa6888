"""Another split, with rows of an older schema in its train part or in none."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import polars as pl
from typing_extensions import override

from aforo.contracts.run import PARTS
from aforo.data.splits import sql
from aforo.data.splits.days import day_of
from aforo.data.splits.sql import Dialect
from aforo.data.splits.strategy import LABELS, LEFT_OUT, SplitStrategy

_TRAIN = PARTS.index("train")


class NewRowsSplit(SplitStrategy):
    """Leaves rows before a day out of validation, calibration and test; all others stay where ``strategy`` puts them.

    They do not go to train instead: a customer of the test part would be there with the rows of last year.

    Parameters
    ----------
    column
        A date or a timestamp; days are those of UTC.
    since
        The first day whose rows may be in any part.
    """

    def __init__(self, strategy: SplitStrategy, *, column: str, since: dt.date) -> None:
        self.columns = tuple(dict.fromkeys((*strategy.columns, column)))
        self._strategy = strategy
        self._column = column
        self._since = since

    @override
    def prepared(self, schema: Mapping[str, pl.DataType]) -> dict[str, pl.Expr]:
        return self._strategy.prepared(schema)

    def part(self, schema: Mapping[str, pl.DataType]) -> pl.Expr:
        part = self._strategy.part(schema)
        day = day_of(self._column, schema[self._column])
        left_out = pl.lit(LEFT_OUT, dtype=pl.UInt8)
        told = pl.when((day < self._since) & (part != _TRAIN)).then(left_out).otherwise(part)
        return pl.when(day.is_not_null()).then(told)

    def sql(self, schema: Mapping[str, pl.DataType], dialect: Dialect) -> str:
        part = self._strategy.sql(schema, dialect)
        day = sql.day_of(self._column, schema[self._column], dialect)
        train, left_out = (sql.literal(LABELS[code], dialect) for code in (_TRAIN, LEFT_OUT))
        return (
            f"CASE WHEN {day} IS NULL THEN NULL WHEN {day} < DATE '{self._since.isoformat()}' AND {part} <> {train} "
            f"THEN {left_out} ELSE {part} END"
        )
