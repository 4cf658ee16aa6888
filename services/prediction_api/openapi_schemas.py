"""JSON schemas of what one version takes and gives, in each protocol, with the contract's own columns."""

from __future__ import annotations

from typing import Any, get_args

from aforo.contracts.explanation import ExplanationMethod
from aforo.contracts.prediction import PHASES, PredictionContract
from aforo.contracts.table import ColumnContract
from aforo.export.answering import ABSTAIN_REASONS
from prediction_api.decoding import integer_bounds
from prediction_api.problems import CODES, FAULT_CODES
from prediction_api.protocols.inference_v2 import DATATYPES, output_metadata
from prediction_api.served_version import ServedVersion

Json = dict[str, Any]


def schemas_of(served: ServedVersion) -> Json:
    """Return name to schema; the names are those that the prediction routes refer to, without the model's."""
    contract = served.contract
    rows = {"type": "array", "items": {"$ref": f"#/components/schemas/{served.model}.Row"}, "minItems": 1}
    return {
        "Row": _closed(
            {column.name: column_schema(column) for column in contract.request_columns}, _required(contract)
        ),
        "Prediction": _prediction_schema(contract),
        **_native_schemas(served.model, rows, contract),
        **_scoring_schemas(rows, contract),
        **_inference_schemas(served.model, contract),
        **{
            f"{stream.stream}.Event": _closed({c.name: column_schema(c) for c in stream.event_columns})
            for stream in contract.windows
        },
    }


def _native_schemas(name: str, rows: Json, contract: PredictionContract) -> Json:
    predictions = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}.Prediction"}}
    answer = {
        "model": {"const": name},
        "version": {"type": "string"},
        "request_id": {"type": "string"},
        "predictions": predictions,
    }
    return {
        "predict.Request": {
            "oneOf": [
                _closed({"rows": rows, "explain": _EXPLAIN}, ["rows"]),
                _closed({**_table(contract), "explain": _EXPLAIN}, ["columns", "data"]),
            ]
        },
        "predict.Answer": _open(answer),
    }


def _scoring_schemas(rows: Json, contract: PredictionContract) -> Json:
    split = _closed({**_table(contract), "index": {"description": "Not read."}}, ["columns", "data"])
    columns = {
        column.name: {"type": "array", "items": column_schema(column), "minItems": 1}
        for column in contract.request_columns
    }
    return {
        "invocations.Request": {
            "oneOf": [
                _closed({"dataframe_split": split}),
                _closed({"dataframe_records": rows}),
                _closed({"instances": rows}),
                _closed({"inputs": _closed(columns, _required(contract))}),
            ]
        },
        "invocations.Answer": _open({"predictions": {"type": "array", "items": {"type": "object"}}}),
    }


def _inference_schemas(name: str, contract: PredictionContract) -> Json:
    outputs = [tensor["name"] for tensor in output_metadata(contract)]
    request = {
        "id": {"type": ["string", "null"]},
        "parameters": {"description": "Not read."},
        "inputs": {
            "type": "array",
            "items": {"oneOf": [_tensor_schema(column) for column in contract.request_columns]},
            "minItems": len(_required(contract)),
            "maxItems": len(contract.request_columns),
            "allOf": [
                {"contains": _open({"name": {"const": column}}), "maxContains": 1} for column in _required(contract)
            ],
        },
        "outputs": {"type": ["array", "null"], "items": _open({"name": {"enum": outputs}})},
    }
    answer = {
        "model_name": {"const": name},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": {"type": "array", "items": {"type": "object"}},
    }
    return {
        "infer.Request": _closed(request, ["inputs"]),
        "infer.Answer": _open(answer, ["model_name", "outputs"]),
    }


def _table(contract: PredictionContract) -> Json:
    required = _required(contract)
    return {
        "columns": {
            "type": "array",
            "items": {"type": "string", "enum": [column.name for column in contract.request_columns]},
            "uniqueItems": True,
            "minItems": max(1, len(required)),
            "allOf": [{"contains": {"const": name}} for name in required],
            "description": "Column names in any order; those that may be missing may be left out.",
        },
        "data": {
            "type": "array",
            "items": {"type": "array"},
            "minItems": 1,
            "description": "One array of values a row.",
        },
    }


def _required(contract: PredictionContract) -> list[str]:
    return [column.name for column in contract.request_columns if not column.nullable]


def _open(properties: Json, required: list[str] | None = None) -> Json:
    """An object; all its properties are required unless it is said which."""
    return {"type": "object", "properties": properties, "required": list(properties) if required is None else required}


def _closed(properties: Json, required: list[str] | None = None) -> Json:
    """The same without other properties."""
    return {**_open(properties, required), "additionalProperties": False}


def _tensor_schema(column: ColumnContract) -> Json:
    datatypes = {"string": ["BYTES"], "timestamp": ["BYTES"], "boolean": ["BOOL"]}.get(
        column.type, [datatype for datatype in DATATYPES if datatype not in ("BYTES", "BOOL")]
    )
    return {
        "type": "object",
        "properties": {
            "name": {"const": column.name},
            "shape": {
                "description": "[N] or [N, 1]",
                "type": "array",
                "prefixItems": [{"type": "integer", "minimum": 1}, {"const": 1}],
                "minItems": 1,
                "maxItems": 2,
            },
            "datatype": {"enum": datatypes},
            "data": {
                "type": "array",
                "items": column_schema(column),
                "description": "N values; left out if they follow the JSON as binary data.",
            },
            "parameters": {"type": "object"},
        },
        "required": ["name", "shape", "datatype"],
    }


def column_schema(column: ColumnContract) -> Json:
    """Return the JSON schema of one column's values."""
    kinds = {"integer": "integer", "number": "number", "boolean": "boolean"}
    schema: Json = {"type": kinds.get(column.type, "string")}
    if column.type in ("timestamp", "date"):
        schema["format"] = "date-time" if column.type == "timestamp" else "date"
    if column.type == "string" and column.categories is not None:
        schema["enum"] = list(column.categories)
    elif column.type == "string" and not column.nullable:
        schema["minLength"] = 1
    if column.type == "integer":
        schema["minimum"], schema["maximum"] = integer_bounds(column)
    else:
        schema.update(
            {
                key: value
                for key, value in (("minimum", column.minimum), ("maximum", column.maximum))
                if value is not None
            }
        )
    if column.nullable:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] += ["", None]
    description = column.description + (f" [{column.unit}]" if column.unit else "")
    if description:
        schema["description"] = description.strip()
    if column.unit:
        schema["x-unit"] = column.unit
    if column.example is not None:
        schema["example"] = column.example
    return schema


def _prediction_schema(contract: PredictionContract) -> Json:
    abstains: Json = {
        "abstained": {"type": "boolean", "description": "Whether the model gives no label for this row."},
        "abstain_reason": {
            "enum": [*ABSTAIN_REASONS, None],
            "description": "; ".join(f"`{reason}`: {text}" for reason, text in ABSTAIN_REASONS.items()),
        },
    }
    if contract.task == "regression":
        share = "" if contract.coverage is None else f" {contract.coverage:.0%} of true values lie in it."
        own: Json = {
            "value": {"type": ["number", "null"], "description": _target(contract)},
            "interval": {
                "type": ["object", "null"],
                "properties": {"lower": {"type": "number"}, "upper": {"type": "number"}},
                "required": ["lower", "upper"],
                "description": f"Where the true value is expected.{share}",
            },
        }
    else:
        own = {
            "probabilities": {
                "type": ["object", "null"],
                "properties": {name: {"type": "number", "minimum": 0, "maximum": 1} for name in contract.classes},
                "required": list(contract.classes),
                "description": f"Calibrated probability of each value of {_target(contract)}.",
            },
            "label": {"enum": [*contract.classes, None], "description": "`null` where the model abstains."},
            "confidence": {"type": ["number", "null"], "description": "The highest probability."},
        }
    for name, bound in (("abstain_below", contract.abstain_below), ("abstain_above", contract.abstain_above)):
        if bound is not None:
            abstains[name] = {"const": bound, "description": "The bound of the contract that decided it."}
    properties = {**own, **abstains}
    if contract.two_phase:
        properties["phase"] = {
            "enum": list(PHASES),
            "description": "Which model spoke: the small one, or the full one.",
        }
    return _open({**properties, "explanation": _explanation_schema(contract)}, list(properties))


def _explanation_schema(contract: PredictionContract) -> Json:
    figures = _closed({column.name: {"type": "number"} for column in contract.inputs})
    own = {
        "method": {"enum": list(get_args(ExplanationMethod))},
        "of": {
            "enum": list(contract.classes) or [contract.target],
            "description": "What is explained: the probability of the second of two classes, of the most probable of "
            "several, or the value of a regression.",
        },
        "scale": {"enum": ["probability", "value"]},
        "output": {"type": "number", "description": "What was answered."},
        "baseline": {
            "type": "number",
            "description": "What is answered on average of training rows (`shapley`), or for one typical row.",
        },
        "contributions": {**figures, "description": "`baseline` + all of these + `rest` = `output`, within 1e-9."},
        "rest": {"type": "number", "description": "What belongs to no column alone; 0 for `shapley`."},
        "standard_errors": {
            "oneOf": [figures, {"type": "null"}],
            "description": "Of the contributions, from the permutations that were drawn.",
        },
        "permutations": {
            "type": ["integer", "null"],
            "description": "How many were drawn in the time there was; `null` where none are needed.",
        },
    }
    return {
        "oneOf": [_closed(own), {"type": "null"}],
        "description": "There if it was asked for; `null` for a row without an answer.",
    }


def _target(contract: PredictionContract) -> str:
    return contract.target + (f" [{contract.target_unit}]" if contract.target_unit else "")


_EXPLAIN: Json = {
    "oneOf": [
        {"type": "boolean"},
        _closed({"method": {"enum": list(get_args(ExplanationMethod)), "default": "shapley"}}, []),
    ],
    "default": False,
    "description": "Whether each row's answer is explained, and how.",
}

PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"enum": list(CODES)},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "error_count": {"type": "integer", "description": "How many values are wrong."},
        "errors": {
            "type": "array",
            "description": "The first thousand of them.",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer into the body (RFC 6901)."},
                    "code": {"enum": list(FAULT_CODES)},
                    "message": {"type": "string"},
                },
                "required": ["pointer", "code", "message"],
            },
        },
    },
    "required": ["type", "title", "status", "code", "detail", "request_id"],
}
