"""Fifty champion changes in a row under 32 concurrent clients: no failed request, no wrong answer, and what it costs.

::

    python benchmarks/serving/swaps.py --home .aforo

Versions are made from the champion by moving its probabilities a little, so that an answer shows which version gave it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from contenders import Contender, own
from load_client import Exchange, ask, drive, post
from server_process import running
from subject import Subject

from aforo.export.inference import GraphPredictor, columns_of
from aforo.graph import Graph
from aforo.registry.bundle import GRAPH, write_bundle
from aforo.registry.signing import signing_key

VERSIONS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".aforo"))
    parser.add_argument("--model", default="flight_delay")
    parser.add_argument("--changes", type=int, default=50)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two changes")
    parser.add_argument("--server-core", type=int, nargs="*", default=[0])
    parser.add_argument("--client-core", type=int, default=1)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.client_core})
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(swap(arguments, Path(folder)), indent=1))


def swap(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    subject = Subject(arguments.home, arguments.model, folder)
    pinned = ["taskset", "-c", ",".join(map(str, arguments.server_core))]
    contender = own(subject, pinned, arguments.workers, home=folder / "home")
    copy, answers = lay_out(subject, arguments, folder / "home")
    with running(contender, subject) as server:
        exchanges = requests(contender, subject, server.port)
        before = drive(server.port, exchanges, connections=32, seconds=5)
        stop = threading.Event()
        changer = threading.Thread(target=change, args=(copy, arguments, stop))
        changer.start()
        during = drive(server.port, exchanges, connections=32, seconds=arguments.changes * arguments.pause + 1)
        changer.join()
    wrong = 0
    seen: dict[str, int] = {}
    for index, status, body in during.unexpected:
        answer = json.loads(body) if b" 200 " in status else {}
        version = answer.get("version")
        yes = answer["predictions"][0]["probabilities"][subject.contract.classes[1]] if answer else None
        if version is None or yes != answers[int(version) - 1][index]:
            wrong += 1
        else:
            seen[version] = seen.get(version, 0) + 1
    return {
        "requests": len(during.latencies_s),
        "failed_or_wrong": wrong + during.closed,
        "versions_seen": len(seen) + 1,
        "requests_per_s_before": before.requests_per_s,
        "requests_per_s_during": during.requests_per_s,
        "p99_ms_before": before.percentile_s(99) * 1e3,
        "p99_ms_during": during.percentile_s(99) * 1e3,
        "longest_ms_during": max(during.latencies_s) * 1e3,
    }


def lay_out(subject: Subject, arguments: argparse.Namespace, home: Path) -> tuple[Path, list[list[float]]]:
    """Write a local copy with all versions, the first one champion; return it, and each version's answers."""
    copy = home / "mirror" / arguments.model
    copy.mkdir(parents=True)
    key_file = home / "signing.key"
    key_file.write_bytes((arguments.home / "signing.key").read_bytes())
    answers = [prepare(subject, copy, str(number), signing_key(key_file)) for number in range(1, VERSIONS + 1)]
    point(copy, "1")
    return copy, answers


def prepare(subject: Subject, copy: Path, version: str, key: bytes) -> list[float]:
    """Write a version whose probabilities are moved towards one half; return what it answers to each request."""
    share = int(version) / 100
    graph = Graph.from_bytes((subject.bundle.folder / GRAPH).read_bytes())
    probabilities = graph.reopen("probabilities")
    moved = graph.add("Mul", probabilities, graph.constant(1.0 - share))
    graph.output(graph.add("Add", moved, graph.constant(share / 2)), "probabilities", width=2)
    predictor = write_version(subject, copy / version, graph.to_bytes(), key)
    found = predictor.run(columns_of(subject.rows[:16], subject.contract))["probabilities"][:, 1]
    return np.asarray(found).tolist()


def write_version(subject: Subject, folder: Path, graph: bytes, key: bytes) -> GraphPredictor:
    """Write a bundle of the subject's contract with another graph."""
    predictor = GraphPredictor(graph, subject.contract)
    golden = subject.bundle.golden
    outputs = predictor.run(columns_of(golden.rows, subject.contract))
    write_bundle(
        folder,
        graph=graph,
        contract=subject.contract,
        golden=golden.model_copy(
            update={"outputs": {name: tuple(map(tuple, v.tolist())) for name, v in outputs.items()}}
        ),
        lineage=subject.bundle.manifest.lineage,
        candidate=subject.bundle.manifest.candidate,
        metrics=subject.bundle.manifest.metrics,
        key=key,
    )
    return predictor


def requests(contender: Contender, subject: Subject, port: int) -> list[Exchange]:
    exchanges = []
    for row in subject.rows[:16]:
        request = post(contender.path, json.dumps(contender.body([row])).encode(), contender.headers)
        exchanges.append(Exchange(request, ask(port, request)[1]))
    return exchanges


def change(copy: Path, arguments: argparse.Namespace, stop: threading.Event) -> None:
    for number in range(arguments.changes):
        if stop.wait(arguments.pause):
            return
        point(copy, str((number + 1) % VERSIONS + 1))


def point(copy: Path, version: str) -> None:
    partial = copy / f".aliases-{time.monotonic_ns()}"
    partial.write_text(json.dumps({"champion": version}))
    partial.replace(copy / "aliases.json")


if __name__ == "__main__":
    main()
