"""``aforo describe``, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from aforo.cli.main import app

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
