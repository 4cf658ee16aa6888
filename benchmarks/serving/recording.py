"""What recording and a shadow cost: our service without, with the prediction log, without its store, with a shadow.

::

    python benchmarks/serving/recording.py --home .aforo      # after `make demo`; about 10 minutes

One row a request. One core for the service and its shipper, another for the client. All services are up at once and
take turns of half a second, in an order that is drawn for each round; while one is asked, the others are halted
(SIGSTOP), so that none of them does its work in the time of another. They are started anew several times: for as long
as it lives, a process is a few percent faster or slower than its twin. Prints the medians of all rounds, and of the
ratios to the same round's plain service, with their quartiles; where the store is away, to the one that records. Two
plain services show what is noise. The last column is the processor time that the service takes for a request, which
others on the machine change less; without its shipper, which runs at the lowest priority.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from load_client import Exchange, ask, drive, post
from own_service import own_service

CONNECTIONS = (1, 32)
AWAY = "recorded, store away"
CONTROL = "plain, once more"
VARIANTS = ("plain", CONTROL, "recorded", AWAY, "shadowed", "recorded and shadowed")
_WAKING_S = 0.05  # what has waited while the service was halted is done in this time
_SETTLE_S = 2.0  # the shipper loads its libraries, once in its life, at the priority of all others


class Measured(NamedTuple):
    requests_per_s: float
    p99_s: float
    processor_s: float
    """For one request."""


class Service(NamedTuple):
    port: int
    session: int
    requests: list[Exchange]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".aforo"), help="home of the embedded default")
    parser.add_argument("--model", default="flight_delay")
    parser.add_argument("--starts", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=10, help="of each start")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument(
        "--only", nargs="*", choices=VARIANTS[1:], default=VARIANTS[1:], help="beside the plain service"
    )
    parser.add_argument("--output", type=Path, help="JSON file")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {1})
    names = [name for name in VARIANTS if name == "plain" or name in arguments.only]
    order = random.Random(0)
    found: dict[str, dict[int, list[Measured]]] = {name: {c: [] for c in CONNECTIONS} for name in names}
    for start in range(arguments.starts):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, contextlib.ExitStack() as started:
            services = {
                name: started.enter_context(running(arguments.home, arguments.model, Path(folder) / name, name))
                for name in names
            }
            for _ in range(arguments.rounds):
                for connections in CONNECTIONS:
                    for name in order.sample(names, len(names)):
                        found[name][connections].append(measure(services[name], connections, arguments.seconds))
        sys.stderr.write(f"start {start + 1} measured; load {os.getloadavg()[0]:.1f}\n")
    report(found, arguments.output)


def measure(service: Service, connections: int, seconds: float) -> Measured:
    """Let the service go on, ask it, and halt it again."""
    os.killpg(service.session, signal.SIGCONT)
    drive(service.port, service.requests, connections=connections, seconds=_WAKING_S)
    before = processor_s(service.session)
    load = drive(service.port, service.requests, connections=connections, seconds=seconds)
    spent = processor_s(service.session) - before
    os.killpg(service.session, signal.SIGSTOP)
    if load.unexpected:
        raise RuntimeError(f"a service answered {load.unexpected[0]}")
    return Measured(load.requests_per_s, load.percentile_s(99), spent / len(load.latencies_s))


def two_versions(source: Path, model: str, home: Path) -> Path:
    """Make a home whose challenger is a copy of the champion."""
    copy = source.absolute() / "mirror" / model
    champion = json.loads((copy / "aliases.json").read_text())["champion"]
    for version in ("1", "2"):
        shutil.copytree(copy / champion, home / "mirror" / model / version)
    (home / "mirror" / model / "aliases.json").write_text(json.dumps({"champion": "1", "challenger": "2"}))
    shutil.copy(source / "signing.key", home)
    return home


@contextlib.contextmanager
def running(source: Path, model: str, home: Path, name: str) -> Iterator[Service]:
    """Start the service, and halt it when all of it is there."""
    two_versions(source, model, home)
    if name == AWAY:
        (home / "store").touch()  # no folder, so that nothing can be put there
    spool = home / "spool" if "recorded" in name else None
    with own_service(home, spool=spool, environment={"AFORO_HOME": str(home)}) as service:
        time.sleep(_SETTLE_S)
        requests = exchanges(service.port, home, model)
        begin_trial(service.port, model, shadow="shadow" in name)
        drive(service.port, requests, connections=32, seconds=0.5)
        os.killpg(service.process.pid, signal.SIGSTOP)
        yield Service(service.port, service.process.pid, requests)


def processor_s(session: int) -> float:
    """Return the processor time of the processes of a session so far, in s, but for the shipper's."""
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and b"aforo.monitoring.shipping" not in (folder / "cmdline").read_bytes():
                ticks += int(fields[11]) + int(fields[12])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
    return ticks / os.sysconf("SC_CLK_TCK")


def exchanges(port: int, home: Path, model: str) -> list[Exchange]:
    """Return a request for each golden row, with its answer."""
    golden: list[dict[str, Any]] = json.loads((home / "mirror" / model / "1" / "golden.json").read_text())["rows"]
    found = []
    for row in golden[:16]:
        body = json.dumps({"rows": [row]}).encode()
        request = post(f"/models/{model}/predict", body, {"X-Request-ID": "benchmark"})
        status, answer = ask(port, request)
        if b" 200 " not in status:
            raise RuntimeError(f"{status!r} {answer[:300]!r}")
        found.append(Exchange(request, answer))
    return found


def begin_trial(port: int, model: str, *, shadow: bool) -> None:
    if shadow:
        request = post(f"/models/{model}/trial", b'{"shadow": true, "max_slowdown": 100}', {})
        status, answer = ask(port, request.replace(b"POST", b"PUT", 1))
        if b" 200 " not in status:
            raise RuntimeError(f"{status!r} {answer[:300]!r}")
        time.sleep(0.5)  # the worker has looked


def report(found: dict[str, dict[int, list[Measured]]], output: Path | None) -> None:
    """Print medians, and the median of each round's ratio to the service beside it."""
    results: dict[str, dict[str, dict[str, float]]] = {}
    print(
        "| service | connections | requests/s | p99 ms | processor µs | beside "
        "| requests/s ÷ | quartiles | p99 ÷ | quartiles | processor ÷ |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, cases in found.items():
        for connections, measured in cases.items():
            other = "recorded" if name == AWAY and "recorded" in found else "plain"
            pairs = list(zip(measured, found[other][connections], strict=True))
            medians = Measured(*(statistics.median(column) for column in zip(*measured, strict=True)))
            each = [[m[i] / b[i] for m, b in pairs] for i in range(3)]
            ratios = Measured(*map(statistics.median, each))
            rates, tails = (f"{low:.3f} to {high:.3f}" for low, _, high in map(statistics.quantiles, each[:2]))
            results.setdefault(name, {})[str(connections)] = {
                **{field: getattr(medians, field) for field in Measured._fields},
                **{f"{field}_ratio": getattr(ratios, field) for field in Measured._fields},
            }
            print(
                f"| {name} | {connections} | {medians.requests_per_s:,.0f} | {medians.p99_s * 1e3:.2f} "
                f"| {medians.processor_s * 1e6:.1f} | {other} "
                f"| {ratios.requests_per_s:.3f} | {rates} | {ratios.p99_s:.3f} | {tails} | {ratios.processor_s:.3f} |"
            )
    if output is not None:
        output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
