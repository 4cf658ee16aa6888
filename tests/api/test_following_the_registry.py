"""The whole way from MLflow's registry to an answer: download, promotion, an outage, a restart without the registry."""

from __future__ import annotations

import math

import pytest

from aforo.registry.registration import register_version
from aforo.registry.tracking import Tracker
from aforo.registry.versions import Versions
from aforo.settings import Settings


@pytest.fixture
def platform(registry, tmp_path):
    """A registry in MLflow, on a SQLite file, with a function that registers a version."""
    environment = {"AFORO_HOME": str(tmp_path / "home"), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    settings = Settings.from_environment(environment)
    versions, tracker = Versions(settings), Tracker(settings)

    def register(number: int, weight: float, **changes) -> str:
        staged = registry.add("flight_delay", str(900 + number), weight=weight, **changes)
        folder = staged.rename(tmp_path / f"staged-{number}").rename(tmp_path / "bundle")
        tags = {"snapshot_id": "a" * 64, "split_digest": "b" * 64, "code_commit": None, "lock_digest": "d" * 64}
        run = tracker.run("flight_delay", f"run-{number}", tags)
        version = register_version(versions, folder, run=run, verdict="promote", description="A toy.")
        run.finish()
        folder.rename(tmp_path / f"registered-{number}")
        return str(version.version)

    return versions, register, environment


def answered_by(version, row):
    def condition(client):
        response = client.post("/models/flight_delay/predict", json={"rows": [row]})
        return response.status_code == 200 and response.json()["version"] == version

    return condition


def test_the_service_follows_the_registry_and_outlives_it(registry, platform, run_service, row, by_hand):
    versions, register, environment = platform
    first, second, third = register(1, 1.0), register(2, 2.0), register(3, 3.0)
    versions.set_alias("flight_delay", "champion", first)
    versions.set_alias("flight_delay", "challenger", second)  # no alias names the third: it comes when it is asked for
    follow = {"follow_registry": True, "poll_s": 0.2, "environment": environment}

    with run_service(registry, **follow) as service:
        service.wait_until(answered_by(first, row), timeout_s=60)
        versions.set_alias("flight_delay", "champion", second)
        service.wait_until(answered_by(second, row), timeout_s=30)
        with service.client() as client:
            path = f"/models/flight_delay/versions/{third}/predict"
            assert client.post(path, json={"rows": [row]}).status_code == 404
        service.wait_until(lambda client: client.post(path, json={"rows": [row]}).is_success, timeout_s=30)
        with service.client() as client:
            fresh = client.get("/health/ready").json()["local_copy"]

    gone = {**environment, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with run_service(registry, **follow | {"environment": gone}) as service, service.client() as client:
        answer = client.post("/models/flight_delay/predict", json={"rows": [row]}).json()
        service.wait_until(lambda client: client.get("/health/ready").json()["local_copy"]["error"], timeout_s=60)
        stale = client.get("/health/ready").json()
        listed = client.get("/models").json()["local_copy"]

    assert fresh["error"] is None
    assert fresh["age_s"] < 30
    assert answer["version"] == second
    assert math.isclose(answer["predictions"][0]["probabilities"]["yes"], by_hand(row, 2.0), rel_tol=1e-12)
    assert stale["ready"]
    assert stale["local_copy"]["synced_at"] == pytest.approx(fresh["synced_at"], abs=30)
    assert "does not answer" in stale["local_copy"]["error"]
    assert listed["error"] == stale["local_copy"]["error"]


def test_a_bundle_signed_by_another_is_refused_on_arrival_and_the_champion_goes_on(
    registry, platform, run_service, row
):
    versions, register, environment = platform
    good = register(1, 1.0)
    versions.set_alias("flight_delay", "champion", good)

    with run_service(registry, follow_registry=True, poll_s=0.2, environment=environment) as service:
        service.wait_until(answered_by(good, row), timeout_s=60)
        forged = register(2, 2.0, key=b"another key of thirty-two bytes!")
        versions.set_alias("flight_delay", "champion", forged)
        service.wait_until(lambda client: client.get("/health/ready").json()["warnings"], timeout_s=30)
        with service.client() as client:
            ready = client.get("/health/ready")
            assert answered_by(good, row)(client)

    assert ready.status_code == 200
    assert "signature" in ready.json()["warnings"][0]
