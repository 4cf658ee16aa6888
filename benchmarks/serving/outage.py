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
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from own_service import own_service

from aforo.monitoring.prediction_log import PredictionLog
from aforo.settings import Settings
from aforo.storage import open_store

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
from local_s3 import SeaweedFS, make_bucket

KEYS = {"access_key": "outage", "secret_key": "of-the-benchmark-alone"}
AROUND_S = 60.0


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
    store = SeaweedFS(folder / "store", **KEYS)
    environment = {f"AFORO_S3_{name.upper()}": value for name, value in KEYS.items()}
    environment |= {"AFORO_STORE_URL": "s3://", "AFORO_S3_ENDPOINT_URL": store.endpoint}
    environment |= {"AFORO_S3_BUCKET_PREFIX": "outage-", "AFORO_HOME": str(folder)}
    spool = folder / "spool"
    with contextlib.ExitStack() as stack:
        stack.callback(store.kill)
        store.start()
        make_bucket(store.endpoint, "outage-predictions", **KEYS)
        with own_service(arguments.home, spool=spool, environment=environment) as service:
            client = Client(service.port, arguments)
            before = client.send(AROUND_S)
            store.kill()
            during = client.send(arguments.minutes * 60)
            waiting = sum(path.stat().st_size for path in spool.glob("*.segment"))
            store.start()
            after = client.send(AROUND_S)
            service.process.terminate()  # it ships what is left
            service.process.wait(timeout=120)
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
        "left_in_the_spool": len(list(spool.glob("*.segment"))),
    }


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


if __name__ == "__main__":
    main()
