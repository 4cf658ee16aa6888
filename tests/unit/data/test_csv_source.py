"""CSV files as people write them."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from aforo.data.sources import Batch, CsvSource
from aforo.errors import SourceError
from aforo.settings import Settings


def read(source: CsvSource, folder: Path, settings: Settings, wanted: list[str]) -> list[Batch]:
    return list(source.open(folder, settings).batches(wanted))


def rows(batches: list[Batch]) -> list[tuple[object, ...]]:
    return [row for batch in batches for row in batch.table.rows()]


def test_every_column_is_text_and_null_values_are_missing(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "t.csv").write_text('a,b,c\n007,NA,""\n1e5,"N/A", x\n')

    source = CsvSource(path="t.csv", null_values=("NA", "N/A"))

    assert rows(read(source, tmp_path, settings, ["c", "a", "b"])) == [(None, "007", None), (" x", "1e5", None)]


def test_a_quoted_field_may_hold_a_line_break(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "t.csv").write_text('a,b\n1,"two\nlines, and ""quotes"""\n2,x\n')

    [batch] = read(CsvSource(path="t.csv"), tmp_path, settings, ["b"])

    assert batch.table["b"].to_list() == ['two\nlines, and "quotes"', "x"]
    assert batch.numbers.tolist() == [1, 2]


@pytest.mark.parametrize("text", ["a,b\r\n1,2\r\n", "\ufeffa,b\n1,2\n", "\n\na,b\n1,2\n\n", "a,b\n1,2"])
def test_line_ends_byte_order_marks_and_empty_lines_do_not_matter(
    tmp_path: Path, settings: Settings, text: str
) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode())

    assert rows(read(CsvSource(path="t.csv"), tmp_path, settings, ["a", "b"])) == [("1", "2")]


def test_separator_and_encoding_can_be_set(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "t.csv").write_bytes("a;stadt\n1;Tromsø\n".encode("latin-1"))

    source = CsvSource(path="t.csv", separator=";", encoding="latin-1")

    assert rows(read(source, tmp_path, settings, ["stadt"])) == [("Tromsø",)]


def test_the_wrong_encoding_is_named(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "t.csv").write_bytes("a,stadt\n1,Tromsø\n".encode("latin-1"))

    with pytest.raises(SourceError, match=r"t\.csv is not utf-8 text") as caught:
        read(CsvSource(path="t.csv"), tmp_path, settings, ["stadt"])
    assert "latin-1" in str(caught.value)


def test_an_encoding_that_does_not_exist_is_named(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")

    with pytest.raises(SourceError, match="utf-9"):
        read(CsvSource(path="t.csv", encoding="utf-9"), tmp_path, settings, ["a"])


def test_a_zip_and_a_gzip_are_read_as_their_content(tmp_path: Path, settings: Settings) -> None:
    text = "a,b\n" + "".join(f"{n},x\n" for n in range(5_000))
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/t.csv", text)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))

    expected = [(str(n),) for n in range(5_000)]

    assert rows(read(CsvSource(path="t.csv.zip"), tmp_path, settings, ["a"])) == expected
    assert rows(read(CsvSource(path="t.csv.gz"), tmp_path, settings, ["a"])) == expected


def test_a_zip_with_two_files_is_refused(tmp_path: Path, settings: Settings) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.csv", "a\n1\n")
        archive.writestr("b.csv", "a\n1\n")

    with pytest.raises(SourceError, match=r"t\.zip holds 2 files; expected one: a\.csv, b\.csv"):
        read(CsvSource(path="t.zip"), tmp_path, settings, ["a"])


def test_a_glob_means_its_files_in_order_of_name(tmp_path: Path, settings: Settings) -> None:
    for name, value in (("b", 2), ("a", 1), ("c", 3)):
        (tmp_path / f"{name}.csv").write_text(f"a\n{value}\n")

    batches = read(CsvSource(path="*.csv"), tmp_path, settings, ["a"])

    assert rows(batches) == [("1",), ("2",), ("3",)]
    assert [(batch.file, batch.numbers.tolist()) for batch in batches] == [
        ("a.csv", [1]),
        ("b.csv", [1]),
        ("c.csv", [1]),
    ]


def test_a_file_url_and_an_absolute_path_are_the_same_file(tmp_path: Path, settings: Settings) -> None:
    folder = tmp_path / "my data"
    folder.mkdir()
    (folder / "t.csv").write_text("a\n1\n")

    for path in ((folder / "t.csv").as_uri(), str(folder / "t.csv"), "my data/t.csv"):
        assert rows(read(CsvSource(path=path), tmp_path, settings, ["a"])) == [("1",)]


def test_one_file_of_a_glob_that_lacks_a_column_is_named(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b.csv").write_text("a\n1\n")

    with pytest.raises(SourceError, match=r"b\.csv has no column 'b'; it has: a"):
        read(CsvSource(path="*.csv"), tmp_path, settings, ["a", "b"])


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "t.csv").write_text("a,b,a\n1,2,3\n")

    with pytest.raises(SourceError, match="more than one column 'a'"):
        read(CsvSource(path="t.csv"), tmp_path, settings, ["a"])


def test_a_path_that_matches_nothing_is_named(tmp_path: Path, settings: Settings) -> None:
    for path in ("nothing.csv", "nothing-*.csv", "s3-less/nothing.csv"):
        with pytest.raises(SourceError, match="no file matches"):
            CsvSource(path=path).open(tmp_path, settings)


def test_rows_are_numbered_as_they_stand_however_many_are_broken(tmp_path: Path, settings: Settings) -> None:
    broken = {3, 4, 1_999, 500_000, 900_001}
    lines = [f"{n}" if n in broken else f"{n},{'x' * 60}" for n in range(1, 900_002)]
    (tmp_path / "t.csv").write_text("a,b\n" + "\n".join(lines) + "\n")

    batches = read(CsvSource(path="t.csv"), tmp_path, settings, ["a"])

    assert len(batches) > 2
    numbers = np.concatenate([batch.numbers for batch in batches])
    values = np.concatenate([batch.table["a"].cast(int).to_numpy() for batch in batches])
    assert (numbers == values).all()
    assert {row.number for batch in batches for row in batch.broken} == broken
