"""The object store stops for ten minutes under load: does a request fail or slow down, and is the log complete after?

::

    python benchmarks/serving/outage.py --home .aforo --minutes 10    # after `make demo`; two minutes more than that

The store is SeaweedFS as a process of its own, ended with SIGKILL and started again on its folder. One client sends
requests of one row at a fixed rate, each with an id of its own, from a minute before the outage to a minute after. In
the end the log in the store is read: every id that was answered has to be in it once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import numpy as np
from load_client import ask

from aforo.monitoring.prediction_log import PredictionLog
from aforo.settings import Settings
from aforo.storage import open_store

KEYS = {"AFORO_S3_ACCESS_KEY": "outage", "AFORO_S3_SECRET_KEY": "of-the-benchmark-alone"}
AROUND_S = 60.0
_PROGRAM = """
import sys
from pathlib import Path
from aforo.monitoring.spool import SpoolOptions
from prediction_api.options import ServeOptions
from prediction_api.server import serve
port, source, home = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
serve(ServeOptions(
    port=port, mirror=source / "mirror", signing_key_file=source / "signing.key", follow_registry=False,
    log=SpoolOptions(folder=home / "spool", rotate_s=5),
))
"""


class Phase(NamedTuple):
    """What was seen before, during or after the outage."""

    requests: int
    failed: int
    p50_ms: float
    p99_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".aforo"), help="home of the embedded default")
    parser.add_argument("--model", default="flight_delay")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the outage")
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory(prefix="aforo-outage-", ignore_cleanup_errors=True) as folder:
        print(json.dumps(outage(arguments, Path(folder)), indent=1))


def outage(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    store = Store(folder / "store")
    environment = {**KEYS, "AFORO_STORE_URL": "s3://", "AFORO_S3_ENDPOINT_URL": store.endpoint}
    environment |= {"AFORO_S3_BUCKET_PREFIX": "outage-", "AFORO_HOME": str(folder)}
    with contextlib.ExitStack() as stack:
        store.start()
        stack.callback(store.kill)
        store.make_bucket("outage-predictions")
        with serving(arguments.home.absolute(), folder, environment) as (port, process):
            client = Client(port, arguments)
            before = client.send(AROUND_S)
            store.kill()
            during = client.send(arguments.minutes * 60)
            waiting = sum(path.stat().st_size for path in (folder / "spool").glob("*.segment"))
            store.start()
            after = client.send(AROUND_S)
            process.terminate()
            process.wait(timeout=120)
        log = PredictionLog(open_store(Settings.from_environment(environment)))
        seen = Counter(name for table in log.tables(arguments.model) for name in table["request_id"].to_list())
    return {
        "before": before._asdict(),
        "during": during._asdict(),
        "after": after._asdict(),
        "spool_mb_at_the_end_of_the_outage": round(waiting / 2**20, 1),
        "answered": len(client.answered),
        "missing": len(client.answered - seen.keys()),
        "doubled": sum(count > 1 for count in seen.values()),
        "left_in_the_spool": len(list((folder / "spool").glob("*.segment"))),
    }


class Store:
    """SeaweedFS on a folder, with the same ports at each start."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "log").touch()
        parts = ("master", "volume", "filer", "s3")
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(2 * len(parts))]
            for free in sockets:
                free.bind(("127.0.0.1", 0))
            ports = [free.getsockname()[1] for free in sockets]
        credentials = {"accessKey": KEYS["AFORO_S3_ACCESS_KEY"], "secretKey": KEYS["AFORO_S3_SECRET_KEY"]}
        identity = {"name": "benchmark", "credentials": [credentials], "actions": ["Admin", "Read", "Write", "List"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self._log = folder / "log"
        self._command = [str(Path(sys.executable).parent / "weed"), "server", "-filer", "-s3", f"-dir={folder}"]
        self._command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={folder / 's3.json'}"]
        self._command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
        self._command += ["-master.volumeSizeLimitMB=64", "-volume.max=200"]
        self._command += [f"-{part}.port={port}" for part, port in zip(parts, ports[:4], strict=True)]
        self._command += [f"-{part}.port.grpc={port}" for part, port in zip(parts, ports[4:], strict=True)]
        self.endpoint = f"http://127.0.0.1:{ports[3]}"
        self._port = ports[3]

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        _wait_for(self._port, b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", self._process)

    def kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def make_bucket(self, name: str) -> None:
        boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEYS["AFORO_S3_ACCESS_KEY"],
            aws_secret_access_key=KEYS["AFORO_S3_SECRET_KEY"],
            region_name="us-east-1",
        ).create_bucket(Bucket=name)


@contextlib.contextmanager
def serving(source: Path, home: Path, environment: dict[str, str]) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["taskset", "-c", "0", sys.executable, "-c", _PROGRAM, str(port), str(source), str(home)]
    process = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, start_new_session=True, env={**os.environ, **environment}
    )
    try:
        _wait_for(port, b"GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", process)
        yield port, process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Client:
    """Sends a request at its time, or at once if that is past."""

    def __init__(self, port: int, arguments: argparse.Namespace) -> None:
        copy = arguments.home / "mirror" / arguments.model
        version = json.loads((copy / "aliases.json").read_text())["champion"]
        row = json.loads((copy / version / "golden.json").read_text())["rows"][0]
        body = json.dumps({"rows": [row]})
        self._request = (
            f"POST /models/{arguments.model}/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"X-Request-ID: %s\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._body = body
        self._pause_s = 1 / arguments.rate
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sent = 0
        self.answered: set[str] = set()

    def send(self, seconds: float) -> Phase:
        latencies, failed = [], 0
        at, end = time.perf_counter(), time.perf_counter() + seconds
        while at < end:
            time.sleep(max(0.0, at - time.perf_counter()))
            self._sent += 1
            name = f"outage-{self._sent}"
            started = time.perf_counter()
            self._socket.sendall((self._request % name + self._body).encode())
            answer = self._socket.recv(1 << 16)
            latencies.append(time.perf_counter() - started)
            if answer.startswith(b"HTTP/1.1 200 ") and name.encode() in answer:
                self.answered.add(name)
            else:
                failed += 1
            at += self._pause_s
        p50, p99 = np.percentile(latencies, [50, 99]) * 1e3
        return Phase(len(latencies), failed, round(float(p50), 3), round(float(p99), 3))


def _wait_for(port: int, request: bytes, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            if b" 200 " in ask(port, request)[0]:
                return
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{process.args!r} does not answer")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
