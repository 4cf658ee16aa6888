"""The archive of ``make images`` is all that a machine without the internet needs.

That machine is a second Docker engine with an empty store, in a network of its own that leads nowhere.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from stack_platform import Platform, figures, wait_for

pytestmark = [
    pytest.mark.offline,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(os.geteuid() != 0, reason="a second Docker engine needs root"),
]

PROGRAM = """
import json, ssl, sys, time, urllib.error, urllib.request
host = "https://localhost:"
context = ssl.create_default_context(cafile="secrets/tls_authority")
def ask(port, path, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{host}{port}{path}", data=data, headers=headers)
    request.add_header("Content-Type", "application/json")
    return json.load(urllib.request.urlopen(request, timeout=30, context=context))
password = open("secrets/airflow_admin_password").read().strip()
token = ask(8444, "/auth/token", {"username": "admin", "password": password})["access_token"]
as_admin = {"Authorization": f"Bearer {token}"}
runs = "/api/v2/dags/breast_cancer__training/dagRuns"
run = ask(8444, runs, {"logical_date": None}, **as_admin)["dag_run_id"]
while (state := ask(8444, f"{runs}/{run}", **as_admin)["state"]) not in ("success", "failed"):
    time.sleep(2)
as_caller = {"Authorization": "Bearer " + open("secrets/prediction_api_key").read().strip()}
for _ in range(60):
    if any("champion" in model["live"] for model in ask(8443, "/models", **as_caller)["models"]):
        break
    time.sleep(1)
page = ask(8443, "/openapi.json", **as_caller)["paths"]["/models/breast_cancer/predict"]["post"]
example = next(iter(page["requestBody"]["content"]["application/json"]["examples"].values()))["value"]
print(state, ask(8443, "/models/breast_cancer/predict", example, **as_caller)["model"])
"""


@dataclass
class Machine:
    """An engine of its own in a network of its own."""

    folder: Path
    pid: int

    def run(self, *command: str) -> str:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("AFORO_", "COMPOSE_"))}
        done = subprocess.run(
            ["nsenter", "--net", f"--target={self.pid}", *command],
            env=ours | {"DOCKER_HOST": f"unix://{self.folder}/socket"},
            cwd=self.folder / "aforo" if (self.folder / "aforo").exists() else self.folder,
            text=True, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout


@pytest.fixture
def machine() -> Iterator[Machine]:
    # Not pytest's folder: the path of a socket is at most 107 signs long.
    folder = Path(tempfile.mkdtemp(prefix="aforo-offline-", dir="/var/tmp"))
    command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", "dockerd"]
    command += [f"--{name}={folder}/{name}" for name in ("data-root", "exec-root", "pidfile")]
    command += [f"--host=unix://{folder}/socket"]
    if proxy := shutil.which("docker-proxy"):
        command += [f"--userland-proxy-path={proxy}"]
    with (folder / "log").open("wb") as log:
        engine = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(lambda: (folder / "socket").exists(), 60, "the second engine to start")
        there = Machine(folder, engine.pid)
        assert there.run("docker", "images", "--quiet") == ""
        yield there
    finally:
        engine.send_signal(signal.SIGTERM)
        engine.wait(60)
        shutil.rmtree(folder)


def test_the_platform_starts_and_trains_from_the_archive_alone(platform: Platform, machine: Machine) -> None:
    archive = machine.folder / "aforo-images.tar"
    begin = time.monotonic()
    platform.operate("images", "--to", str(archive))
    figures["archive of all images"] = f"{archive.stat().st_size / 1e9:.1f} GB in {time.monotonic() - begin:.0f} s"

    begin = time.monotonic()
    machine.run("docker", "load", "--input", str(archive))
    machine.run("tar", "--extract", "--file", str(archive), "aforo")
    archive.unlink()
    machine.run("make", "secrets")
    store = platform.inspect("minio")["Config"]["Image"]
    if "seaweedfs" in store:
        machine.run("sed", "--in-place", "s/^AFORO_STORE=.*/AFORO_STORE=seaweedfs/", ".env")
    machine.run("docker", "compose", "up", "--detach", "--wait")
    figures["from archive to all healthy, s"] = f"{time.monotonic() - begin:.0f}"
    try:
        assert machine.run("python3", "-c", PROGRAM).split() == ["success", "breast_cancer"]
    finally:
        machine.run("docker", "compose", "down", "--volumes")
