"""What workers cost in memory with a model of 500 MB, loaded before they were forked, and arriving while they run.

::

    python benchmarks/serving/large_model.py --home .aforo

The model is the champion with a table of 500 MB beside it, of which each row's answer reads a part that adds nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from contenders import Contender, own
from load_client import Exchange, ask, drive, post
from server_process import Server, running
from subject import Subject
from swaps import point, write_version

from aforo.export.packing import NUMBERS
from aforo.graph import Graph
from aforo.registry.bundle import GRAPH
from aforo.registry.signing import signing_key

# Distances that the contract allows, in miles: each reads a part of its own.
PARTS = 12_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".aforo"))
    parser.add_argument("--model", default="flight_delay")
    parser.add_argument("--megabytes", type=int, default=500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(arguments.home, arguments.model, Path(folder))
        home = Path(folder) / "home"
        copy = home / "mirror" / arguments.model
        copy.mkdir(parents=True)
        (home / "signing.key").write_bytes((arguments.home / "signing.key").read_bytes())
        key = signing_key(home / "signing.key")
        write_version(subject, copy / "1", (subject.bundle.folder / GRAPH).read_bytes(), key)
        write_version(subject, copy / "2", heavy(subject, arguments.megabytes), key)
        print(
            "| | 1 worker | 3 workers | an added worker | of the first | s to the answer |\n|---|---|---|---|---|---|"
        )
        for name, before, after in (
            ("the small model", "1", "1"),
            ("the large model, loaded before the fork", "2", "2"),
            ("the large model, arriving later", "1", "2"),
        ):
            sizes = []
            for workers in (1, 3):
                point(copy, before)
                contender = own(subject, ["nice"], workers, home=home)
                with running(contender, subject) as server:
                    point(copy, after)
                    seconds = answered_by(server, contender, subject, after, workers)
                    touch(server, contender, subject)
                    sizes.append(server.memory_mb().pss)
            added = (sizes[1] - sizes[0]) / 2
            print(
                f"| {name} | {sizes[0]:.0f} | {sizes[1]:.0f} | {added:.1f} | {added / sizes[0]:.0%} | {seconds:.1f} |"
            )


def heavy(subject: Subject, megabytes: int) -> bytes:
    """Return the champion's graph with a table beside it, read at the row that ``distance`` names."""
    graph = Graph.from_bytes((subject.bundle.folder / GRAPH).read_bytes())
    probabilities = graph.reopen("probabilities")
    table = np.zeros((PARTS, megabytes * 2**20 // (8 * PARTS)))
    distance = graph.columns(NUMBERS, [subject.bundle.predictor.packing.columns.index("distance")])
    found = graph.add("Gather", graph.constant(table), graph.cast(distance, "index"))
    nothing = graph.add("ReduceSum", found, graph.constant([2], dtype=np.int64), keepdims=0)
    graph.output(graph.add("Add", probabilities, nothing), "probabilities", width=2)
    return graph.to_bytes()


def answered_by(server: Server, contender: Contender, subject: Subject, version: str, workers: int) -> float:
    """Wait until every worker's champion is ``version``; return the seconds that it took."""
    started = time.monotonic()
    question = post(f"/models/{subject.model}", b"", contender.headers).replace(b"POST", b"GET", 1)
    while True:
        states = json.loads(ask(server.port, question)[1])["workers"]
        if [state["live"].get("champion") for state in states] == [version] * workers:
            return time.monotonic() - started
        if time.monotonic() - started > 120:
            raise RuntimeError(f"after two minutes the workers serve {states}")
        time.sleep(0.05)


def touch(server: Server, contender: Contender, subject: Subject) -> None:
    """Ask often enough, on new connections, that every worker has read all parts of the model."""
    for start in range(0, PARTS, 500):
        rows = [{**subject.rows[0], "distance": float(start + place)} for place in range(500)]
        request = post(contender.path, json.dumps(contender.body(rows)).encode(), contender.headers)
        exchange = Exchange(request, ask(server.port, request)[1])
        drive(server.port, [exchange], connections=12, seconds=0.0)


if __name__ == "__main__":
    main()
