"""The platform on Docker Compose, driven as an operator does, and through the published ports."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
ONE_SHOTS = {"volumes-init", "postgres-init", "minio-init", "mlflow-init", "airflow-init"}
PORTS = {"API": 18443, "AIRFLOW": 18444, "MLFLOW": 18445, "STORE_CONSOLE": 18446, "STORE": 18447}
FINISHED = ("success", "failed")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""What the images are told they were built from; the copy they are built from is no checkout."""
Memory = dict[str, tuple[float, ...]]
figures: dict[str, str] = {}
"""What was measured on the way; printed at the end."""


@dataclass
class Platform:
    """One project on Docker Compose, driven as an operator does, and through the published ports."""

    folder: Path
    project: str = "aforo-test"
    _tokens: dict[tuple[str, ...], str] = field(default_factory=dict)

    def set(self, name: str, value: str) -> None:
        """Change a line of .env, as an operator does."""
        path = self.folder / ".env"
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.partition("=")[0] != name]
        path.write_text("\n".join([*lines, f"{name}={value}"]) + "\n", encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        ours = {
            name: value for name, value in os.environ.items() if not name.startswith(("AFORO_", "COMPOSE_", "MLFLOW_"))
        }
        return ours | {"COMPOSE_PROJECT_NAME": self.project, "PYTHONPATH": str(self.folder / "deploy")}

    def run(
        self, *command: str, check: bool = True, timeout: float = 1800, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, text=True, capture_output=True, check=False,
            timeout=timeout, input=stdin,
        )  # fmt: skip
        if check and done.returncode:
            pytest.fail(
                f"{' '.join(command)} ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
            )
        return done

    def compose(self, *arguments: str, check: bool = True) -> str:
        return self.run("docker", "compose", *arguments, check=check).stdout

    def operate(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "operating", *arguments, check=check)

    def up(self, *arguments: str) -> float:
        """Start everything and return the seconds until all of it is healthy."""
        start = time.monotonic()
        done = self.run("docker", "compose", "up", "--detach", "--wait", *arguments, check=False)
        if done.returncode:
            pytest.fail(f"{done.stderr[-3000:]}\n{self.troubles()}")
        return time.monotonic() - start

    def remove(self) -> None:
        """Remove it with all its data; nothing is lost that would have to be written down in time."""
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "1")

    def containers(self) -> dict[str, dict[str, Any]]:
        lines = self.compose("ps", "--all", "--format", "json").splitlines()
        return {item["Service"]: item for item in map(json.loads, filter(str.strip, lines))}

    def troubles(self) -> str:
        """Return the state and the end of the log of each service that is not as it should be."""
        parts = []
        for service, item in self.containers().items():
            if (item["State"], item["Health"]) == ("running", "healthy"):
                continue
            if service in ONE_SHOTS and (item["State"], item["ExitCode"]) == ("exited", 0):
                continue
            log = self.compose("logs", "--no-log-prefix", "--tail", "40", service, check=False)
            parts.append(f"--- {service}: {item['Status']}\n{log[-8000:]}")
        return "\n".join(parts) or "every service is healthy"

    def inspect(self, service: str) -> dict[str, Any]:
        return json.loads(self.run("docker", "inspect", self.containers()[service]["ID"]).stdout)[0]

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text(encoding="utf-8").strip()

    def url(self, service: str) -> str:
        return f"https://localhost:{PORTS[service]}"

    def client(self, service: str, **options: Any) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.folder / "secrets" / "tls_authority"))
        return httpx.Client(base_url=self.url(service), verify=context, timeout=60, **options)

    @contextmanager
    def airflow(self, user: str = "admin") -> Iterator[httpx.Client]:
        """Give a client that is logged in to Airflow's REST API."""
        account = {"username": user, "password": self.secret(f"airflow_{user}_password")}
        login = (*account.values(), self.secret("airflow_jwt_secret"))
        with self.client("AIRFLOW") as client:
            if login not in self._tokens:
                answer = client.post("/auth/token", json=account)
                answer.raise_for_status()
                self._tokens[login] = answer.json()["access_token"]
            client.headers["Authorization"] = f"Bearer {self._tokens[login]}"
            yield client

    def mlflow(self, user: str = "data-scientist") -> httpx.Client:
        return self.client("MLFLOW", auth=(user, self.secret(f"mlflow_{user.replace('-', '_')}_password")))

    def api(self) -> httpx.Client:
        return self.client("API", headers={"Authorization": f"Bearer {self.secret('prediction_api_key')}"})

    def trigger(self, use_case: str, **parameters: Any) -> str:
        """Start a training as the ML engineer does in the UI, and return its run id."""
        with self.airflow() as airflow:
            address = f"/api/v2/dags/{use_case}__training"
            wait_for(lambda: airflow.get(address).status_code == 200, 90, f"{address} to be there")
            answer = airflow.post(f"{address}/dagRuns", json={"logical_date": None, "conf": parameters})
            assert answer.status_code == 200, answer.text
            return str(answer.json()["dag_run_id"])

    def state_of(self, use_case: str, run: str) -> str:
        with self.airflow() as airflow:
            return str(airflow.get(f"/api/v2/dags/{use_case}__training/dagRuns/{run}").json()["state"])

    def tasks_of(self, use_case: str, run: str) -> dict[str, dict[str, Any]]:
        with self.airflow() as airflow:
            answer = airflow.get(f"/api/v2/dags/{use_case}__training/dagRuns/{run}/taskInstances").json()
            return {item["task_id"]: item for item in answer["task_instances"]}

    def log_of(self, use_case: str, run: str, task: str) -> str:
        with self.airflow() as airflow:
            address = f"/api/v2/dags/{use_case}__training/dagRuns/{run}/taskInstances/{task}/logs"
            tries = self.tasks_of(use_case, run)[task]["try_number"]
            content = airflow.get(f"{address}/{tries}").json()["content"]
            return "\n".join(str(line.get("event", line)) if isinstance(line, dict) else str(line) for line in content)

    def finish(self, use_case: str, run: str, timeout_s: float = 900) -> None:
        """Wait until the run ends, and fail with the log of what failed unless it ended well."""
        wait_for(lambda: self.state_of(use_case, run) in FINISHED, timeout_s, f"{use_case} {run} to end")
        tasks = self.tasks_of(use_case, run)
        failed = [name for name, task in tasks.items() if task["state"] not in ("success", "skipped")]
        if failed:
            logs = "\n".join(
                f"--- {n}\n{self.log_of(use_case, run, n)[-4000:]}" for n in failed if tasks[n]["try_number"]
            )
            pytest.fail(f"{use_case} {run}: {', '.join(failed)} did not succeed\n{logs}")

    def train(self, use_case: str, **parameters: Any) -> str:
        run = self.trigger(use_case, **parameters)
        self.finish(use_case, run)
        return run

    def train_again(self, use_case: str) -> None:
        """Train although nothing changed, and fail unless every step was done: the whole platform works."""
        run = self.train(use_case, again=True, promote=False)
        states = {name: task["state"] for name, task in self.tasks_of(use_case, run).items()}
        assert set(states.values()) == {"success"}, states


def wait_for(holds: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Wait until ``holds()``; a connection that fails meanwhile counts as not yet."""
    end = time.monotonic() + timeout_s
    while True:
        with suppress(httpx.HTTPError, OSError, ValueError, KeyError):
            if holds():
                return
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout_s:.0f} s in vain for {what}")
        time.sleep(0.5)


def copy_of_the_working_tree(folder: Path) -> Path:
    """Copy what git would clone, so that nothing else on this machine can help."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def memory_of(platform: Platform) -> Memory:
    """Return each running service's memory and its limit, in MiB."""
    names = {item["ID"][:12]: service for service, item in platform.containers().items() if item["State"] == "running"}
    answer = platform.run("docker", "stats", "--no-stream", "--format", "json", *names).stdout
    lines = map(json.loads, answer.splitlines())
    return {names[line["ID"][:12]]: tuple(map(mebibytes, line["MemUsage"].split(" / "))) for line in lines}


def mebibytes(text: str) -> float:
    """Read a size as Docker writes it, such as ``2.75GiB``."""
    number, unit = re.fullmatch(r"([\d.]+)([KMG]?i?B)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"B": 2**-20, "KiB": 2**-10, "MiB": 1, "GiB": 2**10}[unit]


def in_words(memory: Memory) -> str:
    """Write memory and its share of the limit, as deploy/README.md does."""
    together = {"together": tuple(map(sum, zip(*memory.values(), strict=True)))}
    shares = (memory | together).items()
    return ", ".join(f"{name} {used:,.0f} ({used / limit:.0%})" for name, (used, limit) in shares)
