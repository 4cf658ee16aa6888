"""What every split strategy shares."""

from __future__ import annotations

from typing import Annotated, Protocol, Self

import polars as pl
from pydantic import Field, model_validator

from aforo.contracts.run import PARTS
from aforo.contracts.specification import Specification

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


class SplitStrategy(Protocol):
    """Puts each row into one part."""

    def assign(self, table: pl.DataFrame | pl.LazyFrame) -> pl.Series:
        """Return the part of each row: (N,) uint8, 0-3 in the order of `aforo.contracts.run.PARTS`."""
