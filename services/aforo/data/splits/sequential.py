"""The split along time: learn from the past, be judged on the future."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal, Self

import polars as pl
from pydantic import Field, model_validator
from typing_extensions import override

from aforo.data.splits import sql
from aforo.data.splits.days import DaySplitSpecification, day_of
from aforo.data.splits.sql import Dialect
from aforo.data.splits.strategy import LABELS, LEFT_OUT, SplitStrategy


class SequentialSplitSpec(DaySplitSpecification):
    """Split at three dates.

    Attributes
    ----------
    column
        A date or a timestamp; days are those of UTC.
    validation_from, calibration_from, test_from
        First day of each part. Rows before the first date are for training.
    gap_days
        So many days before each of these dates belong to no part. Make it as long as the target takes to be known:
        a training row whose target lies in the test period has seen it.
    """

    kind: Literal["sequential"] = "sequential"
    validation_from: dt.date
    calibration_from: dt.date
    test_from: dt.date
    gap_days: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _dates_follow_each_other(self) -> Self:
        for earlier, later in pairwise(("validation_from", "calibration_from", "test_from")):
            days = (getattr(self, later) - getattr(self, earlier)).days
            if days <= self.gap_days:
                raise ValueError(
                    f"{later} is {days} days after {earlier}; expected more than gap_days, which is {self.gap_days}"
                )
        return self

    @override
    def build(self, identity: tuple[str, ...] = ()) -> SequentialSplit:
        starts = (self.validation_from, self.calibration_from, self.test_from)
        return SequentialSplit(column=self.column, starts=starts, gap_days=self.gap_days)


class SequentialSplit(SplitStrategy):
    """Gives each row the part of the period that its day lies in: train, then validation, calibration, and test.

    The honest figure where what is learnt is used on days to come: the test part is as unknown as the future was, with
    its drift and its seasons. The price: the parts differ (summer against winter), the newest rows teach nothing,
    and the dates must be moved by hand, which makes another test part; until then all that is added goes to test.

    Parameters
    ----------
    starts
        First day of validation, calibration and test.
    gap_days
        Days before each start that belong to no part.

    References
    ----------
    Lakshmanan, Robinson, Munn: Machine Learning Design Patterns, 2020, "Repeatable Splitting", sequential split.
    López de Prado: Advances in Financial Machine Learning, 2018, chapter 7 (purging and embargo).

    Examples
    --------
    >>> split = SequentialSplit(column="day", starts=tuple(dt.date(2013, month, 1) for month in (7, 8, 9)), gap_days=1)
    >>> days = [dt.date(2013, 6, 29), dt.date(2013, 6, 30), dt.date(2013, 7, 1), dt.date(2014, 1, 1)]
    >>> split.assign(pl.DataFrame({"day": days})).to_list()
    [0, 4, 1, 3]
    """

    def __init__(self, *, column: str, starts: tuple[dt.date, ...], gap_days: int = 0) -> None:
        self.columns = (column,)
        gap = dt.timedelta(days=gap_days)
        self._bounds = [bound for start in starts for bound in (start - gap, start)]
        self._codes = [code for later in range(1, len(starts) + 1) for code in (later - 1, LEFT_OUT)] + [len(starts)]

    def part(self, schema: Mapping[str, pl.DataType]) -> pl.Expr:
        (column,) = self.columns
        return in_periods(day_of(column, schema[column]), self._bounds, self._codes)

    def sql(self, schema: Mapping[str, pl.DataType], dialect: Dialect) -> str:
        (column,) = self.columns
        day = sql.day_of(column, schema[column], dialect)
        return sql.bucket(day, self._bounds, [LABELS[code] for code in self._codes], dialect)


def in_periods(value: pl.Expr, bounds: list[dt.date] | list[int], codes: list[int]) -> pl.Expr:
    """Return ``codes[i]`` from ``bounds[i - 1]`` on (bounds in order); null for null."""
    passed = [(value >= bound).cast(pl.UInt8) for bound in bounds]
    return pl.lit(pl.Series(codes, dtype=pl.UInt8)).gather(pl.sum_horizontal(passed, ignore_nulls=False))
