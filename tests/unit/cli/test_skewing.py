from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from aforo.cli.main import app
from aforo.cli.skewing import with_bounds
from aforo.data.skew import ColumnBounds
from aforo.settings import Settings
from aforo.use_case import UseCase, load_use_case


@pytest.fixture
def flight_delay() -> UseCase:
    return load_use_case(Settings.from_environment({}).use_cases, "flight_delay")


def test_a_bound_of_the_command_line_takes_the_place_of_the_use_case_s_own(flight_delay: UseCase) -> None:
    given = {"max_distance": ["0.3", "month=0.5", "seats=1"], "max_missing": ["month=0.01"], "max_unseen": None}

    spec = with_bounds(flight_delay, given)

    assert (spec.max_distance, spec.max_missing) == (0.3, flight_delay.skew.max_missing)
    assert spec.columns["month"] == ColumnBounds(max_distance=0.5, max_missing=0.01)
    assert spec.columns["seats"] == ColumnBounds(max_distance=1)
    assert spec.columns["pressure"] == flight_delay.skew.columns["pressure"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--max-distance", "tailnum=1"), "skew.columns names 'tailnum', which no candidate reads"),
        (("--max-missing", "origin=2"), "columns.origin.max_missing"),
        (("--max-unseen", "many"), "expected a share from 0 to 1"),
        (("--since", "November"), "November"),
    ],
)
def test_a_bound_or_a_day_that_is_none_is_refused(
    option: tuple[str, str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AFORO_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")

    answer = CliRunner().invoke(app, ["skew", "flight_delay", *option])

    assert answer.exit_code == 2
    assert said in answer.stderr
