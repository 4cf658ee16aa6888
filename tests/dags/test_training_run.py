"""A training DAG, run from end to end by the real Airflow on SQLite, with our commands as its tasks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
AIRFLOW = Path(os.environ.get("AFORO_AIRFLOW_PYTHON", ROOT / ".venv-airflow" / "bin" / "python")).with_name("airflow")
DAG = "breast_cancer__training"
STEPS = ["ingest", "validate", "split", "train", "calibrate", "evaluate", "promote"]


@dataclass(frozen=True)
class AirflowHome:
    """Airflow and the platform in one folder."""

    folder: Path

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of Airflow's commands; its output and that of the tasks is in ``stdout``."""
        return self.run(AIRFLOW, *arguments)

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command in Airflow's environment."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "PYTHONSAFEPATH": "1",
            "AIRFLOW_HOME": str(self.folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "airflow" / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__API_AUTH__JWT_SECRET": "of this test alone, and long enough",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
            "AFORO_COMMAND": str(Path(sys.executable).with_name("aforo")),
            "AFORO_HOME": str(self.folder / "home"),
            "AFORO_USE_CASES": str(self.folder / "use_cases"),
            "AFORO_MLFLOW_PUBLIC_URL": "http://mlflow.example",
        }
        return subprocess.run(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def states(self, run_id: str) -> dict[str, str]:
        """Return task to state."""
        said = self("tasks", "states-for-dag-run", DAG, run_id, "--output", "json").stdout
        listed = next(line for line in reversed(said.splitlines()) if line.startswith("[{"))
        return {row["task_id"]: row["state"] for row in json.loads(listed)}

    def manifest(self, step: str) -> dict[str, object]:
        """Return the manifest of the one run there is."""
        (path,) = (self.folder / "home" / "store" / "runs" / "breast_cancer").glob(f"*/{step}/manifest.json")
        document: dict[str, object] = json.loads(path.read_text())
        return document


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> AirflowHome:
    """Airflow with the DAG of ``breast_cancer``, which has its two quickest candidates."""
    folder = tmp_path_factory.mktemp("airflow_run")
    shipped = ROOT / "services" / "use_cases" / "breast_cancer"
    document = yaml.safe_load((shipped / "use_case.yaml").read_text(encoding="utf-8"))
    document |= {"candidates": document["candidates"][:2], "retries": 0}
    (folder / "use_cases" / "breast_cancer").mkdir(parents=True)
    (folder / "use_cases" / "breast_cancer" / "use_case.yaml").write_text(yaml.safe_dump(document))
    (folder / "use_cases" / "breast_cancer" / "data.csv").write_bytes((shipped / "data.csv").read_bytes())
    airflow = AirflowHome(folder)
    migrated = airflow("db", "migrate")
    assert migrated.returncode == 0, migrated.stdout
    return airflow


@pytest.fixture(scope="module")
def log(airflow: AirflowHome) -> Iterator[str]:
    """What Airflow and the tasks said during a run of the DAG, with two values from its form."""
    done = airflow("dags", "test", DAG, "--conf", json.dumps({"seed": 7, "again": True}))
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def run_id(log: str) -> str:
    found = re.search(r"run_id=(manual__[^,\s]+)", log)
    assert found, log
    return found[1]


def test_every_task_of_the_run_succeeds(airflow: AirflowHome, run_id: str):
    assert airflow.states(run_id) == dict.fromkeys(STEPS, "success")


def test_the_log_shows_what_a_person_wants_to_see(log: str):
    for step in STEPS:
        assert re.search(rf"breast_cancer {step} \(\d+\.\d s\)", log), step
    assert re.search(r"rows read +569", log)
    assert re.search(r"rows +227 +81 +106 +155", log)
    assert re.search(r"roc_auc +0\.9\d\d\d", log)
    assert re.search(r"brier +0\.0\d\d\d +0\.0\d\d\d +0\.2\d\d\d", log)
    assert re.search(r"run opened .*mlflow=http://mlflow\.example/#/experiments/\d+/runs/[0-9a-f]{32}", log)
    assert re.search(r"mlflow url +http://mlflow\.example/#/models/breast_cancer/versions/1", log)
    assert "champion changed" in log


def test_the_values_of_the_form_reach_the_steps_and_the_run_key_is_airflows(airflow: AirflowHome, run_id: str):
    trained = airflow.manifest("train")

    assert trained["seed"] == 7
    assert trained["run_key"] == run_id.replace(":", "-")


CLEAR = """
import sys
from airflow.utils.cli import get_db_dag
print("cleared", get_db_dag(bundle_names=None, dag_id=sys.argv[1]).clear(run_id=sys.argv[2], task_ids=[sys.argv[3]]))
"""


def test_a_cleared_task_is_retried_alone_and_says_the_same(airflow: AirflowHome, run_id: str):
    before = {step: airflow.manifest(step) for step in STEPS}
    # What the user interface does on *Clear task*.
    cleared = airflow.run(AIRFLOW.with_name("python"), "-c", CLEAR, DAG, run_id, "evaluate")
    assert "cleared 1" in cleared.stdout
    assert airflow.states(run_id)["evaluate"] != "success"

    again = airflow("tasks", "test", DAG, "evaluate", run_id)

    assert again.returncode == 0, again.stdout
    assert "finished before" in again.stdout
    assert airflow.states(run_id) == dict.fromkeys(STEPS, "success")
    assert {step: airflow.manifest(step) for step in STEPS} == before
