"""A run that is stopped half way: what it leaves, how it says so, and that it can go on."""

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

USE_CASE = """
name: late_order
title: Will an order arrive late?
owner: logistics
task: {kind: binary}
data:
  source: {kind: csv, path: data.csv}
  columns:
    - {name: number, type: integer, role: key}
    - {name: distance, type: number, role: feature, example: 12.5}
    - {name: late, type: boolean, role: target}
split: {kind: fingerprint, key: [number], shares: {train: 40, validation: 10, calibration: 25, test: 25}}
features: [{kind: scale, columns: [distance]}]
candidates: [{kind: historical_rate, by: []}, {kind: linear}]
"""
AFORO = Path(sys.executable).with_name("aforo")


@pytest.fixture
def environment(tmp_path):
    folder = tmp_path / "use_cases" / "late_order"
    folder.mkdir(parents=True)
    (folder / "use_case.yaml").write_text(USE_CASE, encoding="utf-8")
    rng = random.Random(7)
    rows = [(number, rng.uniform(0, 100)) for number in range(1500)]
    lines = [f"{n},{distance:.1f},{'true' if rng.gauss(distance, 20) > 50 else 'false'}" for n, distance in rows]
    (folder / "data.csv").write_text("\n".join(["number,distance,late", *lines]), encoding="utf-8")
    return {**os.environ, "AFORO_HOME": str(tmp_path / "home"), "AFORO_USE_CASES": str(folder.parent)}


def interrupted(environment, number: signal.Signals, after: str) -> tuple[int, str]:
    """Start a run, send the signal once ``after`` has been said, and return exit code and last words."""
    with subprocess.Popen(
        [AFORO, "run", "late_order"],
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(after):
                break
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        return process.returncode, said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_so_in_words_and_goes_on_where_it_stopped(environment, number, code):
    returned, said = interrupted(environment, number, "late_order split")
    assert returned == code
    assert "Traceback" not in said
    message, hint = said.splitlines()[-2:]
    assert message == "aforo: interrupted; what was finished stands"
    found = re.fullmatch(r"hint: `aforo (run late_order --run-key \S+)` goes on from here", hint)
    assert found
    again = subprocess.run(
        [AFORO, *found[1].split()], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert again.returncode == 0, again.stderr
    assert "finished before  use_case=late_order" in again.stderr
    assert "late_order promote" in again.stdout


def test_a_killed_run_leaves_no_half_written_object_and_the_next_run_is_not_disturbed(environment):
    returned, _ = interrupted(environment, signal.SIGKILL, "late_order split")
    assert returned == -signal.SIGKILL
    again = subprocess.run(
        [AFORO, "run", "late_order"], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert again.returncode == 0, again.stderr
    assert "late_order promote" in again.stdout
