"""The compiled kernel of trees: ONNX Runtime's own gives the same bits, and takes over what the kernel refuses."""

from __future__ import annotations

import ctypes
import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from aforo.export import inference
from aforo.export.inference import COMPILED_TREES, open_session
from aforo.graph import Graph
from aforo.models.trees import Tree, Trees

WIDTH = 6
# Few values, so that rows lie exactly on thresholds.
VALUES = [-np.inf, -1.5, -0.0, 0.0, 0.5, 1.0, 2.0**60, np.inf]


def grown(seed: int, *, leaves: int, output: int = 0, width: int = WIDTH) -> Tree:
    """A tree that splits a leaf chosen by chance until it has ``leaves``."""
    rng = np.random.default_rng(seed)
    children: list[tuple[int, int] | None] = [None]
    for _ in range(leaves - 1):
        chosen = int(rng.choice([i for i, sides in enumerate(children) if sides is None]))
        children[chosen] = (len(children), len(children) + 1)
        children += [None, None]
    nodes = len(children)
    return Tree(
        output=output,
        feature=rng.integers(0, width, nodes),
        threshold=rng.choice(VALUES, nodes),
        missing_left=rng.random(nodes) < 0.5,
        left=np.array([0 if sides is None else sides[0] for sides in children]),
        right=np.array([0 if sides is None else sides[1] for sides in children]),
        is_leaf=np.array([sides is None for sides in children]),
        value=rng.standard_normal(nodes),
    )


def graph_of(trees: list[Tree], outputs: int = 1) -> bytes:
    graph = Graph("trees")
    columns = [graph.input(f"x{i}") for i in range(WIDTH)]
    matrix = graph.add("Concat", *columns, axis=1)
    offset = np.zeros(outputs)
    graph.output(Trees(tuple(trees), outputs).add_to(graph, matrix, offset=offset), "sums", width=outputs)
    return graph.to_bytes()


def rows(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).choice([*VALUES, np.nan], (count, WIDTH))


def sums(session: onnxruntime.InferenceSession, X: np.ndarray) -> np.ndarray:
    return session.run(["sums"], {f"x{i}": np.ascontiguousarray(X[:, [i]]) for i in range(WIDTH)})[0]


def kernels_open() -> int:
    library = ctypes.CDLL(str(COMPILED_TREES))
    library.aforo_open_kernels.restype = ctypes.c_long
    return int(library.aforo_open_kernels())


def by_the_runtime(graph: bytes) -> onnxruntime.InferenceSession:
    """Open a graph as a machine does on which nothing was compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "COMPILED_TREES", COMPILED_TREES.with_name("absent.so"))
        return open_session(graph)


def test_it_is_compiled_and_used_and_let_go() -> None:
    assert COMPILED_TREES.exists(), "run `make test`, or scripts/compile_kernels.py"
    before = kernels_open()
    session = open_session(graph_of([grown(0, leaves=4)]))
    assert kernels_open() == before + 1
    del session
    assert kernels_open() == before


def test_nothing_is_used_where_nothing_is_compiled() -> None:
    before = kernels_open()
    session = by_the_runtime(graph_of([grown(0, leaves=4)]))
    assert kernels_open() == before
    assert sums(session, rows(0, 1)).shape == (1, 1)


# Of bits, 64 leaves are the most; 65 and 200 are walked.
@pytest.mark.parametrize("leaves", [2, 3, 31, 32, 33, 63, 64, 65, 200])
def test_a_tree_of_any_size_gives_the_runtime_s_bits(leaves: int) -> None:
    graph = graph_of([grown(seed, leaves=leaves) for seed in range(20)])
    X = rows(leaves, 300)
    assert sums(open_session(graph), X).tobytes() == sums(by_the_runtime(graph), X).tobytes()


@pytest.mark.parametrize("shape", ["left", "right"])
@pytest.mark.parametrize("leaves", [64, 65, 3000])
def test_a_tree_that_is_one_long_chain_gives_the_right_leaf(shape: str, leaves: int) -> None:
    conditions = leaves - 1
    inner, leaf = np.arange(0, 2 * conditions, 2), np.arange(1, 2 * conditions, 2)
    deeper, ends = np.append(inner[1:], 2 * conditions), leaf
    nodes = 2 * conditions + 1
    left, right = np.zeros(nodes, np.int64), np.zeros(nodes, np.int64)
    left[inner], right[inner] = (deeper, ends) if shape == "left" else (ends, deeper)
    threshold = np.zeros(nodes)
    threshold[inner] = np.arange(conditions)[::-1] if shape == "left" else np.arange(conditions)
    is_leaf = np.ones(nodes, bool)
    is_leaf[inner] = False
    zeros = np.zeros(nodes, np.int64)
    tree = Tree(0, zeros, threshold, zeros.astype(bool), left, right, is_leaf, np.arange(nodes) + 0.25)
    X = np.tile(np.linspace(-2, leaves, 500)[:, None], (1, WIDTH))
    graph = graph_of([tree])
    found = sums(open_session(graph), X)
    assert len(np.unique(found)) > 60
    assert found.tobytes() == sums(by_the_runtime(graph), X).tobytes() == tree.leaf_values(X)[:, None].tobytes()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    sizes=st.lists(st.integers(2, 90), min_size=1, max_size=12),
    outputs=st.integers(1, 4),
    batch=st.integers(0, 70),
)
def test_any_ensemble_and_any_batch_give_the_runtime_s_bits(
    seed: int, sizes: list[int], outputs: int, batch: int
) -> None:
    trees = [grown(seed + i, leaves=leaves, output=i % outputs) for i, leaves in enumerate(sizes)]
    graph = graph_of(trees, outputs)
    X = rows(seed, batch)
    found = sums(open_session(graph), X)
    assert found.shape == (batch, outputs)
    assert found.tobytes() == sums(by_the_runtime(graph), X).tobytes()


def test_a_row_s_bits_do_not_depend_on_its_batch() -> None:
    session = open_session(graph_of([grown(seed, leaves=31) for seed in range(200)]))
    X = rows(7, 75)
    whole = sums(session, X)
    for size in (1, 2, 8, 9, 17, 33):
        parts = [sums(session, X[start : start + size]) for start in range(0, len(X), size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


# --- What it refuses -------------------------------------------------------------------------------------------------


def changed(**attributes: object) -> bytes:
    """A graph of one tree of three leaves whose node has these attributes instead; None removes one."""
    model = onnx.load_model_from_string(graph_of([grown(3, leaves=3)]))
    node = next(node for node in model.graph.node if node.op_type == "TreeEnsemble")
    kept = [a for a in node.attribute if a.name not in attributes]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items() if value is not None)
    return model.SerializeToString()


def refused(graph: bytes) -> str:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.register_custom_ops_library(str(COMPILED_TREES))
    with pytest.raises(Exception, match="Exception during initialization") as caught:
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return str(caught.value)


@pytest.mark.parametrize(
    "attributes",
    [
        {"aggregate_function": 0},
        {"post_transform": 1},
        {"nodes_modes": numpy_helper.from_array(np.array([1, 1], np.uint8), "modes")},
    ],
    ids=["average", "logistic", "less than"],
)
def test_what_it_cannot_do_is_left_to_the_runtime_and_said(
    attributes: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    graph = changed(**attributes)
    X = rows(1, 50)
    with caplog.at_level(logging.INFO, "aforo"):
        session = open_session(graph)
    (line,) = caplog.records
    assert "the trees" in line.reason or "a condition of the trees" in line.reason
    assert sums(session, X).tobytes() == sums(by_the_runtime(graph), X).tobytes()


def tensor(values: list[float], dtype: type = np.float64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, dtype), "t")


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"nodes_truenodeids": [0, 0], "nodes_trueleafs": [0, 1]}, "leads nowhere, or back"),
        ({"nodes_truenodeids": [2**40, 0], "nodes_trueleafs": [1, 1]}, "leads nowhere, or back"),
        ({"nodes_falsenodeids": [-1, 0]}, "leads nowhere, or back"),
        ({"nodes_featureids": [-1, 0]}, "a feature of the trees is out of range"),
        ({"nodes_featureids": [2**40, 0]}, "a feature of the trees is out of range"),
        ({"leaf_targetids": [0, 0, 1]}, "a target of the trees is out of range"),
        ({"leaf_targetids": [0, 0, -1]}, "a target of the trees is out of range"),
        ({"leaf_targetids": [0, 0]}, "unexpected type or length"),
        ({"tree_roots": [2]}, "a root of the trees is out of range"),
        ({"tree_roots": [-1]}, "a root of the trees is out of range"),
        ({"n_targets": 0}, "no or too many targets"),
        ({"n_targets": 2**40}, "no or too many targets"),
        ({"nodes_splits": tensor([0.0, np.nan])}, "a threshold of the trees is not a number"),
        ({"nodes_splits": tensor([0.0, 1.0], np.float32)}, "unexpected type or length"),
        ({"nodes_splits": tensor([0.0])}, "unexpected type or length"),
        ({"nodes_modes": tensor([0], np.uint8)}, "unexpected type or length"),
        ({"nodes_falseleafs": [1]}, "unexpected length"),
        ({"nodes_missing_value_tracks_true": None}, "No attribute with this name"),
    ],
)
def test_attributes_that_do_not_fit_together_are_refused(attributes: dict[str, object], reason: str) -> None:
    before = kernels_open()
    assert reason in refused(changed(**attributes))
    assert kernels_open() == before


def test_trees_that_share_their_nodes_are_walked() -> None:
    """There are more ways than leaves; nothing is written beyond the room that leaves have."""
    graph = changed(tree_roots=[0, 1, 0, 0, 1, 0, 0, 0])
    X = rows(2, 90)
    assert sums(open_session(graph), X).tobytes() == sums(by_the_runtime(graph), X).tobytes()


def test_a_matrix_narrower_than_the_trees_is_an_error() -> None:
    model = onnx.load_model_from_string(graph_of([grown(0, leaves=3)]))
    node = next(node for node in model.graph.node if node.op_type == "TreeEnsemble")
    number = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "trees",
        [number(node.input[0], onnx.TensorProto.DOUBLE, ["N", "C"])],
        [number(node.output[0], onnx.TensorProto.DOUBLE, ["N", 1])],
    )
    session = open_session(
        helper.make_model(graph, opset_imports=model.opset_import, ir_version=10).SerializeToString()
    )
    assert session.run(None, {node.input[0]: np.zeros((2, WIDTH))})[0].shape == (2, 1)
    with pytest.raises(Exception, match="fewer columns than the trees look at"):
        session.run(None, {node.input[0]: np.zeros((2, 0))})
