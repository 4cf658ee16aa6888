"""Where tables come from: one kind a file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aforo.data.sources.csv import CsvSource
from aforo.data.sources.package import PackageSource
from aforo.data.sources.parquet import ParquetSource
from aforo.data.sources.reader import Batch, BrokenRow, Reader, SourceSpec
from aforo.data.sources.sql import SqlSource

Source = Annotated[CsvSource | ParquetSource | SqlSource | PackageSource, Field(discriminator="kind")]

__all__ = [
    "Batch",
    "BrokenRow",
    "CsvSource",
    "PackageSource",
    "ParquetSource",
    "Reader",
    "Source",
    "SourceSpec",
    "SqlSource",
]
