"""The same registry against a real MLflow server, artifacts proxied, as in the platform."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pandas as pd
import pytest

from aforo.registry.bundle import read_bundle
from aforo.registry.ledger import Ledger
from aforo.registry.mirror import Mirror
from aforo.registry.promotion import promote
from aforo.registry.tracking import Tracker
from aforo.registry.versions import Versions
from aforo.settings import Settings

if TYPE_CHECKING:
    from conftest import World

KEY = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def server(empty_mlflow: Path, tmp_path: Path) -> Iterator[str]:
    shutil.copy(empty_mlflow, tmp_path / "server.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--serve-artifacts"),
        *("--artifacts-destination", (tmp_path / "artifacts").as_uri()),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, cwd=tmp_path, start_new_session=True
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, tmp_path / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"the MLflow server did not start:\n{log.read_text()[-3000:]}")


@pytest.mark.usefixtures("signing_key_in_place")
def test_from_a_run_to_the_served_champion_over_a_server(world: World, server: str, tmp_path: Path):
    settings: Settings = replace(world.settings, mlflow_tracking_uri=server)
    served = replace(
        world,
        settings=settings,
        tracker=Tracker(settings),
        versions=Versions(settings),
        ledger=Ledger(settings.ledger_url),
    )

    version = served.register("monday", weight=0.1)
    again = served.register("monday", weight=0.1)
    run = served.tracker.run("flight_delay", "monday", {})
    run.log_file("plots/reliability.png", b"\x89PNG")
    promoted = promote(served.ledger, served.versions, version, actor="airflow", reason="accepted")
    mirror = Mirror(tmp_path / "mirror", key=KEY)
    refused = mirror.sync(served.versions)

    assert again == version
    assert version.url == f"{server}/#/models/flight_delay/versions/1"
    assert run.url == f"{server}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
    assert urllib.request.urlopen(f"{server}/").status == 200
    assert promoted.changed
    assert refused == []
    assert mirror.aliases("flight_delay") == {"champion": "1", "challenger": "1"}
    assert read_bundle(mirror.folder / "flight_delay" / "1", KEY).signed
    model = mlflow.pyfunc.load_model("models:/flight_delay@champion")
    answers = model.predict(pd.DataFrame({"distance": [0.0], "carrier": ["UA"]}))
    assert answers["probability_yes"].item() == pytest.approx(0.7685248)  # sigmoid(0.1 * 12)
    assert not (tmp_path / "home" / "mlartifacts").exists()
