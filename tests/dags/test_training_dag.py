"""The DAG files, read by the real Airflow in its own environment."""

import json
import os
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("AFORO_AIRFLOW_PYTHON", ROOT / ".venv-airflow" / "bin" / "python"))
DAGS = ROOT / "airflow" / "dags"
STEPS = ["ingest", "validate", "split", "train", "calibrate", "evaluate", "promote"]

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


@pytest.fixture(scope="module")
def described(tmp_path_factory):
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


def test_the_dag_files_load_without_an_error(described):
    assert described["errors"] == {}


def test_the_dag_files_import_no_learning_library(described):
    assert described["ml"] == []


def test_a_training_dag_runs_the_steps_one_after_the_other(described):
    dag = described["dags"]["flights__training"]
    assert dag["tasks"] == STEPS
    assert dag["downstream"] == {a: [b] for a, b in pairwise(STEPS)} | {"promote": []}


def test_each_task_is_one_command_of_ours(described):
    commands = described["dags"]["flights__training"]["commands"]
    assert commands == {step: f"aforo {step} flights" for step in STEPS}


def test_where_the_gate_may_ask_the_run_waits_for_a_person_before_it_promotes(described):
    dag = described["dags"]["asking__training"]
    assert dag["commands"]["question"] == "aforo question asking"
    assert dag["commands"]["approve"] is None
    assert dag["downstream"]["evaluate"] == ["promote", "question"]
    assert (dag["downstream"]["question"], dag["downstream"]["approve"]) == (["approve"], ["promote"])
    # Nobody was asked: the last two before it are skipped. Nothing was judged: all three are.
    assert dag["trigger_rules"]["promote"] == "none_failed_min_one_success"
    assert {dag["trigger_rules"][step] for step in dag["tasks"] if step != "promote"} == {"all_success"}


def test_the_header_sets_schedule_and_retries(described):
    dag = described["dags"]["flights__training"]
    assert dag["retries"] == [3] * len(STEPS)
    assert "daily" in dag["schedule"]


def test_the_form_offers_seed_snapshot_sample_and_promotion(described):
    assert described["dags"]["flights__training"]["params"] == ["again", "limit", "promote", "seed", "snapshot"]


def test_the_form_says_what_may_be_filled_in(described):
    form = described["dags"]["flights__training"]["form"]
    assert {name: field["type"] for name, field in form.items()} == {
        "seed": ["null", "integer"],
        "snapshot": ["null", "string"],
        "limit": ["null", "integer"],
        "promote": "boolean",
        "again": "boolean",
    }
    assert form["snapshot"]["pattern"] == "^[0-9a-f]{64}$"
    assert all(field["description"] for field in form.values())


def test_the_dag_file_stays_a_declaration():
    assert len((DAGS / "training.py").read_text(encoding="utf-8").splitlines()) < 60


def test_the_parity_dag_is_one_command_with_the_values_of_its_form(described):
    dag = described["dags"]["flights__parity"]
    arguments = "--version {{ params.version }} --rows {{ params.rows }}"
    assert dag["commands"] == {"parity": f"aforo parity flights {arguments}"}
    # What goes into a command line is bound by the form: a name or a number, and nothing a shell would act on.
    assert dag["form"]["version"]["pattern"] == "^[a-z0-9_]{1,64}$"
    assert dag["form"]["rows"]["type"] == "integer"
    assert dag["retries"] == [3]


def test_a_broken_use_case_gets_a_dag_that_says_so(described):
    assert described["dags"]["broken__broken"]["commands"] == {"check": "aforo check broken"}


def test_every_shipped_use_case_has_a_training_dag(tmp_path):
    shipped = ROOT / "services" / "use_cases"
    names = {path.parent.name for path in shipped.glob("*/use_case.yaml")}
    dags = describe(tmp_path, shipped)["dags"]
    assert names
    assert {f"{name}__training" for name in names} <= set(dags)
    assert not [dag_id for dag_id in dags if dag_id.endswith("__broken")]
