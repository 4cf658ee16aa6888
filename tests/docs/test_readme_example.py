"""The README's use case, run as `make demo` runs it: with the real Airflow, MLflow and prediction API."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
AIRFLOW = Path(os.environ.get("AFORO_AIRFLOW_PYTHON", ROOT / ".venv-airflow" / "bin" / "python")).with_name("airflow")
STEPS = ["ingest", "validate", "split", "train", "calibrate", "evaluate", "promote"]


def block(kind: str, number: int = 0) -> str:
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)[number]


def shape(value):
    """The keys of an answer, without what differs from one to the next."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value).__name__


class Demo:
    """`make demo` in a folder of its own."""

    def __init__(self, folder: Path, living: Callable[[str, str], list[str]]) -> None:
        self._living = living
        self.home = folder / "home"
        self.use_cases = folder / "use_cases"
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
            "AFORO_HOME": str(self.home),
            "AFORO_USE_CASES": str(self.use_cases),
        }

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "embedded", "--airflow", str(AIRFLOW), "demo", "--use-case", "late_order"]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
        )

    def run(self) -> tuple[int, str]:
        with self.start() as process:
            try:
                said, _ = process.communicate(timeout=500)
            finally:
                process.terminate()
        return process.returncode, said

    def left_running(self) -> list[str]:
        """Every process that was started for this folder and lives."""
        return self._living("AFORO_HOME", str(self.home))


@pytest.fixture(scope="module")
def demo(tmp_path_factory, living) -> Demo:
    demo = Demo(tmp_path_factory.mktemp("demo"), living)
    folder = demo.use_cases / "late_order"
    folder.mkdir(parents=True)
    (folder / "use_case.yaml").write_text(block("yaml"), encoding="utf-8")
    rng = random.Random(1)
    lines = ["number,shop,distance,days"]
    for number in range(2000):
        shop, distance = rng.choice(["north", "south"]), rng.uniform(0, 100)
        days = max(0.0, 1 + distance / 30 + 0.5 * (shop == "north") + rng.gauss(0, 1))
        lines.append(f"{number},{shop},{distance:.1f},{days:.2f}")
    (folder / "data.csv").write_text("\n".join(lines), encoding="utf-8")
    return demo


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return
    process.terminate()
    pytest.fail(f"{text!r} was never said:\n{said}")


def test_ctrl_c_in_the_middle_of_a_task_leaves_nothing_running_and_nothing_half_written(demo):
    with demo.start() as process:
        wait_for(process, "validate")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "nothing is left running" in said
    assert "Traceback" not in said
    assert demo.left_running() == []
    assert [path for path in demo.home.rglob("*") if "partial" in path.name] == []


def test_airflow_ends_when_the_demo_is_killed(demo):
    with demo.start() as process:
        wait_for(process, "validate")
        process.kill()
    give_up = time.monotonic() + 60
    while demo.left_running() and time.monotonic() < give_up:
        time.sleep(0.5)
    assert demo.left_running() == []


def test_the_next_call_trains_serves_and_answers_as_the_readme_says(demo):
    code, said = demo.run()
    assert code == 0, said
    shown = re.findall(r"^\d\d:\d\d:\d\d (\w+)$", said, re.MULTILINE)
    assert shown == STEPS
    assert re.search(r"^  brier +0\.\d{4}  \[0\.\d{4}, 0\.\d{4}\]  0\.\d{4}  \[", said, re.MULTILINE)
    question, _, answer = said[said.index("{\n") :].partition("\n}\n{\n")
    assert json.loads(question + "\n}") == json.loads(block("json"))
    assert shape(json.loads("{" + answer[: answer.index("\n}\n") + 2])) == shape(json.loads(block("json", 1)))
    assert demo.left_running() == []


def test_airflow_finds_the_log_of_each_task_where_it_looks_for_it(demo):
    logs = demo.home / "airflow" / "logs" / "dag_id=late_order__training"
    filed = {path.parent.name.removeprefix("task_id="): path for path in logs.glob("run_id=*/task_id=*/attempt=1.log")}
    assert set(filed) >= set(STEPS)
    events = [json.loads(line)["event"] for line in filed["ingest"].read_text(encoding="utf-8").splitlines()]
    assert any(event.startswith("late_order ingest") for event in events)


def test_a_second_call_does_not_train_again(demo):
    before = sorted((demo.home / "store" / "runs").rglob("manifest.json"))
    code, said = demo.run()
    assert code == 0, said
    assert "nothing has changed since the champion, version 1" in said
    assert sorted((demo.home / "store" / "runs").rglob("manifest.json")) == before
