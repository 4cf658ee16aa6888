"""Graphs: a typed builder of ONNX models that compute in float64.

A predictor is served as one ONNX graph from raw columns to calibrated outputs. Each feature, estimator and
calibrator adds its own nodes to a :class:`Graph`, beside the Python code whose numbers they must reproduce.

float64 throughout, because float32 is not exact enough: a score that moves by 1e-7 lands on another step of
an isotonic calibrator, and a threshold of a tree that is rounded sends the row into another leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from aforo.errors import ExportError

# What ONNX Runtime 1.17 and later run in float64: TreeEnsemble needs ai.onnx.ml 5.
OPSET = 21
ML_OPSET = 5
IR_VERSION = 10

ML = "ai.onnx.ml"

# float64 numbers that the widest instructions of a processor compute at once.
_LARGEST_PACKET = 8
# Rows that are added to fill the last packet.
_REST = _LARGEST_PACKET - 1

# What computes each number by itself, from those at the same place in others; none of them has attributes.
_BY_NUMBER = frozenset({"Add", "Clip", "Div", "Exp", "Log", "Mul", "Sigmoid", "Sub"})

TensorKind = Literal["number", "text", "index", "truth", "byte"]
_ELEMENT_TYPES: dict[TensorKind, int] = {
    "number": TensorProto.DOUBLE,
    "text": TensorProto.STRING,
    "index": TensorProto.INT64,
    "truth": TensorProto.BOOL,
    "byte": TensorProto.UINT8,
}


class Graph:
    """An ONNX graph under construction. Tensors are referred to by name.

    Nodes get names from a counter, so that the same calls give the same bytes.

    Examples
    --------
    >>> graph = Graph("double")
    >>> x = graph.input("x")
    >>> graph.output(graph.add("Mul", x, graph.constant(2.0)), "y", width=1)
    >>> len(graph.to_bytes()) > 0
    True
    """

    def __init__(self, name: str) -> None:
        self._model = helper.make_model(
            helper.make_graph([], name, [], []),
            producer_name="aforo",
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)],
            ir_version=IR_VERSION,
        )
        self._count = 0
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._beside: dict[str, list[str]] = {}
        """What lies side by side in a tensor."""
        self._filled: dict[str, str] = {}
        """Tensors to the same with rows added."""

    @classmethod
    def from_bytes(cls, model: bytes) -> Graph:
        """Return the graph serialised in ``model``, ready to be extended."""
        graph = cls("graph")
        try:
            graph._model = onnx.load_model_from_string(model)
        except Exception as error:  # protobuf's DecodeError has no public home across its versions
            raise ExportError("the stored graph is not an ONNX model", hint="train the candidate again") from error
        content = graph._model.graph
        names = [*(node.name for node in content.node), *(tensor.name for tensor in content.initializer)]
        numbers = [name.rpartition("_")[2] for name in names]
        graph._count = max((int(number) for number in numbers if number.isdecimal()), default=0)
        for tensor in content.initializer:
            if tensor.data_type != TensorProto.STRING:
                value = numpy_helper.to_array(tensor)
                graph._constants[(value.dtype.str, value.shape, value.tobytes())] = tensor.name
        return graph

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(value.name for value in self._model.graph.input)

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(value.name for value in self._model.graph.output)

    def input(self, name: str, *, kind: TensorKind = "number") -> str:
        """Declare a raw column: a tensor of shape (N, 1)."""
        self._model.graph.input.append(helper.make_tensor_value_info(name, _ELEMENT_TYPES[kind], ["N", 1]))
        return name

    def output(self, tensor: str, name: str, *, width: int) -> None:
        """Declare ``tensor``, of shape (N, width) and float64, as the output ``name``."""
        identity = helper.make_node("Identity", [tensor], [name], name=f"output_{name}")
        self._model.graph.node.append(identity)
        self._model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["N", width]))

    def describe(self, facts: Mapping[str, str]) -> None:
        """Write facts into the file itself, beside those that it holds, for whoever has nothing but the file."""
        known = {fact.key: fact.value for fact in self._model.metadata_props}
        helper.set_model_props(self._model, known | dict(facts))

    def reopen(self, name: str) -> str:
        """Take back the output ``name``, and return its tensor to go on from."""
        content = self._model.graph
        kept = [value for value in content.output if value.name != name]
        closing = [node for node in content.node if node.op_type == "Identity" and list(node.output) == [name]]
        if len(kept) == len(content.output) or len(closing) != 1:
            raise ExportError(f"the graph has no output {name!r}; it has: {', '.join(self.outputs)}")
        del content.output[:]
        content.output.extend(kept)
        content.node.remove(closing[0])
        return str(closing[0].input[0])

    def pack(self, names: Sequence[str], into: str) -> tuple[str, ...]:
        """Make one input (N, k) of the k inputs ``names``, which are columns of numbers.

        ONNX Runtime takes a third of a microsecond for each input of a call, which is as long as a node takes.

        Returns
        -------
        tuple of str
            Which column is where: as most of them are put side by side in the graph, so that they need not be again.
        """
        content = self._model.graph
        nodes = list(content.node)
        beside = [name for node in nodes if _is_beside(node) for name in node.input if name in names]
        order = tuple(dict.fromkeys([*beside, *names]))
        place = {name: number for number, name in enumerate(order)}
        chosen: dict[tuple[int, ...], str] = {tuple(range(len(order))): into}

        def columns(places: Iterable[int]) -> str:
            key = tuple(places)
            if key not in chosen:
                chosen[key] = self.columns(into, key)
            return chosen[key]

        kept = [value for value in content.input if value.name not in place]
        del content.input[:]
        content.input.extend(kept)
        content.input.append(helper.make_tensor_value_info(into, TensorProto.DOUBLE, ["N", len(order)]))
        del content.node[:]
        instead: dict[str, str] = {}
        for node in nodes:
            inputs: list[str] = []
            given = [instead.get(name, name) for name in node.input]
            for is_packed, run in groupby(given, key=place.__contains__):
                if not is_packed:
                    inputs += run
                elif _is_beside(node):
                    inputs.append(columns(place[name] for name in run))
                else:
                    inputs += [columns([place[name]]) for name in run]
            if _is_beside(node) and len(inputs) == 1:
                instead[node.output[0]] = inputs[0]
                continue
            node.input[:] = inputs
            content.node.append(node)
        return order

    def take_codes(self, name: str) -> tuple[dict[str, float], float] | None:
        """Make an input of numbers of the text ``name``, if the graph looks it up once and does nothing else with it.

        Returns
        -------
        tuple or None
            Which number stands for which text, and the one for any other; ``None`` if the input is what it was.
        """
        content = self._model.graph
        users = [node for node in content.node if name in node.input]
        if len(users) != 1 or users[0].op_type != "LabelEncoder":
            return None
        facts = {attribute.name: attribute.t for attribute in users[0].attribute}
        texts = [text.decode() for text in facts["keys_tensor"].string_data]
        codes = numpy_helper.to_array(facts["values_tensor"]).tolist()
        otherwise = numpy_helper.to_array(facts["default_tensor"]).tolist()
        looked_up = users[0].output[0]
        content.node.remove(users[0])
        for node in content.node:
            node.input[:] = [name if tensor == looked_up else tensor for tensor in node.input]
        for value in content.input:
            if value.name == name:
                value.type.tensor_type.elem_type = TensorProto.DOUBLE
        return dict(zip(texts, codes, strict=True)), otherwise[0]

    def constant(self, value: npt.ArrayLike, *, dtype: type[np.generic] = np.float64) -> str:
        """Return the tensor of a constant; equal constants are stored once."""
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype)).reshape(np.shape(value))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._count += 1
            name = f"constant_{self._count}"
            self._model.graph.initializer.append(numpy_helper.from_array(array, name))
            self._constants[key] = name
        return self._constants[key]

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return its tensor."""
        return self.add_many(operator, *inputs, outputs=1, domain=domain, **attributes)[0]

    def add_many(self, operator: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        """Add a node with several outputs, and return their tensors in order."""
        self._count += 1
        name = f"{operator.lower()}_{self._count}"
        tensors = [name] if outputs == 1 else [f"{name}_{i}" for i in range(outputs)]
        self._model.graph.node.append(
            helper.make_node(operator, list(inputs), tensors, name=name, domain=domain, **attributes)
        )
        return tensors

    def mapped(self, tensor: str, function: Callable[[str], str]) -> str:
        """Apply a function of each number by itself to (N, d); its result has the same bits in any batch.

        ONNX Runtime computes ``Exp`` and the like in packets, and the few numbers that fill no packet with other code
        that may differ in the last bit: a row's answer would depend on how many rows came with it. So rows are added
        for that code, and cut off again: once, where several such functions follow each other.

        Parameters
        ----------
        function
            Adds the nodes, one or several, to the tensor it is given, and returns theirs. They must keep the shape.
        """
        filled = self._fill(tensor) or self.add("Pad", tensor, self.constant([0, 0, _REST, 0], dtype=np.int64))
        return self.add("Slice", function(filled), *self._cut)

    @property
    def _cut(self) -> tuple[str, str]:
        """Where a slice without the added rows begins and ends."""
        return self.constant([0], dtype=np.int64), self.constant([-_REST], dtype=np.int64)

    def _is_cut(self, node: onnx.NodeProto) -> bool:
        return node.op_type == "Slice" and tuple(node.input[1:]) == self._cut

    def _fill(self, tensor: str) -> str | None:
        """Return ``tensor`` with more rows, if they were added to all that it comes from, number by number."""
        node = self.maker(tensor)
        if node is None:
            return None
        if self._is_cut(node):
            return str(node.input[0])
        if node.op_type in _BY_NUMBER and tensor not in self._filled:
            constants = self._constants.values()
            inputs = [name if name in constants else self._fill(name) for name in node.input]
            known = [name for name in inputs if name is not None]
            if len(known) == len(inputs):
                self._filled[tensor] = self.add(node.op_type, *known)
        return self._filled.get(tensor)

    def maker(self, tensor: str) -> onnx.NodeProto | None:
        """Return the node whose output ``tensor`` is; ``None`` for inputs and constants."""
        return next((node for node in self._model.graph.node if tensor in node.output), None)

    def row_sums(self, tensor: str) -> str:
        """Add up each row of (N, d), from left to right: (N, 1).

        ONNX Runtime's ReduceSum takes another order where a row lies otherwise in memory (d of 3, 5, 7, 13 ...), so a
        row's sum would depend on how many rows came with it.
        """
        return self.columns(self.add("CumSum", tensor, self.constant(1, dtype=np.int64)), [-1])

    def beside(self, tensors: Sequence[str]) -> str:
        """Concatenate matrices (N, d) side by side; a single one is returned as it is.

        What has been put side by side before is taken apart again, so that each column is copied once.
        """
        parts = [part for tensor in tensors for part in self._beside.get(tensor, [tensor])]
        if len(parts) == 1:
            return parts[0]
        matrix = self.add("Concat", *parts, axis=1)
        self._beside[matrix] = parts
        return matrix

    def cast(self, tensor: str, kind: TensorKind) -> str:
        return self.add("Cast", tensor, to=_ELEMENT_TYPES[kind])

    def log_odds(self, p: str) -> str | None:
        """Return the tensor whose logistic curve ``p`` is; ``None`` if it is not one."""
        cut = self.maker(p)
        curve = self.maker(cut.input[0]) if cut is not None and self._is_cut(cut) else None
        fill = self.maker(curve.input[0]) if curve is not None and curve.op_type == "Sigmoid" else None
        return str(fill.input[0]) if fill is not None and fill.op_type == "Pad" else None

    def both_classes(self, p: str) -> str:
        """Turn p (N, 1), the probability of the second of two classes, into (1 - p, p), of shape (N, 2)."""
        return self.add("Gemm", p, *self._complement)

    @property
    def _complement(self) -> tuple[str, str]:
        return self.constant([[-1.0, 1.0]]), self.constant([1.0, 0.0])

    def second_class(self, probabilities: str) -> str:
        """Return p (N, 1) of (1 - p, p)."""
        node = self.maker(probabilities)
        if node is not None and node.op_type == "Gemm" and tuple(node.input[1:]) == self._complement:
            return str(node.input[0])
        return self.columns(probabilities, [1])

    def columns(self, tensor: str, indices: Sequence[int]) -> str:
        """Select columns of a matrix (N, d)."""
        return self.add("Gather", tensor, self.constant(list(indices), dtype=np.int64), axis=1)

    def lookup(
        self, tensor: str, keys: Sequence[str] | Sequence[float], values: Iterable[float], *, default: float
    ) -> str:
        """Replace each key by its value (float64), and anything else by ``default``; the shape stays.

        A NaN among the keys matches missing numbers, "" matches missing strings.
        """
        numbers = [float(value) for value in values]
        if keys and isinstance(keys[0], str):
            encoded = [str(key).encode() for key in keys]
            keys_tensor = TensorProto(name="keys", data_type=TensorProto.STRING, dims=[len(keys)], string_data=encoded)
        else:
            keys_tensor = numpy_helper.from_array(np.asarray(keys, np.float64), "keys")
        return self.add(
            "LabelEncoder",
            tensor,
            domain=ML,
            keys_tensor=keys_tensor,
            values_tensor=numpy_helper.from_array(np.asarray(numbers, np.float64), "values"),
            default_tensor=numpy_helper.from_array(np.asarray([default], np.float64), "default"),
        )

    def to_bytes(self) -> bytes:
        """Serialise the graph. The same graph gives the same bytes.

        Raises
        ------
        ExportError
            It breaks a rule of ONNX; the message names the node.
        """
        self._remove_unused()
        try:
            onnx.checker.check_model(self._model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ExportError(f"graph {self._model.graph.name!r} is not valid ONNX: {error}") from error
        data: bytes = self._model.SerializeToString(deterministic=True)
        return data

    def _remove_unused(self) -> None:
        """Remove the nodes that no output comes from."""
        used = set(self.outputs)
        kept = []
        for node in reversed(self._model.graph.node):
            if not used.isdisjoint(node.output):
                used.update(node.input)
                kept.append(node)
        del self._model.graph.node[:]
        self._model.graph.node.extend(reversed(kept))


def _is_beside(node: onnx.NodeProto) -> bool:
    return node.op_type == "Concat" and helper.get_node_attr_value(node, "axis") == 1
