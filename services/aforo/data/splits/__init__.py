"""Which row is for what: one strategy a file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aforo.data.splits.digest import split_digest
from aforo.data.splits.fingerprint import FingerprintSplit, FingerprintSplitSpec
from aforo.data.splits.grouped import GroupedSplit, GroupedSplitSpec
from aforo.data.splits.new_rows import NewRowsSplit
from aforo.data.splits.placement import Placement
from aforo.data.splits.random import RandomSplit, RandomSplitSpec
from aforo.data.splits.seasonal import SeasonalSplit, SeasonalSplitSpec
from aforo.data.splits.sequential import SequentialSplit, SequentialSplitSpec
from aforo.data.splits.sql import Dialect, postgres_functions
from aforo.data.splits.strategy import LABELS, LEFT_OUT, Shares, SplitSpecification, SplitStrategy
from aforo.data.splits.stratified import StratifiedSplit, StratifiedSplitSpec
from aforo.data.splits.warnings import missing_slices, spanning_keys

SplitSpec = Annotated[
    FingerprintSplitSpec
    | SequentialSplitSpec
    | SeasonalSplitSpec
    | StratifiedSplitSpec
    | GroupedSplitSpec
    | RandomSplitSpec,
    Field(discriminator="kind"),
]

__all__ = [
    "LABELS",
    "LEFT_OUT",
    "Dialect",
    "FingerprintSplit",
    "FingerprintSplitSpec",
    "GroupedSplit",
    "GroupedSplitSpec",
    "NewRowsSplit",
    "Placement",
    "RandomSplit",
    "RandomSplitSpec",
    "SeasonalSplit",
    "SeasonalSplitSpec",
    "SequentialSplit",
    "SequentialSplitSpec",
    "Shares",
    "SplitSpec",
    "SplitSpecification",
    "SplitStrategy",
    "StratifiedSplit",
    "StratifiedSplitSpec",
    "missing_slices",
    "postgres_functions",
    "spanning_keys",
    "split_digest",
]
