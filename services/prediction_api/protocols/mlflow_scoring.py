"""MLflow's scoring protocol: ``/invocations`` in its four JSON shapes.

::

    {"dataframe_split": {"columns": [...], "data": [[...]]}}
    {"dataframe_records": [{...}, ...]}
    {"instances": [{...}, ...]}
    {"inputs": {"column": [...], ...}}   or a list of objects

MLflow's client writes missing values as ``NaN``, which stands for a missing value here. The answer is what the model
gives in ``mlflow.pyfunc``, as records: ``{"predictions": [{...}, ...]}``.

References
----------
https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson

from aforo.contracts.explanation import Explanation, ExplanationMethod
from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract
from prediction_api.answers import Prediction
from prediction_api.decoding import RowDecoder
from prediction_api.explaining import Faults, Row, Value, check_value, kind_of, parse
from prediction_api.problems import Problem, pointer
from prediction_api.protocols.columns import GivenColumn, rows_of_columns, without_rows_of_one
from prediction_api.served_version import ServedVersion

_SHAPES = ("dataframe_split", "dataframe_records", "instances", "inputs")
_SPLIT_FIELDS = frozenset(("columns", "data", "index"))


class ScoringProtocol:
    """Scoring requests of MLflow."""

    name = "mlflow"

    def read(self, body: bytes, _: Mapping[bytes, bytes], served: ServedVersion) -> ScoringExchange:
        document = parse(body, nan_is_missing=True)
        faults = Faults()
        rows: list[Row] = []
        shapes = [shape for shape in _SHAPES if isinstance(document, dict) and shape in document]
        if len(shapes) != 1:
            faults.add("", "wrong_shape", f"expected an object with one of {', '.join(_SHAPES)}")
        else:
            for key in sorted(document.keys() - {shapes[0], "params"}):
                faults.add(pointer(key), "unknown_field", f"expected {shapes[0]} alone")
            if document.get("params"):
                faults.add(pointer("params"), "unknown_field", "the model takes no parameters")
            rows = _rows(document[shapes[0]], shapes[0], served.decoder, faults)
        faults.raise_if_any()
        return ScoringExchange(served.decoder.admit(rows), served)

    def problem(self, problem: Problem, request_id: str) -> bytes:
        """Return the problem with MLflow's own ``error_code`` and ``message`` added."""
        codes = {404: "RESOURCE_DOES_NOT_EXIST", 429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE"}
        error_code = codes.get(problem.status, "INTERNAL_ERROR" if problem.status >= 500 else "BAD_REQUEST")
        added = orjson.dumps({"error_code": error_code, "message": problem.detail})
        return problem.body(request_id)[:-1] + b"," + added[1:]


class ScoringExchange:
    """One scoring request."""

    __slots__ = ("_served", "rows")
    explain: ExplanationMethod | None = None
    explanations: Sequence[Explanation | None] = ()

    def __init__(self, rows: Sequence[Row], served: ServedVersion) -> None:
        self.rows = rows
        self._served = served

    def answer(self, predictions: Sequence[Prediction], _: str) -> bytes:
        contract = self._served.contract
        return orjson.dumps({"predictions": [record(prediction, contract) for prediction in predictions]})


def record(prediction: Prediction, contract: PredictionContract) -> dict[str, Any]:
    """Return one prediction as a flat record, column by column what ``mlflow.pyfunc`` gives."""
    reason = {"abstain_reason": prediction.abstain_reason} if contract.may_abstain else {}
    if contract.task == "regression":
        lower, upper = msgspec.structs.astuple(prediction.interval) if prediction.interval else (None, None)
        return {"value": prediction.value, "lower": lower, "upper": upper, **reason}
    probabilities = (
        msgspec.structs.astuple(prediction.probabilities)
        if prediction.probabilities
        else (None,) * len(contract.classes)
    )
    return {
        **{f"probability_{name}": value for name, value in zip(contract.classes, probabilities, strict=True)},
        "label": prediction.label,
        **({"phase": prediction.phase} if contract.two_phase else {}),
        **reason,
    }


def _rows(content: object, shape: str, decoder: RowDecoder, faults: Faults) -> list[Row]:
    if shape == "dataframe_split":
        return _split_rows(content, decoder, faults)
    if shape == "inputs" and isinstance(content, dict):
        return _column_rows(content, decoder, faults)
    if not isinstance(content, list):
        faults.add(pointer(shape), "wrong_type", f"expected an array of objects, got {kind_of(content)}")
        return []
    return _object_rows(content, shape, decoder, faults)


def _object_rows(content: list[Any], shape: str, decoder: RowDecoder, faults: Faults) -> list[Row]:
    columns = decoder.columns
    names = {column.name for column in columns}
    needed = {column.name for column in columns if not column.nullable}
    if all(isinstance(row, dict) and needed <= row.keys() <= names for row in content):
        found = decoder.rows_of({name: [row.get(name) for row in content] for name in names}, len(content))
        if found is not None:
            return found
    rows = []
    for number, row in enumerate(content):
        if not isinstance(row, dict):
            faults.add(pointer(shape, number), "wrong_type", f"expected an object, got {kind_of(row)}")
            continue
        _refuse_unknown(row, columns, faults, shape, number)
        rows.append(tuple(_value(row, column, pointer(shape, number, column.name), faults) for column in columns))
    return rows


def _split_rows(content: object, decoder: RowDecoder, faults: Faults) -> list[Row]:
    where, columns = "dataframe_split", decoder.columns
    if not isinstance(content, dict) or not content.keys() <= _SPLIT_FIELDS:
        faults.add(pointer(where), "wrong_shape", "expected an object with columns, data and at most index")
        return []
    order, data = content.get("columns"), content.get("data")
    if not isinstance(order, list) or not all(isinstance(name, str) for name in order):
        faults.add(pointer(where, "columns"), "wrong_type", "expected an array of column names")
        return []
    if not isinstance(data, list):
        faults.add(pointer(where, "data"), "wrong_type", f"expected an array of arrays, got {kind_of(data)}")
        return []
    names = {column.name for column in columns}
    for place, name in enumerate(order):
        if name not in names:
            faults.add(pointer(where, "columns", place), "unknown_field", f"the model takes {', '.join(sorted(names))}")
        elif name in order[:place]:
            faults.add(pointer(where, "columns", place), "repeated_field", f"{name} is there already")
    for column in columns:
        if column.name not in order and not column.nullable:
            faults.add(pointer(where, "columns"), "missing_field", f"{column.name} is missing")
    if faults.count:
        return []
    if all(isinstance(values, list) and len(values) == len(order) for values in data):
        found = decoder.rows_of(dict(zip(order, zip(*data, strict=True), strict=bool(data))), len(data))
        if found is not None:
            return found
    places = {name: place for place, name in enumerate(order)}
    rows = []
    for number, values in enumerate(data):
        if not isinstance(values, list) or len(values) != len(order):
            faults.add(pointer(where, "data", number), "wrong_length", f"expected an array of {len(order)} values")
            continue
        rows.append(
            tuple(
                None
                if column.name not in places
                else check_value(
                    values[places[column.name]],
                    column,
                    pointer(where, "data", number, places[column.name]),
                    faults,
                )
                for column in columns
            )
        )
    return rows


def _column_rows(content: dict[str, Any], decoder: RowDecoder, faults: Faults) -> list[Row]:
    columns = decoder.columns
    _refuse_unknown(content, columns, faults, "inputs")
    given: dict[str, GivenColumn] = {}
    for column in columns:
        where = ("inputs", column.name)
        if column.name not in content:
            if not column.nullable:
                faults.add(pointer(*where), "missing_field", f"{column.name} is missing")
        elif not isinstance(content[column.name], list):
            faults.add(pointer(*where), "wrong_type", f"expected an array, got {kind_of(content[column.name])}")
        else:
            given[column.name] = GivenColumn(without_rows_of_one(content[column.name]), where)
    return rows_of_columns(given, decoder, faults)


def _value(row: dict[str, Any], column: ColumnContract, place: str, faults: Faults) -> Value:
    if column.name not in row and not column.nullable:
        faults.add(place, "missing_field", f"{column.name} is missing")
        return None
    return check_value(row.get(column.name), column, place, faults)


def _refuse_unknown(
    row: Mapping[str, Any], columns: Sequence[ColumnContract], faults: Faults, *where: str | int
) -> None:
    names = {column.name for column in columns}
    for key in row:
        if key not in names:
            faults.add(pointer(*where, key), "unknown_field", f"the model takes {', '.join(sorted(names))}")
