"""The split by the day of the month, so that every part has every season."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal, Self

import polars as pl
from pydantic import Field, model_validator
from typing_extensions import override

from aforo.contracts.specification import Specification
from aforo.data.splits import sql
from aforo.data.splits.days import DaySplitSpecification, day_of
from aforo.data.splits.sequential import in_periods
from aforo.data.splits.sql import Dialect
from aforo.data.splits.strategy import LABELS, LEFT_OUT, SplitStrategy

Day = Annotated[int, Field(ge=1, le=27)]


class LastDays(Specification):
    """Last day of the month (1-27) of each part but test, which has the days after."""

    train: Day = 18
    validation: Day = 21
    calibration: Day = 24

    @property
    def in_order(self) -> tuple[int, ...]:
        return (self.train, self.validation, self.calibration)


class SeasonalSplitSpec(DaySplitSpecification):
    """Split each month alike.

    Attributes
    ----------
    column
        A date or a timestamp; days are those of UTC.
    until
        Last day of the month of train, validation and calibration.
    gap_days
        So many days at the beginning of each block belong to no part; they are the most like the block before.
    """

    kind: Literal["seasonal"] = "seasonal"
    until: LastDays = LastDays()
    gap_days: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _blocks_are_longer_than_the_gap(self) -> Self:
        # The shortest month ends the last block.
        for first, last in pairwise((0, *self.until.in_order, 28)):
            if last - first <= self.gap_days:
                raise ValueError(
                    f"until: the block of days {first + 1} to {last} has {last - first} days; "
                    f"expected more than gap_days, which is {self.gap_days}"
                )
        return self

    @override
    def build(self, identity: tuple[str, ...] = ()) -> SeasonalSplit:
        return SeasonalSplit(column=self.column, until=self.until.in_order, gap_days=self.gap_days)


class SeasonalSplit(SplitStrategy):
    """Gives the first days of every month to train, the next ones to validation and calibration, the last ones to test.

    For one or two years of data with a season in it, where a split at a date would learn from summer and be judged on
    winter, and where rows by chance would put a day's rows on both sides. The price: training rows come after test
    rows, so drift does not show; and what goes by the day of the month (pay day, Christmas) is learnt or judged, never
    both.

    Parameters
    ----------
    until
        Last day of the month of train, validation and calibration.
    gap_days
        Days at the beginning of each block that belong to no part.

    References
    ----------
    Lakshmanan, Robinson, Munn: Machine Learning Design Patterns, 2020, "Repeatable Splitting", sequential split:
    the first 20 days of each month for training, the next 5 for validation, the rest for test.

    Examples
    --------
    >>> import datetime as dt
    >>> split = SeasonalSplit(column="day", until=(15, 20, 25), gap_days=1)
    >>> split.assign(pl.DataFrame({"day": [dt.date(2013, 2, day) for day in (1, 2, 15, 16, 17, 28)]})).to_list()
    [4, 0, 0, 4, 1, 3]
    """

    def __init__(self, *, column: str, until: tuple[int, ...], gap_days: int = 0) -> None:
        self.columns = (column,)
        firsts = (1, *(day + 1 for day in until))
        self._bounds = [bound for first in firsts for bound in (first, first + gap_days)]
        # No day is below the first bound; its code is never read.
        self._codes = [LEFT_OUT, *(code for part in range(len(firsts)) for code in (LEFT_OUT, part))]

    def part(self, schema: Mapping[str, pl.DataType]) -> pl.Expr:
        (column,) = self.columns
        day_of_month = day_of(column, schema[column]).dt.day()
        return in_periods(day_of_month, self._bounds, self._codes)

    def sql(self, schema: Mapping[str, pl.DataType], dialect: Dialect) -> str:
        (column,) = self.columns
        day = f"EXTRACT(DAY FROM {sql.day_of(column, schema[column], dialect)})"
        if dialect == "postgres":
            day += "::int"
        return sql.bucket(day, self._bounds, [LABELS[code] for code in self._codes], dialect)
