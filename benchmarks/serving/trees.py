"""What a row costs in the trees, summed by our kernel and by ONNX Runtime's own: in the served graph, and alone.

::

    python benchmarks/serving/trees.py --home .aforo

One core and one thread, the best of several rounds that take turns; both must give the same bits. Thousands of rows are
gone through, since a processor learns the ways of a few by heart. Trees alone are grown at random, over 20 features.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import onnxruntime
from subject import Subject

from aforo.export import inference
from aforo.export.inference import COMPILED_TREES, GraphPredictor, columns_of, open_session
from aforo.graph import Graph
from aforo.models.trees import Tree, Trees

BATCHES = (1, 8, 32, 256, 1_000)
FEATURES = 20
Feeds = dict[str, np.ndarray]

# Leaves of each tree, and how many trees: up to 64 leaves are bits, more are walked.
ENSEMBLES = ((31, 200), (64, 100), (255, 100), (1_000, 100))
ROWS = 4_000
ROUNDS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".aforo"))
    parser.add_argument("--model", default="flight_delay")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {0})
    heads = [f"{batch:,} row{'s' * (batch > 1)}" for batch in BATCHES]
    print(f"us a row: ours, the runtime's, and how many times faster ours is\n\n| | {' | '.join(heads)} |")
    print(f"|{'---|' * (len(BATCHES) + 1)}")
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(arguments.home, arguments.model, Path(folder))
        graph = (subject.bundle.folder / "predictor.onnx").read_bytes()
        ours, theirs = both(lambda: GraphPredictor(graph, subject.contract))
        served = ours.packing.side_by_side(columns_of(subject.rows[:ROWS], subject.contract))
        show(f"`{arguments.model}`, the whole graph", ours.run, theirs.run, served)
    for leaves, count in ENSEMBLES:
        ours, theirs = both(lambda leaves=leaves, count=count: open_session(ensemble(leaves, count)))
        rows = {"x": np.random.default_rng(0).random((ROWS, FEATURES))}
        show(f"{count} trees of {leaves:,} leaves", run_of(ours), run_of(theirs), rows)


def both(opened: Callable[[], object]) -> tuple[object, object]:
    """Open with our kernel and without it."""
    ours = opened()
    with mock.patch.object(inference, "COMPILED_TREES", COMPILED_TREES.with_suffix(".absent")):
        return ours, opened()


def run_of(session: onnxruntime.InferenceSession) -> Callable[[Feeds], Feeds]:
    return lambda feeds: {"y": session.run(["y"], feeds)[0]}


def ensemble(leaves: int, count: int) -> bytes:
    graph = Graph("trees")
    matrix = graph.add("Concat", graph.input("x"), axis=1)
    graph._model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = FEATURES
    rng = np.random.default_rng(leaves)
    trees = Trees(tuple(grown(rng, leaves) for _ in range(count)), outputs=1)
    graph.output(trees.add_to(graph, matrix, offset=np.zeros(1)), "y", width=1)
    return graph.to_bytes()


def grown(rng: np.random.Generator, leaves: int) -> Tree:
    """A tree that cuts boxes of [0, 1)^20, chosen by chance, at places chosen by chance."""
    boxes = [(np.zeros(FEATURES), np.ones(FEATURES))]
    feature, threshold, children, open_boxes = [0], [0.0], [(0, 0)], [0]
    while len(open_boxes) < leaves:
        node = open_boxes.pop(int(rng.integers(len(open_boxes))))
        low, high = boxes[node]
        cut = int(rng.integers(FEATURES))
        at = low[cut] + (high[cut] - low[cut]) * rng.random()
        feature[node], threshold[node], children[node] = cut, at, (len(boxes), len(boxes) + 1)
        for side in (0, 1):
            box = (low.copy(), high.copy())
            box[1 - side][cut] = at
            open_boxes.append(len(boxes))
            boxes.append(box)
            feature.append(0)
            threshold.append(0.0)
            children.append((0, 0))
    left, right = np.array(children).T
    return Tree(
        output=0,
        feature=np.array(feature),
        threshold=np.array(threshold),
        missing_left=np.zeros(len(boxes), bool),
        left=left,
        right=right,
        is_leaf=left == 0,
        value=rng.standard_normal(len(boxes)),
    )


def show(name: str, ours: Callable[[Feeds], Feeds], theirs: Callable[[Feeds], Feeds], rows: Feeds) -> None:
    cells = []
    for batch in BATCHES:
        batches = [
            {column: np.ascontiguousarray(values[start : start + batch]) for column, values in rows.items()}
            for start in range(0, ROWS, batch)
        ]
        for feeds in batches:
            expected = theirs(feeds)
            if any(values.tobytes() != expected[output].tobytes() for output, values in ours(feeds).items()):
                raise SystemExit(f"{name}, {batch} rows: other bits")
        times = [(timed(ours, batches), timed(theirs, batches)) for _ in range(ROUNDS)]
        mine, other = (min(found) / ROWS * 1e6 for found in zip(*times, strict=True))
        cells.append(f"{mine:.2f}, {other:.2f}: {other / mine:.1f}")
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def timed(run: Callable[[Feeds], Feeds], batches: list[Feeds]) -> float:
    """Return the seconds that all batches take."""
    started = time.perf_counter()
    for feeds in batches:
        run(feeds)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
