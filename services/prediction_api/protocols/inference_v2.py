"""Open Inference Protocol v2, JSON and the binary tensor extension for requests.

One input tensor a column, named as the column, of shape [N] or [N, 1]. String columns are ``BYTES``, booleans ``BOOL``,
numbers any ``INT``, ``UINT`` or ``FP`` type. A column that may be missing may be left out, or hold ``null`` in JSON and
NaN in a binary tensor. The outputs:

==================== ======= ======== ==========================================================
task                 name    datatype shape, and what it holds
==================== ======= ======== ==========================================================
binary, multiclass   probabilities FP64 [N, K], in the order of the metadata's ``classes``
binary, multiclass   label   BYTES    [N]; "" where the model abstains
binary, multiclass   confidence FP64  [N]
regression           value   FP64     [N]
regression           interval FP64    [N, 2], lower and upper
all                  abstained BOOL   [N]
two phases           phase   BYTES    [N]; ``small`` or ``full``
==================== ======= ======== ==========================================================

References
----------
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

from aforo.contracts.explanation import Explanation, ExplanationMethod
from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract
from prediction_api.answers import Prediction
from prediction_api.explaining import Faults, Row, kind_of, parse
from prediction_api.problems import Problem, pointer
from prediction_api.protocols.columns import GivenColumn, rows_of_columns, without_rows_of_one
from prediction_api.served_version import ServedVersion

_BINARY_DTYPES = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
DATATYPES = ("BYTES", *_BINARY_DTYPES)
_NOTHING = GivenColumn([], ())
"""What is read of a tensor that is wrong."""
_REQUEST_FIELDS = frozenset(("id", "parameters", "inputs", "outputs"))


class InferenceProtocol:
    """Inference requests of the Open Inference Protocol."""

    name = "v2"

    def read(self, body: bytes, headers: Mapping[bytes, bytes], served: ServedVersion) -> InferenceExchange:
        document, tensors = _split(body, headers)
        faults = Faults()
        if not isinstance(document, dict):
            faults.add("", "wrong_type", f"expected an object, got {kind_of(document)}")
            faults.raise_if_any()
        for key in sorted(document.keys() - _REQUEST_FIELDS):
            faults.add(pointer(key), "unknown_field", f"expected one of {', '.join(sorted(_REQUEST_FIELDS))}")
        own_id = document.get("id")
        if own_id is not None and not isinstance(own_id, str):
            faults.add(pointer("id"), "wrong_type", f"expected a string, got {kind_of(own_id)}")
        wanted = _wanted_outputs(document.get("outputs"), served.contract, faults)
        columns = _columns(document.get("inputs"), tensors, served.decoder.columns, faults)
        rows = rows_of_columns(columns, served.decoder, faults)
        faults.raise_if_any()
        return InferenceExchange(served.decoder.admit(rows), served, own_id, wanted)

    def problem(self, problem: Problem, request_id: str) -> bytes:
        """Return the problem with the protocol's own ``error`` member added."""
        return problem.body(request_id)[:-1] + b',"error":' + orjson.dumps(problem.detail) + b"}"


class InferenceExchange:
    """One inference request."""

    __slots__ = ("_id", "_served", "_wanted", "rows")
    explain: ExplanationMethod | None = None
    explanations: Sequence[Explanation | None] = ()

    def __init__(
        self, rows: Sequence[Row], served: ServedVersion, own_id: str | None, wanted: frozenset[str] | None
    ) -> None:
        self.rows = rows
        self._served = served
        self._id = own_id
        self._wanted = wanted

    def answer(self, predictions: Sequence[Prediction], request_id: str) -> bytes:
        outputs = [
            tensor
            for tensor in output_tensors(predictions, self._served.contract)
            if self._wanted is None or tensor["name"] in self._wanted
        ]
        return orjson.dumps(
            {
                "model_name": self._served.model,
                "model_version": self._served.version,
                "id": self._id if self._id is not None else request_id,
                "outputs": outputs,
            }
        )


def output_metadata(contract: PredictionContract) -> list[dict[str, Any]]:
    """Return name, datatype and shape of each output, with -1 for the number of rows."""
    if contract.task == "regression":
        own = [("value", "FP64", [-1]), ("interval", "FP64", [-1, 2])]
    else:
        own = [
            ("probabilities", "FP64", [-1, len(contract.classes)]),
            ("label", "BYTES", [-1]),
            ("confidence", "FP64", [-1]),
            *([("phase", "BYTES", [-1])] if contract.two_phase else []),
        ]
    return [
        {"name": name, "datatype": datatype, "shape": shape}
        for name, datatype, shape in (*own, ("abstained", "BOOL", [-1]))
    ]


def input_metadata(contract: PredictionContract) -> list[dict[str, Any]]:
    """Return name, datatype and shape of each input, with -1 for the number of rows."""
    datatypes = {"string": "BYTES", "boolean": "BOOL", "integer": "INT64"}
    return [
        {"name": column.name, "datatype": datatypes.get(column.type, "FP64"), "shape": [-1, 1]}
        for column in contract.inputs
    ]


def output_tensors(predictions: Sequence[Prediction], contract: PredictionContract) -> list[dict[str, Any]]:
    """Return the predictions as the protocol's output tensors, flattened in row-major order."""
    data: dict[str, list[Any]]
    if contract.task == "regression":
        data = {
            "value": [prediction.value for prediction in predictions],
            "interval": [
                bound
                for prediction in predictions
                for bound in (msgspec.structs.astuple(prediction.interval) if prediction.interval else (None, None))
            ],
        }
    else:
        unknown = (None,) * len(contract.classes)
        data = {
            "probabilities": [
                probability
                for prediction in predictions
                for probability in (
                    msgspec.structs.astuple(prediction.probabilities) if prediction.probabilities else unknown
                )
            ],
            "label": [prediction.label or "" for prediction in predictions],
            "confidence": [prediction.confidence for prediction in predictions],
        }
        if contract.two_phase:
            data["phase"] = [prediction.phase for prediction in predictions]
    data["abstained"] = [prediction.abstained for prediction in predictions]
    return [
        {**tensor, "shape": [len(predictions), *tensor["shape"][1:]], "data": data[tensor["name"]]}
        for tensor in output_metadata(contract)
    ]


def _split(body: bytes, headers: Mapping[bytes, bytes]) -> tuple[Any, bytes]:
    """Return the JSON part and the binary tensors after it."""
    length = headers.get(b"inference-header-content-length")
    if length is None:
        return parse(body), b""
    if not length.isdigit() or len(length) > 18 or int(length) > len(body):
        raise Problem(
            "malformed_json", f"Inference-Header-Content-Length is not a length within the body of {len(body)} bytes"
        )
    return parse(body[: int(length)]), body[int(length) :]


def _wanted_outputs(outputs: object, contract: PredictionContract, faults: Faults) -> frozenset[str] | None:
    if outputs is None or outputs == []:
        return None
    known = [tensor["name"] for tensor in output_metadata(contract)]
    if not isinstance(outputs, list):
        faults.add(pointer("outputs"), "wrong_type", f"expected an array, got {kind_of(outputs)}")
        return None
    wanted = set()
    for place, output in enumerate(outputs):
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in known:
            faults.add(pointer("outputs", place, "name"), "unknown_field", f"expected one of {', '.join(known)}")
        else:
            wanted.add(name)
    return frozenset(wanted)


def _columns(inputs: object, tensors: bytes, known: Sequence[ColumnContract], faults: Faults) -> dict[str, GivenColumn]:
    """Return the columns that there are."""
    if not isinstance(inputs, list) or not inputs:
        faults.add(pointer("inputs"), "wrong_type", "expected a non-empty array of tensors")
        return {}
    by_name = {column.name: column for column in known}
    columns: dict[str, GivenColumn] = {}
    for place, tensor in enumerate(inputs):
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if not isinstance(tensor, dict) or not isinstance(name, str):
            faults.add(pointer("inputs", place), "wrong_type", "expected an object with name, shape, datatype and data")
        elif name not in by_name:
            faults.add(
                pointer("inputs", place, "name"), "unknown_field", f"the model takes {', '.join(sorted(by_name))}"
            )
        elif name in columns:
            faults.add(pointer("inputs", place, "name"), "repeated_field", f"{name} is there already")
        else:
            columns[name], tensors = _column(tensor, place, by_name[name], tensors, faults)
    if tensors and not faults.count:
        faults.add("", "wrong_length", f"{len(tensors)} bytes of binary data are left over")
    for column in known:
        if column.name not in columns and not column.nullable:
            faults.add(pointer("inputs"), "missing_field", f"{column.name} is missing")
    return columns


def _column(
    tensor: Mapping[str, Any], place: int, column: ColumnContract, tensors: bytes, faults: Faults
) -> tuple[GivenColumn, bytes]:
    """Return the values of one tensor, and the binary data of those after it."""
    datatype, shape = tensor.get("datatype"), tensor.get("shape")
    if datatype not in DATATYPES:
        faults.add(pointer("inputs", place, "datatype"), "wrong_type", f"expected one of {', '.join(DATATYPES)}")
        return _NOTHING, tensors
    right = {"string": datatype == "BYTES", "timestamp": datatype == "BYTES", "boolean": datatype == "BOOL"}.get(
        column.type, datatype not in ("BYTES", "BOOL")
    )
    if not right:
        faults.add(
            pointer("inputs", place, "datatype"), "wrong_type", f"{column.name} is a {column.type}, got {datatype}"
        )
        return _NOTHING, tensors
    if (
        not isinstance(shape, list)
        or not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape)
        or len(shape) not in (1, 2)
        or shape[1:] not in ([], [1])
    ):
        faults.add(pointer("inputs", place, "shape"), "wrong_shape", "expected [N] or [N, 1]")
        return _NOTHING, tensors
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    where: tuple[str | int, ...]
    if size is not None:
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(tensors):
            faults.add(
                pointer("inputs", place, "parameters", "binary_data_size"),
                "wrong_length",
                f"expected a length within the {len(tensors)} bytes that are left",
            )
            return _NOTHING, tensors
        data, tensors = _from_binary(tensors[:size], datatype), tensors[size:]
        where = ("inputs", place)
    else:
        given, where = tensor.get("data"), ("inputs", place, "data")
        data = without_rows_of_one(given) if isinstance(given, list) else None
    if data is None or len(data) != shape[0]:
        got = "no array" if data is None else f"{len(data)} values"
        faults.add(pointer(*where), "wrong_length", f"expected {shape[0]} values as in shape, got {got}")
        return _NOTHING, tensors
    return GivenColumn(data, where), tensors


def _from_binary(data: bytes, datatype: str) -> list[Any] | None:
    if datatype != "BYTES":
        dtype = np.dtype(_BINARY_DTYPES[datatype])
        if len(data) % dtype.itemsize:
            return None
        values = np.frombuffer(data, dtype).tolist()
        return [None if isinstance(value, float) and math.isnan(value) else value for value in values]
    texts = []
    position = 0
    while position < len(data):
        if position + 4 > len(data):
            return None
        (length,) = struct.unpack_from("<I", data, position)
        position += 4
        if position + length > len(data):
            return None
        try:
            texts.append(data[position : position + length].decode())
        except UnicodeDecodeError:
            return None
        position += length
    return texts
