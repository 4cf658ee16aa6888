"""``make airflow`` and ``make mlflow``: the two user interfaces, on this machine alone, until Ctrl-C."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from embedded.folder import Embedded, beside_python
from embedded.processes import CannotStart, refuse_busy_port, say, started

PASSWORDS = "simple_auth_manager_passwords.json.generated"
START_TIMEOUT_S = 300


def open_airflow(embedded: Embedded, port: int) -> int:
    """Run Airflow with its scheduler, which takes up what is triggered in the user interface."""
    refuse_busy_port(port, "airflow")
    home = embedded.home / "airflow"
    url = f"http://127.0.0.1:{port}"
    environment = embedded.environment(
        # It starts its parts by name.
        PATH=f"{embedded.airflow.parent}{os.pathsep}{os.environ['PATH']}",
        AIRFLOW__API__HOST="127.0.0.1",
        AIRFLOW__API__PORT=str(port),
        AIRFLOW__API__BASE_URL=url,
        AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"{url}/execution/",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE=str(home / PASSWORDS),
        AIRFLOW__API__WORKERS="1",
        AIRFLOW__CORE__PARALLELISM="2",
    )
    with embedded.airflow_to_ourselves() as held, (home / "airflow.log").open("wb") as log:
        command = [embedded.airflow, "standalone"]
        say(f"starting Airflow, which takes half a minute; its log is {log.name}")
        with started(command, environment, keep=[held], stdout=log, stderr=subprocess.STDOUT) as server:
            wait_until_open(server, f"{url}/api/v2/monitor/health", Path(log.name))
            say(f"{url}  user admin, password {password_of_admin(home / PASSWORDS)}  (Ctrl-C ends it)")
            return until_it_ends(server, Path(log.name))


def open_mlflow(embedded: Embedded, port: int) -> int:
    """Run MLflow's server on the same database that the steps write to."""
    refuse_busy_port(port, "mlflow")
    url = f"http://127.0.0.1:{port}"
    command = [beside_python("mlflow"), "server", "--backend-store-uri", f"sqlite:///{embedded.home}/mlflow.db"]
    command += ["--artifacts-destination", str(embedded.home / "mlartifacts"), "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    # Its job runner is for features that need a language model, and takes a gigabyte.
    environment = embedded.environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", MLFLOW_DISABLE_TELEMETRY="true")
    with (
        (embedded.home / "mlflow.log").open("wb") as log,
        started(command, environment, stdout=log, stderr=subprocess.STDOUT) as server,
    ):
        wait_until_open(server, f"{url}/health", Path(log.name))
        say(f"{url}  (Ctrl-C ends it)")
        return until_it_ends(server, Path(log.name))


def wait_until_open(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until ``url`` answers.

    Raises
    ------
    CannotStart
        The server has ended instead, or takes too long.
    """
    give_up = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.3)
    raise CannotStart(f"{url} does not answer; what the server said last is in {log}")


def until_it_ends(server: subprocess.Popen[bytes], log: Path) -> int:
    """Wait for an end that only a fault brings: a person's Ctrl-C ends us, and not the server alone."""
    code = server.wait()
    say(f"it has ended by itself, with exit code {code}; what it said last is in {log}")
    return code or 1


def password_of_admin(path: Path) -> str:
    """The password that Airflow chose for this folder."""
    return str(json.loads(path.read_text(encoding="utf-8"))["admin"])
