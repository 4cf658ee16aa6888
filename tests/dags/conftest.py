"""The DAG files, read by the real Airflow; and Airflow and the platform in one folder, for those that really run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from aforo.registry.ledger import Ledger, Promotion

ROOT = Path(__file__).parents[2]
AIRFLOW = Path(os.environ.get("AFORO_AIRFLOW_PYTHON", ROOT / ".venv-airflow" / "bin" / "python")).with_name("airflow")
PYTHON = AIRFLOW.with_name("python")
DAGS = ROOT / "airflow" / "dags"
DAG = "breast_cancer__training"
CLEAR = """
import sys
from airflow.utils.cli import get_db_dag
print("cleared", get_db_dag(bundle_names=None, dag_id=sys.argv[1]).clear(run_id=sys.argv[2], task_ids=[sys.argv[3]]))
"""


@dataclass(frozen=True)
class AirflowHome:
    """Airflow and the platform in one folder."""

    folder: Path

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of Airflow's commands; its output and that of the tasks is in ``stdout``."""
        return self.run(AIRFLOW, *arguments)

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command in Airflow's environment."""
        return subprocess.run(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run one of Airflow's commands beside the test, its output in a file, and end it with the test."""
        with (
            (self.folder / f"{arguments[0]}.log").open("a") as log,
            subprocess.Popen(
                [AIRFLOW, *arguments], env=self.environment, stdout=log, stderr=log, text=True, process_group=0
            ) as process,
        ):
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "PYTHONSAFEPATH": "1",
            "AIRFLOW_HOME": str(self.folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "airflow" / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "true",
            "AIRFLOW__API_AUTH__JWT_SECRET": "of this test alone, and long enough",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
            "AFORO_COMMAND": str(Path(sys.executable).with_name("aforo")),
            "AFORO_HOME": str(self.folder / "home"),
            "AFORO_USE_CASES": str(self.folder / "use_cases"),
            "AFORO_MLFLOW_PUBLIC_URL": "http://mlflow.example",
        }

    def states(self, run_id: str) -> dict[str, str]:
        """Return task to state."""
        said = self("tasks", "states-for-dag-run", DAG, run_id, "--output", "json").stdout
        listed = next(line for line in reversed(said.splitlines()) if line.startswith("[{"))
        return {row["task_id"]: row["state"] for row in json.loads(listed)}

    def clear(self, run_id: str, task: str) -> str:
        """Do what the user interface does on *Clear task*, and return what Airflow says to it."""
        return self.run(AIRFLOW.with_name("python"), "-c", CLEAR, DAG, run_id, task).stdout

    def manifest(self, step: str) -> dict[str, object]:
        """Return the manifest of the one run there is."""
        (path,) = (self.folder / "home" / "store" / "runs" / "breast_cancer").glob(f"*/{step}/manifest.json")
        document: dict[str, object] = json.loads(path.read_text())
        return document

    def ledger(self) -> list[Promotion]:
        """Return who was promoted."""
        return Ledger(f"sqlite:///{self.folder}/home/ledger.db").history("breast_cancer")


@pytest.fixture(scope="session")
def new_airflow(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., AirflowHome]:
    """Return a maker of Airflows with the DAG of ``breast_cancer``, which has its two quickest candidates."""

    def make(**changes: Any) -> AirflowHome:
        folder = tmp_path_factory.mktemp("airflow_run")
        shipped = ROOT / "services" / "use_cases" / "breast_cancer"
        document = yaml.safe_load((shipped / "use_case.yaml").read_text(encoding="utf-8"))
        document |= {"candidates": document["candidates"][:2], "retries": 0, **changes}
        (folder / "use_cases" / "breast_cancer").mkdir(parents=True)
        (folder / "use_cases" / "breast_cancer" / "use_case.yaml").write_text(yaml.safe_dump(document))
        (folder / "use_cases" / "breast_cancer" / "data.csv").write_bytes((shipped / "data.csv").read_bytes())
        airflow = AirflowHome(folder)
        migrated = airflow("db", "migrate")
        assert migrated.returncode == 0, migrated.stdout
        return airflow

    return make


DESCRIBE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
sys.path.append(sys.argv[1])  # as Airflow's own processes do with a bundle
bag = DagBag(sys.argv[1])
libraries = {"sklearn", "torch", "mlflow", "polars", "pandas", "onnxruntime"}
ml = libraries & {name.partition(".")[0] for name in sys.modules}
print("DESCRIPTION" + json.dumps({
    "errors": {path: str(error) for path, error in bag.import_errors.items()},
    "ml": sorted(ml),
    "dags": {
        dag_id: {
            "tasks": [task.task_id for task in dag.topological_sort()],
            "commands": {task.task_id: getattr(task, "bash_command", None) for task in dag.tasks},
            "retries": [task.retries for task in dag.tasks],
            "trigger_rules": {task.task_id: task.trigger_rule for task in dag.tasks},
            "downstream": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
            "params": sorted(dag.params),
            "form": {
                name: {**dag.params.get_param(name).schema, "description": dag.params.get_param(name).description}
                for name in dag.params
            },
            "schedule": str(dag.schedule),
        }
        for dag_id, dag in bag.dags.items()
    },
}))
"""


def describe(tmp_path: Path, use_cases: Path) -> dict[str, Any]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONSAFEPATH": "1",
        "HOME": str(tmp_path),
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AFORO_USE_CASES": str(use_cases),
    }
    done = subprocess.run(
        [PYTHON, "-c", DESCRIBE, str(DAGS)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("DESCRIPTION"))
    return json.loads(line.removeprefix("DESCRIPTION"))


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The DAGs of the shipped use cases."""
    return describe(tmp_path_factory.mktemp("airflow"), ROOT / "services" / "use_cases")


@pytest.fixture(scope="session")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The DAGs of use cases of every sort, one of which cannot be read."""
    folder = tmp_path_factory.mktemp("use_cases")
    (folder / "broken").mkdir()
    (folder / "broken" / "use_case.yaml").write_text("name: [\n", encoding="utf-8")
    (folder / "flights").mkdir()
    (folder / "flights" / "use_case.yaml").write_text(
        "name: flights\ntitle: Late?\nowner: ada\nschedule: '@daily'\nretries: 3\n", encoding="utf-8"
    )
    (folder / "asking").mkdir()
    (folder / "asking" / "use_case.yaml").write_text(
        "name: asking\ntitle: Late?\nowner: ada\ngate: {ask: [calibrated]}\n", encoding="utf-8"
    )
    return describe(tmp_path_factory.mktemp("airflow"), folder)
