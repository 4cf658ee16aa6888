"""The gate asks, the run waits, and a person answers through Airflow's API as the *Required Actions* page does."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from conftest import AirflowHome

DAG = "breast_cancer__training"


@pytest.fixture(scope="module")
def airflow(new_airflow: Callable[..., AirflowHome]) -> AirflowHome:
    """Airflow with a use case whose test rows are too few for its gate, which leaves that to a person."""
    return new_airflow(gate={"enough_test_rows": {"rows": 100_000}, "ask": ["enough_test_rows"]})


@pytest.fixture(scope="module")
def api(airflow: AirflowHome) -> Iterator[httpx.Client]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with airflow.started("api-server", "--port", str(port)), httpx.Client(base_url=f"http://127.0.0.1:{port}") as api:
        until(lambda: api.get("/api/v2/version").status_code == 200)
        api.headers["Authorization"] = f"Bearer {api.get('/auth/token').json()['access_token']}"
        yield api


@pytest.mark.parametrize(("answer", "promoted"), [("Reject", False), ("Approve", True)])
def test_the_run_does_as_the_person_says(airflow: AirflowHome, api: httpx.Client, answer: str, promoted: bool):
    with airflow.started("dags", "test", DAG, "--conf", json.dumps({"again": True})) as run:
        (asked,) = until(lambda: run.poll() is not None or waiting(api), seconds=180)
        one = asked["task_instance"]
        answered = api.patch(
            f"/api/v2/dags/{DAG}/dagRuns/{one['dag_run_id']}/taskInstances/approve/-1/hitlDetails",
            json={"chosen_options": [answer], "params_input": {"reason": "enough for a pilot"}},
        )
        assert answered.status_code == 200, answered.text
        run.wait(timeout=120)

    assert asked["subject"].startswith("breast_cancer: promote version ")
    assert "100,000" in asked["body"]
    assert "/#/models/breast_cancer/versions/" in asked["body"]
    assert airflow.states(one["dag_run_id"])["promote"] == ("success" if promoted else "skipped")
    rows = airflow.ledger()
    assert [row.reason for row in rows] == (["enough for a pilot"] if promoted else [])
    assert {row.actor for row in rows} <= {asked_of(api)}


def waiting(api: httpx.Client) -> list[dict[str, Any]]:
    """Return the questions that nobody has answered."""
    found = api.get(f"/api/v2/dags/{DAG}/dagRuns/~/hitlDetails", params={"response_received": False}).json()
    # The question is there before the task waits for its answer; nobody is as fast as to answer in between.
    return [one for one in found["hitl_details"] if one["task_instance"]["state"] == "awaiting_input"]


def asked_of(api: httpx.Client) -> str:
    """Return the name under which the one who answers is known."""
    answers = api.get(f"/api/v2/dags/{DAG}/dagRuns/~/hitlDetails", params={"response_received": True}).json()
    return str(answers["hitl_details"][-1]["responded_by_user"]["name"])


def until(ask: Any, seconds: float = 60) -> Any:
    """Return the first answer that is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(httpx.TransportError):  # not yet listening
            if found := ask():
                return found
        time.sleep(0.5)
    raise AssertionError("waited in vain")
