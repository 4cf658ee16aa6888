"""Measure the prediction API beside what a user would pick instead, on this machine, with the same registered version.

::

    python benchmarks/serving/run.py --home .aforo            # after `make demo`
    python benchmarks/serving/run.py --home .aforo --only aforo bare --seconds 2 --rounds 3

One core for the server, another for the client, which looks for answers without sleeping. Rounds are interleaved: every
server is measured once in each round, so that a change of the machine's mood meets all of them. Each answer's bytes are
compared with a reference whose probabilities were checked. Prints a table; writes results.json, table.md and rates.png.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from contenders import OTHERS, OWN, Contender, contenders
from load_client import Exchange, Load, ask, drive, post
from report import CASES, as_table, plot
from server_process import running
from subject import Subject

TOLERANCE = 1e-9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".aforo"), help="home of the embedded default")
    parser.add_argument("--model", default="flight_delay")
    parser.add_argument("--only", nargs="*", help="names of servers")
    parser.add_argument("--others", nargs="*", default=[], help=f"NAME=PYTHON, the names being {', '.join(OTHERS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--workers", type=int, default=1, help="of our service")
    parser.add_argument("--distinct", type=int, default=16, help="requests; they differ in rows and in X-Request-ID")
    parser.add_argument("--server-core", type=int, nargs="*", default=[0])
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument("--sleeping-client", action="store_true", help="as it is in any case where cores are shared")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.client_core})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        subject = Subject(arguments.home, arguments.model, Path(folder))
        chosen = contenders(
            subject,
            cores=arguments.server_core,
            workers=arguments.workers,
            others=dict(pair.split("=", 1) for pair in arguments.others),
            only=arguments.only,
        )
        results = measure(chosen, subject, arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    table = as_table(results)
    (arguments.output / "table.md").write_text(table)
    plot(results, arguments.output / "rates.png")
    print(table)


def measure(chosen: list[Contender], subject: Subject, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the medians over all rounds."""
    measured: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in chosen}
    failed: dict[str, str] = {}
    exchanges: dict[tuple[str, int], list[Exchange]] = {}
    awake = not arguments.sleeping_client and arguments.client_core not in arguments.server_core
    for number in range(arguments.rounds):
        for contender in chosen:
            try:
                measured[contender.name].append(measure_once(contender, subject, arguments, exchanges, awake))
                outcome = "measured"
            except (RuntimeError, OSError) as error:
                if contender.name not in OTHERS:
                    raise
                outcome = failed[contender.name] = f"failed: {error}"
            sys.stderr.write(f"round {number + 1}: {contender.name} {outcome}\n")
    return {
        "machine": {
            "cores": os.cpu_count(),
            "server_cores": arguments.server_core,
            "workers": arguments.workers,
            "sleeping_client": not awake,
            "load_average": os.getloadavg(),
        },
        "distinct_requests": arguments.distinct,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "failed": failed,
        "servers": {name: medians(rounds) for name, rounds in measured.items() if rounds},
    }


def measure_once(
    contender: Contender,
    subject: Subject,
    arguments: argparse.Namespace,
    exchanges: dict[tuple[str, int], list[Exchange]],
    stays_awake: bool,
) -> dict[str, Any]:
    """Start a server, and measure it in each case.

    Parameters
    ----------
    exchanges
        The requests by server and rows, with the answers that are right; filled in the first round.
    """
    figures: dict[str, Any] = {"cases": {}}
    with running(contender, subject) as server:
        figures["start_s"] = server.seconds_to_first_answer
        for rows, connections in CASES:
            key = (contender.name, rows)
            if key not in exchanges:
                exchanges[key] = prepare(contender, server.port, subject.rows, rows, arguments.distinct)
            keep_busy = partial(drive, server.port, exchanges[key], connections=connections, stays_awake=stays_awake)
            keep_busy(seconds=0.5)
            load = keep_busy(seconds=arguments.seconds)
            judge(contender, load, exchanges[key], rows)
            figures["cases"][f"{rows} x {connections}"] = {
                "requests_per_s": load.requests_per_s,
                "p50_ms": load.percentile_s(50) * 1e3,
                "p99_ms": load.percentile_s(99) * 1e3,
            }
        figures["pss_mb"] = server.memory_mb().pss
    return figures


def medians(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    def of(read: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(map(read, rounds))

    cases = rounds[0]["cases"]
    return {
        "start_s": of(lambda figures: figures["start_s"]),
        "pss_mb": of(lambda figures: figures["pss_mb"]),
        "cases": {
            case: {figure: of(lambda figures, c=case, f=figure: figures["cases"][c][f]) for figure in cases[case]}
            for case in cases
        },
    }


def prepare(contender: Contender, port: int, rows: list[dict[str, Any]], size: int, distinct: int) -> list[Exchange]:
    """Build distinct requests, and keep the answer to each whose numbers are right."""
    exchanges = []
    for place in range(distinct):
        chosen = [rows[(place * size + i) % len(rows)] for i in range(size)]
        headers = {**contender.headers, "X-Request-ID": f"benchmark-{place}"}
        request = post(contender.path, json.dumps(contender.body(chosen)).encode(), headers)
        status, answer = ask(port, request)
        if b" 200 " not in status:
            raise RuntimeError(f"{contender.name}: {status!r} {answer[:500]!r}")
        if contender.probabilities is not None:
            found = np.array(contender.probabilities(json.loads(answer)))
            worst = float(np.abs(found - np.array(contender.expected(chosen))).max())
            if not worst <= TOLERANCE:
                raise RuntimeError(f"{contender.name}: a probability differs by {worst:.3g}")
        exchanges.append(Exchange(request, answer))
    return exchanges


def judge(contender: Contender, load: Load, exchanges: list[Exchange], rows: int) -> None:
    """Refuse a measurement with a wrong answer; other bytes for the same numbers are right.

    Other servers may close a connection that they had kept; ours may not.
    """
    if load.closed and contender.name == OWN:
        raise RuntimeError(f"{contender.name} closed {load.closed} connections that it had kept")
    for index, status, body in load.unexpected:
        right = b" 200 " in status
        if right and contender.probabilities is not None:
            found = np.array(contender.probabilities(json.loads(body)))
            wanted = np.array(contender.probabilities(json.loads(exchanges[index].answer)))
            right = len(found) == rows and float(np.abs(found - wanted).max()) <= TOLERANCE
        if not right:
            raise RuntimeError(f"{contender.name} answered {status!r} {body[:300]!r}")


if __name__ == "__main__":
    if shutil.which("taskset") is None:
        sys.exit("taskset is not here; it comes with util-linux")
    main()
