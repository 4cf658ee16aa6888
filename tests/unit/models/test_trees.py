"""Trees: a value exactly on a threshold goes left, and the graph agrees on it."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from aforo.graph import Graph
from aforo.models.trees import Tree, Trees


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


def run(trees: Trees, X: np.ndarray, offset: np.ndarray) -> np.ndarray:
    graph = Graph("trees")
    graph._model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N", X.shape[1]]))
    graph.output(trees.add_to(graph, "x", offset=offset), "y", width=trees.outputs)
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
