"""Trees: a value exactly on a threshold goes left, and the graph agrees on it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from aforo.graph import Graph
from aforo.models.trees import Tree, Trees, add_line

NONE = np.array([-np.inf, np.inf])


def stump(threshold: float, *, missing_left: bool, output: int = 0, low: float = -1.0, high: float = 1.0) -> Tree:
    return Tree(
        output=output,
        feature=np.array([0, 0, 0]),
        threshold=np.array([threshold, 0.0, 0.0]),
        missing_left=np.array([missing_left, False, False]),
        left=np.array([1, -1, -1]),
        right=np.array([2, -1, -1]),
        is_leaf=np.array([False, True, True]),
        value=np.array([0.0, low, high]),
    )


def leaf(value: float, *, output: int = 0) -> Tree:
    nothing = np.array([0])
    return Tree(output, nothing, np.zeros(1), nothing > 0, nothing, nothing, np.array([True]), np.array([value]))


def graph_of(width: int) -> Graph:
    graph = Graph("trees")
    graph._model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N", width]))
    return graph


def operators_of(graph: Graph) -> list[str]:
    return [node.op_type for node in onnx.load_model_from_string(graph.to_bytes()).graph.node]


def run(trees: Trees, X: np.ndarray, offset: np.ndarray) -> np.ndarray:
    graph = graph_of(X.shape[1])
    graph.output(trees.add_to(graph, "x", offset=offset), "y", width=trees.outputs)
    return run_graph(graph, X)


def run_graph(graph: Graph, X: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph.to_bytes(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": X})[0])


@settings(max_examples=30, deadline=None)
@given(st.floats(-1e300, 1e300), st.booleans())
def test_a_value_on_the_threshold_goes_left_and_its_neighbour_right(threshold: float, missing_left: bool) -> None:
    trees = Trees((stump(threshold, missing_left=missing_left),), outputs=1)
    X = np.array([[threshold], [np.nextafter(threshold, np.inf)], [np.nextafter(threshold, -np.inf)], [np.nan]])
    expected = [[-1.0], [1.0], [-1.0], [-1.0 if missing_left else 1.0]]

    assert trees.predict(X).tolist() == expected
    assert run(trees, X, np.zeros(1)).tolist() == expected


@pytest.mark.parametrize("missing_left", [True, False])
def test_an_infinite_threshold_parts_the_missing_from_the_rest(missing_left: bool) -> None:
    trees = Trees((stump(np.inf, missing_left=missing_left),), outputs=1)
    X = np.array([[1e300], [-1.0], [np.nan]])

    assert trees.predict(X)[:, 0].tolist() == [-1.0, -1.0, -1.0 if missing_left else 1.0]
    np.testing.assert_array_equal(run(trees, X, np.zeros(1)), trees.predict(X))


def test_trees_of_one_leaf_count_too() -> None:
    trees = Trees((leaf(0.25), stump(0.0, missing_left=True, output=1), leaf(8.0, output=1)), outputs=2)
    X = np.array([[-1.0], [1.0]])

    assert trees.predict(X).tolist() == [[0.25, 7.0], [0.25, 9.0]]
    assert run(trees, X, np.array([100.0, 0.0])).tolist() == [[100.25, 7.0], [100.25, 9.0]]


@pytest.mark.parametrize("trees", [(), (leaf(0.5),)], ids=["none", "one leaf"])
def test_a_sum_without_conditions_is_a_constant(trees: tuple[Tree, ...]) -> None:
    constant = sum(tree.value[0] for tree in trees)

    assert run(Trees(trees, outputs=1), np.array([[1.0], [np.nan]]), np.array([2.0])).tolist() == [[2 + constant]] * 2


def test_an_offset_is_in_the_leaves_where_an_output_has_trees() -> None:
    first, second = stump(0.0, missing_left=True, output=1), stump(1.0, missing_left=True, output=1, low=0.0, high=4.0)
    for offset, operators in (([0.0, 100.0], ["TreeEnsemble"]), ([50.0, 100.0], ["TreeEnsemble", "Add"])):
        graph = graph_of(1)
        trees = Trees((first, second), outputs=2)
        graph.output(trees.add_to(graph, "x", offset=np.array(offset)), "y", width=2)

        assert operators_of(graph) == [*operators, "Identity"]
        # By hand: -1, 1 and 1 of the first tree, 0, 0 and 4 of the second.
        expected = [[offset[0], 99.0], [offset[0], 101.0], [offset[0], 105.0]]
        assert run_graph(graph, np.array([[-1.0], [1.0], [2.0]])).tolist() == expected


def uneven() -> Tree:
    """Three leaves: 10 up to 0, 20 up to 1, 30 beyond."""
    return Tree(
        output=0,
        feature=np.zeros(5, np.int64),
        threshold=np.array([0.0, 0.0, 1.0, 0.0, 0.0]),
        missing_left=np.zeros(5, np.bool_),
        left=np.array([1, -1, 3, -1, -1]),
        right=np.array([2, -1, 4, -1, -1]),
        is_leaf=np.array([False, True, False, True, True]),
        value=np.array([0.0, 10.0, 0.0, 20.0, 30.0]),
    )


@pytest.mark.parametrize(
    ("trees", "sums"),
    [
        ((stump(1.0, missing_left=True),), [-1.0, -1.0, 1.0]),
        ((stump(1.0, missing_left=True), stump(1.0, missing_left=True)), [-2.0, -2.0, 2.0]),
        ((uneven(),), [10.0, 20.0, 30.0]),
        ((uneven(), stump(1.0, missing_left=True), uneven()), [19.0, 39.0, 61.0]),
    ],
    ids=["one tree", "two trees", "an uneven tree", "uneven trees"],
)
def test_a_line_of_a_sum_of_trees_is_in_their_leaves(trees: tuple[Tree, ...], sums: list[float]) -> None:
    graph = graph_of(1)
    graph.output(Trees(trees, outputs=1).add_to(graph, "x", offset=np.array([4.0])), "z", width=1)
    graph = Graph.from_bytes(graph.to_bytes())  # as a calibrator extends the graph of a model
    graph.output(add_line(graph, graph.reopen("z"), -0.5, 8.0, ends=NONE) or "", "y", width=1)

    assert operators_of(graph) == ["TreeEnsemble", "Identity"]
    X = np.array([[0.0], [1.0], [2.0]])
    assert run_graph(graph, X)[:, 0].tolist() == [8.0 - 0.5 * (total + 4.0) for total in sums]


@pytest.mark.parametrize(
    ("ends", "is_cut"),
    [((23.0, 65.0), False), ((23.5, 65.0), True), ((23.0, 64.5), True), ((40.0, 50.0), True)],
    ids=["as far as they reach", "from below", "from above", "from both"],
)
def test_a_sum_of_trees_is_cut_off_where_it_reaches_further(ends: tuple[float, float], is_cut: bool) -> None:
    graph = graph_of(1)
    trees = Trees((uneven(), stump(1.0, missing_left=True), uneven()), outputs=1)
    z = trees.add_to(graph, "x", offset=np.array([4.0]))  # from 23 to 65
    graph.output(add_line(graph, z, -0.5, 8.0, ends=np.array(ends)) or "", "y", width=1)

    assert ("Clip" in operators_of(graph)) == is_cut
    sums = np.clip([23.0, 43.0, 65.0], *ends)
    assert run_graph(graph, np.array([[0.0], [1.0], [2.0]]))[:, 0].tolist() == (8.0 - 0.5 * sums).tolist()


def test_a_line_of_anything_else_is_none_of_trees() -> None:
    graph = graph_of(1)

    assert add_line(graph, "x", 2.0, 3.0, ends=NONE) is None
    assert add_line(graph, graph.columns("x", [0]), 2.0, 3.0, ends=NONE) is None


def test_a_sum_of_trees_that_is_used_elsewhere_stays_what_it_is() -> None:
    graph = graph_of(1)
    z = Trees((stump(1.0, missing_left=True),), outputs=1).add_to(graph, "x", offset=np.zeros(1))
    graph.output(graph.beside([z, add_line(graph, z, 2.0, 3.0, ends=NONE) or ""]), "y", width=2)

    assert run_graph(graph, np.array([[0.0], [2.0]])).tolist() == [[-1.0, 1.0], [1.0, 5.0]]
