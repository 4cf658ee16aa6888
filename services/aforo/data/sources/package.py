"""A data file that an installed Python distribution carries, read without importing the package."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Literal

from aforo.data.sources.csv import CsvReader
from aforo.data.sources.locations import Location
from aforo.data.sources.parquet import ParquetReader
from aforo.data.sources.reader import Reader, SourceSpec
from aforo.errors import SourceError
from aforo.settings import Settings


class PackageSource(SourceSpec):
    """A CSV (``.csv``, ``.csv.gz``, ``.csv.zip``) or Parquet file of an installed distribution.

    Attributes
    ----------
    package
        Name of the distribution, as one installs it.
    path
        Path of the file in it, or the end of that path.
    null_values
        CSV: texts that mean *missing*. An empty field always does.
    """

    kind: Literal["package"] = "package"
    package: str
    path: str
    null_values: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.package}/{self.path}"

    def open(self, folder: Path, settings: Settings) -> Reader:  # noqa: ARG002
        location = self._find()
        if self.path.endswith(".parquet"):
            return ParquetReader([location])
        if self.path.endswith((".csv", ".csv.gz", ".csv.zip")):
            return CsvReader([location], null_values=self.null_values)
        raise SourceError(
            f"{self.name}: the kind of file is not known; expected .csv, .csv.gz, .csv.zip or .parquet",
            hint="export the table to one of these, and read it with `kind: csv` or `kind: parquet`",
        )

    def _find(self) -> Location:
        try:
            distribution = importlib.metadata.distribution(self.package)
        except importlib.metadata.PackageNotFoundError as error:
            raise SourceError(
                f"the distribution {self.package!r} is not installed", hint=f"run `pip install {self.package}`"
            ) from error
        files = distribution.files or []
        found = [file for file in files if f"/{file.as_posix()}".endswith(f"/{self.path}")]
        if len(found) != 1:
            kinds = (".csv", ".csv.gz", ".csv.zip", ".parquet")
            tables = [file.as_posix() for file in files if file.as_posix().endswith(kinds)]
            raise SourceError(
                f"{self.package} {distribution.version} has {len(found)} files that end in {self.path!r}; expected one",
                hint=f"its tables are: {', '.join(tables[:20]) or 'none'}",
            )
        return Location(str(distribution.locate_file(found[0])))
