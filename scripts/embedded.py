"""The platform without Docker: Airflow and MLflow on SQLite, everything else in one folder.

``make demo`` trains if something changed since the champion, then serves one prediction and ends.
``make airflow`` and ``make mlflow`` open the two user interfaces on that folder until Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
NOTHING_CHANGED = 99
API_START_TIMEOUT_S = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["demo", "airflow", "mlflow"])
    parser.add_argument("--airflow", type=Path, default=ROOT / ".venv-airflow" / "bin" / "airflow")
    parser.add_argument("--use-case", default="flight_delay")
    options = parser.parse_args()
    home = Path(os.environ.get("AFORO_HOME", ROOT / ".aforo")).absolute()
    # SIGTERM ends everything as Ctrl-C does, so that nothing is left running either way.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        match options.what:
            case "demo":
                return demonstrate(options.airflow.absolute(), options.use_case, home)
            case "airflow":
                return stay([options.airflow.absolute(), "standalone"], embedded_environment(home))
            case _:
                return stay(mlflow_command(home), {**os.environ})
    except KeyboardInterrupt:
        say("interrupted; nothing is left running, and the same command goes on from here")
        return 130
    finally:
        end_descendants()


def demonstrate(airflow: Path, use_case: str, home: Path) -> int:
    """Train if it is due, serve, and ask. Returns the exit code."""
    aforo = beside_python("aforo")
    environment = embedded_environment(home)

    say(f"has anything changed since the champion of {use_case}?")
    due = subprocess.run([aforo, "due", use_case], env=environment, check=False).returncode
    if due not in (0, NOTHING_CHANGED):
        return due
    if due == NOTHING_CHANGED:
        say("nothing changed: not training again")
    else:
        say(f"running the Airflow DAG {use_case}__training")
        for command in (["db", "migrate"], ["dags", "test", f"{use_case}__training"]):
            quiet = subprocess.DEVNULL if command[0] == "db" else None
            done = subprocess.run([airflow, *command], env=environment, check=False, stdout=quiet, stderr=quiet)
            if done.returncode:
                say(f"`airflow {' '.join(command)}` failed with exit code {done.returncode}; see the lines above")
                return done.returncode
    return serve_and_ask(aforo, environment, use_case, home)


def serve_and_ask(aforo: Path, environment: dict[str, str], use_case: str, home: Path) -> int:
    """Start the prediction API, send it one row, and print what came back."""
    port = free_port()
    say("starting the prediction API")
    with subprocess.Popen([aforo, "serve", "--port", str(port)], env=environment) as server:
        try:
            if not is_ready(server, f"http://127.0.0.1:{port}/health/ready"):
                say(f"the prediction API was not ready within {API_START_TIMEOUT_S} s")
                return 1
            show_one_prediction(f"http://127.0.0.1:{port}/models/{use_case}")
        finally:
            server.terminate()
    subprocess.run([aforo, "describe", use_case], env=environment, check=True)
    show_where_to_look(home, use_case)
    return 0


def show_one_prediction(address: str) -> None:
    """Send the contract's own example, and print question and answer."""
    inputs = ask(address)["champion"]["contract"]["inputs"]
    row = {column["name"]: column["example"] for column in inputs}
    say(f"POST {address}/predict")
    print(json.dumps({"rows": [row]}, indent=2))
    print(json.dumps(ask(f"{address}/predict", {"rows": [row]}), indent=2), flush=True)


def embedded_environment(home: Path) -> dict[str, str]:
    """Airflow on SQLite in ``home``, with secrets of its own; telemetry and examples off."""
    airflow_home = home / "airflow"
    airflow_home.mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        "AFORO_HOME": str(home),
        "AFORO_COMMAND": str(beside_python("aforo")),
        "AIRFLOW_HOME": str(airflow_home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "airflow" / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(32),
        "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "GIT_PYTHON_REFRESH": "quiet",
    }


def mlflow_command(home: Path) -> list[str | Path]:
    """MLflow's server over the embedded folder, reachable from this machine alone."""
    return [
        beside_python("mlflow"),
        "server",
        "--backend-store-uri",
        f"sqlite:///{home}/mlflow.db",
        "--host",
        "127.0.0.1",
        "--port",
        "5000",
        "--workers",
        "1",
    ]


def stay(command: list[str | Path], environment: dict[str, str]) -> int:
    """Run a server until it ends or is interrupted."""
    return subprocess.run(command, env=environment, check=False).returncode


def beside_python(command: str) -> Path:
    """The command of that name in this interpreter's environment."""
    return Path(sys.executable).with_name(command)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_ready(server: subprocess.Popen[bytes], url: str) -> bool:
    give_up = time.monotonic() + API_START_TIMEOUT_S
    while time.monotonic() < give_up and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    return False


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def show_where_to_look(home: Path, use_case: str) -> None:
    print(
        f"""
Where to look next
  make mlflow                     runs, plots and versions in MLflow: http://127.0.0.1:5000
  make serve                      the prediction API: http://127.0.0.1:8000/docs
  make airflow                    the DAG {use_case}__training in Airflow: http://127.0.0.1:8080
  .venv/bin/aforo --help          every step by hand
  {home}   snapshots, runs, models, ledger"""
    )


def say(sentence: str) -> None:
    print(f"demo: {sentence}", file=sys.stderr, flush=True)


def end_descendants() -> None:
    """Ask everything this process started to end, and insist after ten seconds.

    Airflow starts its tasks in sessions of their own, which a signal to our process group would miss.
    """
    descendants = psutil.Process().children(recursive=True)
    for process in descendants:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(descendants, timeout=10)
    for process in alive:
        _signal(process, signal.SIGKILL)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return  # it ended by itself in the meantime


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
