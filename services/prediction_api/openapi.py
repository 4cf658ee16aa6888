"""The OpenAPI page: FastAPI's own routes, and each served model's prediction routes with its real columns.

The page is made anew when the served versions change.
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract
from aforo.export.answering import ABSTAIN_REASONS
from prediction_api.decoding import integer_bounds
from prediction_api.problems import CODES, FAULT_CODES
from prediction_api.protocols.inference_v2 import DATATYPES, input_metadata, output_metadata, output_tensors
from prediction_api.protocols.mlflow_scoring import record
from prediction_api.served_models import ServedModels
from prediction_api.served_version import ServedVersion

Json = dict[str, Any]

_REFUSALS = {
    "400": "The body is not JSON",
    "401": "A valid API key is needed",
    "403": "The API key lacks the scope `predict`",
    "404": "No such model, version or alias",
    "406": "The answer would be JSON, and `Accept` takes none",
    "408": "The request did not arrive in time",
    "413": "Too many bytes or rows",
    "415": "The body is not JSON, or its encoding is not known",
    "422": "Values that the contract does not allow, each listed with its JSON pointer",
    "429": "The API key's rate is used up; `Retry-After` says when to come back",
    "503": "The model cannot be served now, or too much is waiting; `Retry-After` says when to come back",
}

DESCRIPTION = """Calibrated predictions of signed model versions.

Every refusal is `application/problem+json` (RFC 9457) with a `code`; a request whose values are wrong is told all of
them, each with its JSON pointer. Send `X-Request-ID` to find a request again; it is echoed.
A body may be compressed (`Content-Encoding: gzip`).
"""


class OpenApiPage:
    """Makes the page, and keeps it until the served versions change."""

    def __init__(self, app: FastAPI, models: ServedModels) -> None:
        self._app = app
        self._models = models
        self._generation: int | None = None
        self._page: Json = {}

    def document(self) -> Json:
        if self._generation != self._models.generation:
            self._generation = self._models.generation
            self._page = self._make()
        return self._page

    def _make(self) -> Json:
        page = get_openapi(
            title=self._app.title, version=self._app.version, description=DESCRIPTION, routes=self._app.routes
        )
        components = page.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        schemas["Problem"] = _problem_schema()
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)  # FastAPI's own refusals, which are problems here
        for path, operations in page["paths"].items():
            for operation in operations.values():
                _document_refusals(path, operation)
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        for name, model in sorted(self._models.models.items()):
            served = model.live.get("champion") or next(iter(model.loaded.values()), None)
            if served is not None:
                for kind, schema in _schemas(served).items():
                    schemas[f"{name}.{kind}"] = schema
                page["paths"].update(_paths(served))
        return page


def _document_refusals(path: str, operation: Json) -> None:
    """Name the refusals of a route that FastAPI has described."""
    responses = operation["responses"]
    responses.pop("422", None)
    statuses = [] if "/health/" in path or path == "/v2" else ["401", "403"]
    if "{" in path:
        statuses += ["404", "503"]
    for status in statuses:
        responses.setdefault(status, _refusal(_REFUSALS[status]))


def _refusal(description: str) -> Json:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": description, "content": content}


def _paths(served: ServedVersion) -> Json:
    name = served.model
    golden = served.bundle.golden.rows[0]
    rows = [{column.name: golden.get(column.name) for column in served.contract.inputs}]
    predictions = served.score([tuple(row.values()) for row in rows])
    native = orjson.loads(served.answers.encode(predictions, "9f2c1b"))
    columns = list(rows[0])
    data = [list(row.values()) for row in rows]
    examples: Json = {
        "predict": {
            "rows": {"summary": "Objects", "value": {"rows": rows}},
            "columns": {"summary": "Column names once, for many rows", "value": {"columns": columns, "data": data}},
        },
        "invocations": {
            "dataframe_split": {"value": {"dataframe_split": {"columns": columns, "data": data}}},
            "dataframe_records": {"value": {"dataframe_records": rows}},
            "instances": {"value": {"instances": rows}},
            "inputs": {"value": {"inputs": {column: [row[column] for row in rows] for column in columns}}},
        },
        "infer": {
            "tensors": {
                "value": {
                    "inputs": [
                        {**tensor, "shape": [len(rows), 1], "data": [row[tensor["name"]] for row in rows]}
                        for tensor in input_metadata(served.contract)
                    ]
                }
            }
        },
    }
    answers: Json = {
        "predict": native,
        "invocations": {"predictions": [record(prediction, served.contract) for prediction in predictions]},
        "infer": {
            "model_name": name,
            "model_version": served.version,
            "id": "9f2c1b",
            "outputs": output_tensors(predictions, served.contract),
        },
    }
    paths: Json = {}
    places = (("", "the champion"), ("/versions/{version}", "one version"), ("/aliases/{alias}", "an alias"))
    for verb, prefix, told in (
        ("predict", "/models", "Predict with"),
        ("invocations", "/models", "MLflow's scoring protocol, with"),
        ("infer", "/v2/models", "Open Inference Protocol v2, with"),
    ):
        for place, what in places:
            if verb == "infer" and "alias" in place:
                continue
            slug = f"{name}_{verb}" + {"": "", "/versions/{version}": "_version", "/aliases/{alias}": "_alias"}[place]
            operation = {
                "tags": [name],
                "summary": f"{told} {what} of {name}",
                "operationId": slug,
                "security": [{"bearer": []}, {"header": []}, {}],
                "parameters": _parameters(place),
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"$ref": f"#/components/schemas/{name}.{verb}.Request"},
                            "examples": examples[verb],
                        }
                    },
                },
                "responses": {
                    "200": {
                        "description": "One prediction a row, in the rows' order",
                        "content": {
                            "application/json": {
                                "schema": {"$ref": f"#/components/schemas/{name}.{verb}.Answer"},
                                "example": answers[verb],
                            }
                        },
                    },
                    **{status: _refusal(description) for status, description in _REFUSALS.items()},
                },
            }
            paths[f"{prefix}/{name}{place}/{verb}"] = {"post": operation}
    return paths


def _parameters(place: str) -> list[Json]:
    parameters: list[Json] = [
        {
            "name": "X-Request-ID",
            "in": "header",
            "required": False,
            "description": "Echoed if it is 1-128 letters, digits and . _ : / + = @ -; otherwise replaced.",
            "schema": {"type": "string"},
        }
    ]
    if "{version}" in place:
        parameters.append(
            {
                "name": "version",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
            }
        )
    if "{alias}" in place:
        parameters.append(
            {"name": "alias", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        )
    return parameters


def _schemas(served: ServedVersion) -> Json:
    contract = served.contract
    name = served.model
    required = [column.name for column in contract.inputs if not column.nullable]
    row: Json = {
        "type": "object",
        "properties": {column.name: column_schema(column) for column in contract.inputs},
        "required": required,
        "additionalProperties": False,
    }
    reference = {"$ref": f"#/components/schemas/{name}.Row"}
    names = [column.name for column in contract.inputs]
    table = {
        "columns": {
            "type": "array",
            "items": {"type": "string", "enum": names},
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
    prediction = _prediction_schema(contract)
    tensors = [_tensor_schema(column) for column in contract.inputs]
    return {
        "Row": row,
        "predict.Request": {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {"rows": {"type": "array", "items": reference, "minItems": 1}},
                    "required": ["rows"],
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "properties": table,
                    "required": ["columns", "data"],
                    "additionalProperties": False,
                },
            ]
        },
        "Prediction": prediction,
        "predict.Answer": {
            "type": "object",
            "properties": {
                "model": {"const": name},
                "version": {"type": "string"},
                "request_id": {"type": "string"},
                "predictions": {"type": "array", "items": {"$ref": f"#/components/schemas/{name}.Prediction"}},
            },
            "required": ["model", "version", "request_id", "predictions"],
        },
        "invocations.Request": {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {
                        "dataframe_split": {
                            "type": "object",
                            "properties": {**table, "index": {"type": "array"}},
                            "required": ["columns", "data"],
                            "additionalProperties": False,
                        }
                    },
                    "required": ["dataframe_split"],
                    "additionalProperties": False,
                },
                *(
                    {
                        "type": "object",
                        "properties": {shape: {"type": "array", "items": reference, "minItems": 1}},
                        "required": [shape],
                        "additionalProperties": False,
                    }
                    for shape in ("dataframe_records", "instances")
                ),
                {
                    "type": "object",
                    "properties": {
                        "inputs": {
                            "type": "object",
                            "properties": {
                                column.name: {"type": "array", "items": column_schema(column), "minItems": 1}
                                for column in contract.inputs
                            },
                            "required": required,
                            "additionalProperties": False,
                        }
                    },
                    "required": ["inputs"],
                    "additionalProperties": False,
                },
            ]
        },
        "invocations.Answer": {
            "type": "object",
            "properties": {"predictions": {"type": "array", "items": {"type": "object"}}},
            "required": ["predictions"],
        },
        "infer.Request": {
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "parameters": {"type": "object"},
                "inputs": {
                    "type": "array",
                    "items": {"oneOf": tensors},
                    "minItems": len(required),
                    "maxItems": len(tensors),
                    "allOf": [
                        {
                            "contains": {
                                "type": "object",
                                "properties": {"name": {"const": name}},
                                "required": ["name"],
                            },
                            "maxContains": 1,
                        }
                        for name in required
                    ],
                },
                "outputs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"name": {"enum": [tensor["name"] for tensor in output_metadata(contract)]}},
                        "required": ["name"],
                    },
                },
            },
            "required": ["inputs"],
            "additionalProperties": False,
        },
        "infer.Answer": {
            "type": "object",
            "properties": {
                "model_name": {"const": name},
                "model_version": {"type": "string"},
                "id": {"type": "string"},
                "outputs": {"type": "array", "items": {"type": "object"}},
            },
            "required": ["model_name", "outputs"],
        },
    }


def _tensor_schema(column: ColumnContract) -> Json:
    datatypes = {"string": ["BYTES"], "boolean": ["BOOL"]}.get(
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
    kinds = {"string": "string", "boolean": "boolean", "integer": "integer"}
    schema: Json = {"type": kinds.get(column.type, "number")}
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
    properties = {**own, **abstains}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _target(contract: PredictionContract) -> str:
    return contract.target + (f" [{contract.target_unit}]" if contract.target_unit else "")


def _problem_schema() -> Json:
    return {
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
