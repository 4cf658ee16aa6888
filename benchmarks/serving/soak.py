"""Hours of mixed requests, good and bad, over several protocols and with versions coming and going: does memory stay?

::

    python benchmarks/serving/soak.py --home .aforo --minutes 60

The service is kept busy for a share of the time (``--busy 0.5`` is half load). Its memory is read every ten seconds;
the slope is that of a straight line through the readings after the first tenth of the time, in which allocators and
caches fill and all versions are loaded. ``anonymous`` is memory without the pages of files, which others may share.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from contenders import own
from load_client import Exchange, ask, drive, post
from server_process import Memory, Server, running
from subject import Subject
from swaps import VERSIONS, lay_out, point

READ_S = 10.0
BURST_S = 0.25
SWAP_S = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".aforo"))
    parser.add_argument("--model", default="flight_delay")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--busy", type=float, default=0.5, help="share of the time in which the service is kept busy")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--server-core", type=int, nargs="*", default=[0])
    parser.add_argument("--client-core", type=int, default=1)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.client_core})
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(soak(arguments, Path(folder)), indent=1))


def soak(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    subject = Subject(arguments.home, arguments.model, folder)
    copy, _ = lay_out(subject, arguments, folder / "home")
    pinned = ["taskset", "-c", ",".join(map(str, arguments.server_core))]
    contender = own(subject, pinned, arguments.workers, home=folder / "home")
    with running(contender, subject) as server:
        requests = _requests(subject, contender.headers)
        return _keep_busy(arguments, server, requests, copy)


def _keep_busy(arguments: argparse.Namespace, server: Server, requests: list[bytes], copy: Path) -> dict[str, object]:
    statuses: dict[str, int] = {}
    times: list[float] = []
    sizes_mb: list[Memory] = []
    count = swaps = closed = 0
    started = read_at = swapped_at = time.monotonic()
    end = started + arguments.minutes * 60
    exchanges = [Exchange(request, ask(server.port, request)[1]) for request in requests]
    while (now := time.monotonic()) < end:
        load = drive(server.port, exchanges, connections=8, seconds=BURST_S)
        count += len(load.latencies_s)
        closed += load.closed
        for _, status, _ in load.unexpected:
            code = status.split(b" ")[1].decode()
            statuses[code] = statuses.get(code, 0) + 1
        if now - swapped_at >= SWAP_S:
            swaps, swapped_at = swaps + 1, now
            point(copy, str(swaps % VERSIONS + 1))
        if now - read_at >= READ_S:
            read_at = now
            times.append(now - started)
            sizes_mb.append(server.memory_mb())
            last = ", ".join(f"{size:.1f} MB {name}" for name, size in sizes_mb[-1]._asdict().items())
            sys.stderr.write(f"{now - started:.0f} s: {count:,} requests, {last}\n")
        time.sleep((time.monotonic() - now) * (1 / arguments.busy - 1))
    seconds = time.monotonic() - started
    kept = np.array(times) >= seconds / 10
    settled_mb = np.array(sizes_mb)[kept]
    slopes = np.polyfit(np.array(times)[kept] / 3600, settled_mb, 1)[0]
    return {
        "minutes": round(seconds / 60, 1),
        "requests": count,
        "requests_per_s": count / seconds,
        "champion_changes": swaps,
        "connections_cut_off": closed,
        "answers_other_than_the_first_by_status": statuses,
        "memory_mb": {
            name: {
                "first": sizes_mb[0][place],
                "after_a_tenth": float(settled_mb[0, place]),
                "last": sizes_mb[-1][place],
                "slope_per_hour": float(slopes[place]),
            }
            for place, name in enumerate(Memory._fields)
        },
    }


def _requests(subject: Subject, headers: dict[str, str]) -> list[bytes]:
    """Return requests of each protocol, and of each kind that is refused; none that costs a connection."""
    rows = subject.rows
    model = f"/models/{subject.model}"
    bad = [{**rows[0], subject.names[0]: "no such value"}, {"unknown": 1}]
    bodies = [
        (f"{model}/predict", {"rows": rows[:1]}),
        (f"{model}/predict", {"rows": rows[:32]}),
        (
            f"{model}/predict",
            {"columns": subject.names, "data": [[row[n] for n in subject.names] for row in rows[:500]]},
        ),
        (f"{model}/aliases/champion/predict", {"rows": rows[5:8]}),
        (f"{model}/versions/3/predict", {"rows": rows[:2]}),
        (f"{model}/invocations", {"dataframe_records": rows[:4]}),
        (f"{model}/invocations", {"inputs": {name: [row[name] for row in rows[:4]] for name in subject.names}}),
        (
            f"/v2{model}/infer",
            {
                "inputs": [
                    {
                        "name": name,
                        "shape": [4, 1],
                        "datatype": "BYTES" if name in subject.texts else "FP64",
                        "data": [row[name] for row in rows[:4]],
                    }
                    for name in subject.names
                ]
            },
        ),
        (f"{model}/predict", {"rows": bad}),
        (f"{model}/predict", {"rows": []}),
        (f"{model}/invocations", {"instances": bad}),
        (f"{model}/versions/999/predict", {"rows": rows[:1]}),
        ("/models/nobody/predict", {}),
        ("/no/such/route", {}),
    ]
    good_key = [post(path, json.dumps(body).encode(), headers) for path, body in bodies]
    return [
        *good_key,
        post(f"{model}/predict", b'{"rows": [' + b"[" * 200, headers),
        post(f"{model}/predict", b"\xff\xfe\x00", headers),
        post(f"{model}/predict", b'{"rows": [NaN]}', headers),
        post(f"{model}/predict", json.dumps(bodies[0][1]).encode(), {**headers, "Authorization": "Bearer wrong"}),
    ]


if __name__ == "__main__":
    main()
