"""Toy models: the columns of them all, rows that they accept, and hand-made graphs.

The binary graph computes ``yes = sigmoid(weight * (distance / 1000 + is_holiday) + origin's number + 0.1 * seats)``
with 0 for a missing number of seats, so expected probabilities are worked out by hand.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from aforo.contracts.explanation import Background
from aforo.contracts.prediction import PredictionContract, TaskKind
from aforo.contracts.table import ColumnContract, Role

ORIGINS = {"EWR": -1.0, "JFK": 0.0, "LGA": 1.0}
INPUTS = (
    ColumnContract(
        name="origin", type="string", role=Role.FEATURE, categories=tuple(ORIGINS), description="Airport", example="JFK"
    ),
    ColumnContract(name="carrier", type="string", role=Role.FEATURE, nullable=True),
    ColumnContract(name="distance", type="number", role=Role.FEATURE, minimum=0, maximum=12000, unit="mi"),
    ColumnContract(name="seats", type="integer", role=Role.FEATURE, minimum=0, maximum=1000, nullable=True),
    ColumnContract(name="is_holiday", type="boolean", role=Role.FEATURE),
)
ROW = {"origin": "JFK", "carrier": "B6", "distance": 500.0, "seats": 10, "is_holiday": True}
GOLDEN = (ROW, {**ROW, "origin": "EWR", "carrier": None, "seats": None}, {**ROW, "is_holiday": False, "distance": 0})
BACKGROUND = Background(rows=GOLDEN, typical=ROW)


def make_contract(name: str, task: TaskKind, **changes: Any) -> PredictionContract:
    """Return a contract over ``INPUTS``."""
    classes = {"binary": ("no", "yes"), "multiclass": ("early", "late", "never"), "regression": ()}[task]
    coverage = 0.9 if task == "regression" else None
    return PredictionContract(
        **{"use_case": name, "task": task, "target": "late", "inputs": INPUTS, "classes": classes, "coverage": coverage}
        | changes
    )


def logit(row: dict[str, Any], weight: float) -> float:
    """Return by hand what the graphs compute."""
    seats = row.get("seats") or 0
    return weight * (row["distance"] / 1000 + row["is_holiday"]) + ORIGINS[row["origin"]] + 0.1 * seats


def probability(row: dict[str, Any], weight: float) -> float:
    return 1 / (1 + math.exp(-logit(row, weight)))


def make_graph(task: TaskKind, weight: float) -> bytes:
    """Return the graph: its logit z gives sigmoid(z), softmax(0, z, 2z), or z with an interval of ±1."""

    def constant(name: str, value: float) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array([[value]]), name)

    def everywhere_the_same(operator: str, source: str, target: str) -> list[onnx.NodeProto]:
        # The runtime computes a tail of fewer than 8 numbers by another code path, which may differ in the last bit.
        return [
            node("Unsqueeze", [source, "axis_2"], ["deep"]),
            node("Mul", ["deep", "eight_ones"], ["wide"]),
            node(operator, ["wide"], ["mapped"]),
            node("Gather", ["mapped", "place_0"], [target], axis=2),
        ]

    node = helper.make_node
    nodes = [
        node(
            "LabelEncoder",
            ["origin"],
            ["airport"],
            domain="ai.onnx.ml",
            keys_strings=list(ORIGINS),
            values_tensor=numpy_helper.from_array(np.array(list(ORIGINS.values())), "values"),
            default_tensor=numpy_helper.from_array(np.array([0.0]), "default"),
        ),
        # Read so that the column is an input of the graph; its value does not matter.
        node("Equal", ["carrier", "nobody"], ["is_nobody"]),
        node("Cast", ["is_nobody"], ["nobody_number"], to=TensorProto.DOUBLE),
        node("Mul", ["nobody_number", "zero"], ["nothing"]),
        node("IsNaN", ["seats"], ["no_seats"]),
        node("Where", ["no_seats", "zero", "seats"], ["known_seats"]),
        node("Mul", ["known_seats", "tenth"], ["seats_part"]),
        node("Div", ["distance", "thousand"], ["miles"]),
        node("Add", ["miles", "is_holiday"], ["sum"]),
        node("Mul", ["sum", "weight"], ["weighted"]),
        node("Add", ["weighted", "airport"], ["placed"]),
        node("Add", ["placed", "seats_part"], ["seated"]),
        node("Add", ["seated", "nothing"], ["z"]),
    ]
    width = {"binary": 2, "multiclass": 3, "regression": 1}[task]
    name = "value" if task == "regression" else "probabilities"
    outputs = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None, width])]
    if task == "binary":
        nodes += [
            *everywhere_the_same("Sigmoid", "z", "yes"),
            node("Sub", ["one", "yes"], ["no"]),
            node("Concat", ["no", "yes"], ["probabilities"], axis=1),
        ]
    elif task == "multiclass":
        nodes += [
            node("Mul", ["z", "zero"], ["first"]),
            node("Add", ["z", "z"], ["third"]),
            node("Concat", ["first", "z", "third"], ["scores"], axis=1),
            *everywhere_the_same("Exp", "scores", "powers"),
            node("ReduceSum", ["powers", "axis_1"], ["total"]),
            node("Div", ["powers", "total"], ["probabilities"]),
        ]
    else:
        outputs.append(helper.make_tensor_value_info("interval", TensorProto.DOUBLE, [None, 2]))
        nodes += [
            node("Identity", ["z"], ["value"]),
            node("Sub", ["z", "one"], ["lower"]),
            node("Add", ["z", "one"], ["upper"]),
            node("Concat", ["lower", "upper"], ["interval"], axis=1),
        ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [
            helper.make_tensor_value_info(
                column.name, TensorProto.STRING if column.type == "string" else TensorProto.DOUBLE, [None, 1]
            )
            for column in INPUTS
        ],
        outputs,
        [
            constant("zero", 0.0),
            constant("one", 1.0),
            constant("tenth", 0.1),
            constant("thousand", 1000.0),
            constant("weight", weight),
            numpy_helper.from_array(np.array([1]), "axis_1"),
            numpy_helper.from_array(np.array([2]), "axis_2"),
            numpy_helper.from_array(np.array(0), "place_0"),
            numpy_helper.from_array(np.ones((1, 1, 8)), "eight_ones"),
            helper.make_tensor("nobody", TensorProto.STRING, [1, 1], [b"nobody"]),
        ],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 4)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
