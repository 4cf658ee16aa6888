"""A training DAG, then a batch prediction, run by the real Airflow on SQLite, with our commands as tasks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import AirflowHome

DAG = "breast_cancer__training"

STEPS = ["ingest", "validate", "split", "train", "calibrate", "evaluate", "promote"]


@pytest.fixture(scope="module")
def airflow(new_airflow: Callable[..., AirflowHome]) -> AirflowHome:
    return new_airflow()


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


def test_a_cleared_task_is_retried_alone_and_says_the_same(airflow: AirflowHome, run_id: str):
    before = {step: airflow.manifest(step) for step in STEPS}
    assert "cleared 1" in airflow.clear(run_id, "evaluate")
    assert airflow.states(run_id)["evaluate"] != "success"

    again = airflow("tasks", "test", DAG, "evaluate", run_id)

    assert again.returncode == 0, again.stdout
    assert "finished before" in again.stdout
    assert airflow.states(run_id) == dict.fromkeys(STEPS, "success")
    assert {step: airflow.manifest(step) for step in STEPS} == before


def test_the_batch_prediction_dag_predicts_a_file_with_what_its_form_says(airflow: AirflowHome, run_id: str):
    """After the training: it asks for the champion."""
    output = airflow.folder / "answers"
    form = {
        "input": str(airflow.folder / "use_cases" / "breast_cancer" / "data.csv"),
        "output": str(output),
        "keep": ["sample", "diagnosis"],
    }

    done = airflow("dags", "test", "breast_cancer__batch_prediction", "--conf", json.dumps(form))

    assert done.returncode == 0, done.stdout
    assert re.search(r"breast_cancer version 1 \(\d+\.\d s\)", done.stdout)
    manifest = json.loads((output / "manifest.json").read_text())
    assert (manifest["rows"], manifest["without_answer"]) == (569, 0)
    assert (manifest["job"]["asked"], manifest["job"]["keep"]) == ("champion", ["sample", "diagnosis"])


def test_a_form_without_an_input_is_refused_before_anything_runs(airflow: AirflowHome, tmp_path: Path):
    form = {"output": str(tmp_path / "out")}

    done = airflow("dags", "test", "breast_cancer__batch_prediction", "--conf", json.dumps(form))

    assert done.returncode != 0
    assert re.search(r"ParamValidationError.*input", done.stdout)
    assert not (tmp_path / "out").exists()
