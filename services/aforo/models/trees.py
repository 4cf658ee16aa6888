"""Sums of decision trees as plain arrays, and as one node of a graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import helper, numpy_helper

from aforo.features.feature import Matrix
from aforo.graph import ML, Graph

_SUM, _NO_TRANSFORM = 1, 0  # enumerations of ai.onnx.ml.TreeEnsemble
_LESS_OR_EQUAL = 0


@dataclass(frozen=True, eq=False)
class Tree:
    """One binary tree; arrays of shape (M,), node 0 is the root.

    A row goes left where ``X[feature] <= threshold``, or where that value is missing and ``missing_left``.

    Attributes
    ----------
    output
        The column of the result that its leaves add to.
    value
        Of the leaves; of no meaning elsewhere.
    """

    output: int
    feature: npt.NDArray[np.int64]
    threshold: Matrix
    missing_left: npt.NDArray[np.bool_]
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    is_leaf: npt.NDArray[np.bool_]
    value: Matrix

    def leaf_values(self, X: Matrix) -> Matrix:
        """Return the value of each row's leaf, of shape (N,)."""
        node = np.zeros(len(X), np.int64)
        rows = np.flatnonzero(~self.is_leaf[node])
        while len(rows):
            at = node[rows]
            value = X[rows, self.feature[at]]
            goes_left = (value <= self.threshold[at]) | (np.isnan(value) & self.missing_left[at])
            node[rows] = np.where(goes_left, self.left[at], self.right[at])
            rows = rows[~self.is_leaf[node[rows]]]
        return self.value[node]


@dataclass(frozen=True, eq=False)
class Trees:
    """A sum of trees.

    Attributes
    ----------
    outputs
        Columns of the result.
    """

    trees: tuple[Tree, ...]
    outputs: int

    def predict(self, X: Matrix) -> Matrix:
        """Return the sums, of shape (N, outputs)."""
        result = np.zeros((len(X), self.outputs))
        for tree in self.trees:
            result[:, tree.output] += tree.leaf_values(X)
        return result

    def add_to(self, graph: Graph, matrix: str, *, offset: Matrix) -> str:
        """Add the sums plus ``offset`` of shape (outputs,) as one TreeEnsemble node.

        A node must have a condition: trees of a single leaf move into the offset, and it into the leaves of the first
        tree, or into a node of its own where an output has none.
        """
        offset = offset.copy()
        features: list[int] = []
        thresholds: list[float] = []
        missing_left: list[int] = []
        children: tuple[list[int], list[int]] = ([], [])
        child_is_leaf: tuple[list[int], list[int]] = ([], [])
        leaf_outputs: list[int] = []
        leaf_values: list[float] = []
        roots: list[int] = []
        first: dict[int, slice] = {}  # the leaves of each output's first tree
        for tree in self.trees:
            if tree.is_leaf[0]:
                offset[tree.output] += tree.value[0]
                continue
            conditions, leaves = np.flatnonzero(~tree.is_leaf), np.flatnonzero(tree.is_leaf)
            position = np.empty(len(tree.is_leaf), np.int64)
            position[conditions] = len(features) + np.arange(len(conditions))
            position[leaves] = len(leaf_values) + np.arange(len(leaves))
            first.setdefault(tree.output, slice(len(leaf_values), len(leaf_values) + len(leaves)))
            roots.append(len(features))
            features += tree.feature[conditions].tolist()
            thresholds += tree.threshold[conditions].tolist()
            missing_left += tree.missing_left[conditions].astype(int).tolist()
            for side, target in enumerate((tree.left, tree.right)):
                children[side].extend(position[target[conditions]].tolist())
                child_is_leaf[side].extend(tree.is_leaf[target[conditions]].astype(int).tolist())
            leaf_outputs += [tree.output] * len(leaves)
            leaf_values += tree.value[leaves].tolist()
        if not roots:
            zero = graph.add("Mul", graph.columns(matrix, [0]), graph.constant(0.0))
            zero = graph.add("Where", graph.add("IsNaN", zero), graph.constant(0.0), zero)
            return graph.add("Add", zero, graph.constant(offset[None, :]))
        weights = np.array(leaf_values)
        for output, its_leaves in first.items():
            weights[its_leaves] += offset[output]
            offset[output] = 0.0
        total = graph.add(
            "TreeEnsemble",
            matrix,
            domain=ML,
            tree_roots=roots,
            nodes_featureids=features,
            nodes_splits=numpy_helper.from_array(np.asarray(thresholds, np.float64), "splits"),
            nodes_modes=numpy_helper.from_array(np.full(len(features), _LESS_OR_EQUAL, np.uint8), "modes"),
            nodes_missing_value_tracks_true=missing_left,
            nodes_truenodeids=children[0],
            nodes_trueleafs=child_is_leaf[0],
            nodes_falsenodeids=children[1],
            nodes_falseleafs=child_is_leaf[1],
            leaf_targetids=leaf_outputs,
            leaf_weights=numpy_helper.from_array(weights, "leaves"),
            n_targets=self.outputs,
            aggregate_function=_SUM,
            post_transform=_NO_TRANSFORM,
        )
        return graph.add("Add", total, graph.constant(offset[None, :])) if offset.any() else total


def add_line(graph: Graph, z: str, slope: float, shift: float, *, ends: Matrix) -> str | None:
    """Add ``slope * clip(z, *ends) + shift`` of z (N, 1), a sum of trees, as one with other leaves.

    Returns
    -------
    str or None
        ``None`` if z is no sum of trees.
    """
    node = graph.maker(z)
    if node is None or node.op_type != "TreeEnsemble":
        return None
    trees = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    leaves = numpy_helper.to_array(trees["leaf_weights"])
    roots = np.array(trees["tree_roots"])
    starts = roots + np.arange(len(roots))  # of each tree's leaves, of which it has one more than conditions
    weights = slope * leaves
    weights[: [*starts, len(leaves)][1]] += shift
    line = graph.add(
        "TreeEnsemble", *node.input, domain=ML, **trees | {"leaf_weights": numpy_helper.from_array(weights)}
    )
    low, high = ends
    if low <= np.minimum.reduceat(leaves, starts).sum() and np.maximum.reduceat(leaves, starts).sum() <= high:
        return line  # no row's sum is cut
    return graph.add("Clip", line, *map(graph.constant, np.sort(slope * ends + shift)))
