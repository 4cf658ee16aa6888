"""``aforo describe``, as it is typed."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from aforo.cli.main import app
from aforo.data.snapshots import Snapshots
from aforo.errors import AforoError
from aforo.settings import Settings
from aforo.storage import open_store

USE_CASES = Path(__file__).parents[3] / "services" / "use_cases"


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("AFORO_HOME", str(tmp_path))
    monkeypatch.setenv("AFORO_USE_CASES", str(USE_CASES))
    return CliRunner()


@pytest.mark.parametrize("words", [["describe", "flight_delay"], ["describe", "use-case", "flight_delay"]])
def test_a_use_case_is_described_by_its_name_alone(cli: CliRunner, words: list[str]) -> None:
    answer = cli.invoke(app, words)

    assert answer.exit_code == 0
    assert answer.stdout.startswith("flight_delay: Will a flight from New York")


def test_the_split_is_printed_as_a_query(cli: CliRunner) -> None:
    answer = cli.invoke(app, ["describe", "split", "flight_delay", "--sql", "bigquery", "--table", "lake.flights"])

    assert answer.stdout.startswith("SELECT *, ['train', 'validation', 'calibration', 'test'][OFFSET(RANGE_BUCKET(")
    assert answer.stdout.endswith("AS part\nFROM lake.flights;\n")


def test_the_query_for_postgres_begins_with_the_functions_it_needs(cli: CliRunner) -> None:
    answer = cli.invoke(app, ["describe", "split", "flight_delay", "--sql", "postgres"])

    assert "CREATE OR REPLACE FUNCTION aforo_farm_fingerprint" in answer.stdout
    assert answer.stdout.endswith("FROM flight_delay;\n")


def test_a_contract_is_printed_for_a_file(cli: CliRunner, tmp_path: Path) -> None:
    pl.DataFrame({"id": [1, 2, 3], "colour": ["red", "blue", "red"]}).write_csv(tmp_path / "shop.csv")

    answer = cli.invoke(app, ["describe", "data", str(tmp_path / "shop.csv"), "--infer"])

    assert answer.stdout.endswith(
        "columns:\n  - {name: id, type: integer, role: key}\n"
        "  - {name: colour, type: string, role: feature, categories: [blue, red]}\n"
    )


def test_a_file_of_another_kind_is_refused(cli: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "shop.xlsx").write_bytes(b"")

    answer = cli.invoke(app, ["describe", "data", str(tmp_path / "shop.xlsx"), "--infer"])

    assert isinstance(answer.exception, AforoError)
    assert "its name ends in '.xlsx'; expected .csv" in str(answer.exception)


def test_two_snapshots_are_compared_in_rows_columns_and_distributions(cli: CliRunner, tmp_path: Path) -> None:
    snapshots = Snapshots(open_store(Settings.from_environment({"AFORO_HOME": str(tmp_path)})))
    rows = pl.DataFrame({"id": range(500), "size": [float(n) for n in range(500)], "colour": ["red", "blue"] * 250})
    changed = rows.filter(pl.col("id") > 0).with_columns(pl.col("size") * 2, new=pl.lit(1))
    ids = [snapshots.take([table], source="shop").snapshot_id for table in (rows, changed.drop("new"), changed)]

    answer = cli.invoke(app, ["describe", "snapshot", ids[0], "--against", ids[1], "--key", "id"])
    columns = cli.invoke(app, ["describe", "snapshot", ids[1], "--against", ids[2]])

    assert "1 row(s) gone: id=0" in answer.stdout
    assert "size changed in 499 row(s): id=1: 1.0 -> 2.0" in answer.stdout
    assert "1 of 3 columns moved" in answer.stdout
    assert "new columns  new" in columns.stdout


def test_a_snapshot_becomes_a_page(cli: CliRunner, tmp_path: Path) -> None:
    snapshots = Snapshots(open_store(Settings.from_environment({"AFORO_HOME": str(tmp_path)})))
    taken = snapshots.take([pl.DataFrame({"size": [1.0, 2.0]})], source="shop")

    answer = cli.invoke(app, ["describe", "snapshot", taken.snapshot_id, "--html", str(tmp_path / "page.html")])

    assert answer.exit_code == 0
    assert "histogram of size" in (tmp_path / "page.html").read_text()
