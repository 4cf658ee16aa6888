from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pytest

from aforo.errors import AforoError, StoreUnavailable, UseCaseError
from aforo.registry.connection import page_of
from aforo.registry.tracking import Tracker
from aforo.registry.versions import Versions
from aforo.settings import Settings

if TYPE_CHECKING:
    from conftest import World


@pytest.fixture
def nobody_listens(settings: Settings) -> Iterator[Settings]:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield replace(settings, mlflow_tracking_uri=f"http://ana:hunter2@127.0.0.1:{closed.getsockname()[1]}")


def test_a_step_that_is_tried_again_goes_on_with_its_run(world: World):
    first = world.tracker.run("flight_delay", "monday", {"snapshot_id": "a" * 64, "code_commit": None})
    first.finish("FAILED")

    again = world.tracker.run("flight_delay", "monday", {"snapshot_id": "a" * 64, "lock_digest": "d" * 64})
    other = world.tracker.run("flight_delay", "tuesday", {})

    assert again.run_id == first.run_id != other.run_id
    info = mlflow.MlflowClient().get_run(first.run_id)
    assert info.info.status == "RUNNING"
    assert info.info.run_name == "monday"
    tags = {"use_case": "flight_delay", "run_key": "monday", "snapshot_id": "a" * 64, "lock_digest": "d" * 64}
    assert tags.items() <= again.tags().items()
    assert "code_commit" not in again.tags()


def test_candidates_are_nested_in_their_training_and_found_again(world: World):
    parent = world.tracker.run("flight_delay", "monday", {})

    trees = world.tracker.candidate(parent, "boosted_trees")
    linear = world.tracker.candidate(parent, "linear")

    assert world.tracker.candidate(parent, "boosted_trees").run_id == trees.run_id != linear.run_id
    assert trees.tags()["mlflow.parentRunId"] == parent.run_id
    assert world.tracker.run("flight_delay", "monday", {}).run_id == parent.run_id


def test_parameters_are_recorded_once_and_never_change(world: World):
    run = world.tracker.run("flight_delay", "monday", {})
    many = {f"weight_{number}": number for number in range(250)}
    run.log_params({"seed": 0, "depth": None, **many})

    run.log_params({"seed": 0, "rate": 0.1})
    with pytest.raises(UseCaseError, match=r"seed = '0' already, and now '1'[\s\S]*new run key"):
        run.log_params({"seed": 1})

    recorded = mlflow.MlflowClient().get_run(run.run_id).data.params
    assert len(recorded) == 253
    assert (recorded["seed"], recorded["depth"], recorded["rate"]) == ("0", "", "0.1")


def test_figures_pictures_and_the_dataset_are_where_a_data_scientist_looks(world: World):
    run = world.tracker.run("flight_delay", "monday", {"code_commit": "abc123"})

    run.log_metrics({"test.brier": 0.12, "test.r2": float("nan")})
    run.log_file("plots/reliability.png", b"\x89PNG")
    for _ in range(2):  # a step tried again
        run.log_dataset(
            name="flight_delay",
            snapshot_id="a" * 64,
            source="file:///store/snapshots/aaaa",
            schema={"hour": "long"},
            rows=336_776,
            context="training",
        )
    run.finish()

    client = mlflow.MlflowClient()
    logged = client.get_run(run.run_id)
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics == {"test.brier": 0.12}
    assert logged.data.tags["mlflow.source.git.commit"] == "abc123"
    assert [file.path for file in client.list_artifacts(run.run_id, "plots")] == ["plots/reliability.png"]
    [dataset] = logged.inputs.dataset_inputs
    assert dataset.dataset.digest == "a" * 36
    assert json.loads(dataset.dataset.profile) == {"num_rows": 336_776, "snapshot_id": "a" * 64}


def test_embedded_artifacts_lie_under_home_and_nowhere_else(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    run = world.tracker.run("flight_delay", "monday", {})
    run.log_file("report.json", b"{}")

    assert list(elsewhere.iterdir()) == []
    [stored] = (world.settings.home / "mlartifacts").rglob("report.json")
    assert stored.is_relative_to(world.settings.home / "mlartifacts" / "flight_delay")


def test_a_deleted_experiment_comes_back(world: World):
    run = world.tracker.run("flight_delay", "monday", {})
    mlflow.MlflowClient().delete_experiment(run.experiment_id)

    assert world.tracker.run("flight_delay", "tuesday", {}).experiment_id == run.experiment_id


def test_a_server_that_does_not_answer_may_be_tried_again_later(nobody_listens: Settings):
    started = time.monotonic()

    with pytest.raises(StoreUnavailable, match=r"MLflow at http://127\.0\.0\.1:\d+ does not answer") as caught:
        Tracker(nobody_listens).run("flight_delay", "monday", {})

    assert caught.value.exit_code == 75
    assert "hunter2" not in str(caught.value)
    assert time.monotonic() - started < 15
    with pytest.raises(StoreUnavailable):
        Versions(nobody_listens).aliases("flight_delay")


def test_what_mlflow_refuses_is_an_error_of_ours(world: World):
    with pytest.raises(AforoError, match="refuses the request: Run with id=nobody not found"):
        world.tracker.reopen("nobody")


def test_credentials_reach_mlflow_through_its_environment(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")

    Tracker(replace(world.settings, mlflow_username="ana", mlflow_password="s3cret"))

    from mlflow.utils.credentials import read_mlflow_creds

    credentials = read_mlflow_creds()
    assert (credentials.username, credentials.password) == ("ana", "s3cret")


def test_a_run_has_a_page_where_a_server_is_known(settings: Settings):
    served = replace(settings, mlflow_tracking_uri="http://mlflow:5000")

    assert page_of(settings, "experiments", "1") is None
    assert page_of(served, "experiments", "1", "runs", "ab") == "http://mlflow:5000/#/experiments/1/runs/ab"
    public = replace(served, mlflow_public_url="https://mlflow.example.org/")
    assert page_of(public, "models", "flight_delay") == "https://mlflow.example.org/#/models/flight_delay"
