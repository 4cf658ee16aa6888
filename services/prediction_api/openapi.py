"""The OpenAPI page: FastAPI's own routes, and each served model's prediction routes with its real columns.

The page is made anew when the served versions change.
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from prediction_api.openapi_schemas import PROBLEM, schemas_of
from prediction_api.protocols.inference_v2 import input_metadata, output_tensors
from prediction_api.protocols.mlflow_scoring import record
from prediction_api.served_models import ServedModels
from prediction_api.served_version import ServedVersion

Json = dict[str, Any]

_REFUSALS = {
    "400": "The body is not JSON",
    "401": "A valid API key is needed",
    "403": "The API key lacks the scope",
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
        schemas["Problem"] = PROBLEM
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
                for kind, schema in schemas_of(served).items():
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
    if path == "/events":
        statuses += ["400", "404", "413", "415", "422", "503"]
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
        "predict": {example: {"value": native} for example in examples["predict"]},
        "invocations": {
            example: {"value": {"predictions": [record(prediction, served.contract) for prediction in predictions]}}
            for example in examples["invocations"]
        },
        "infer": {
            "tensors": {
                "value": {
                    "model_name": name,
                    "model_version": served.version,
                    "id": "9f2c1b",
                    "outputs": output_tensors(predictions, served.contract),
                }
            }
        },
    }
    if served.explainer is not None:
        # The cheap method: this is computed between requests.
        asked: Json = {"rows": rows, "explain": {"method": "baseline"}}
        examples["predict"]["explained"] = {"summary": "With an explanation of each row", "value": asked}
        why = served.explainer.explain(rows[0], "baseline")
        explained = served.answers.encode_explained(predictions, [why], "9f2c1b")
        answers["predict"]["explained"] = {"value": orjson.loads(explained)}
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
                                "examples": answers[verb],
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
        },
        {
            "name": "X-Entity-Key",
            "in": "header",
            "required": False,
            "description": "What each row is about: one key a row, commas between them, percent-encoded. Recorded as a "
            "keyed hash, for labels that come later and for deletion.",
            "schema": {"type": "string"},
        },
        {
            "name": "X-Caller-ID",
            "in": "header",
            "required": False,
            "description": "Whom the caller asks for. A challenger on trial answers some of these and not others, and "
            "always the same ones. Not recorded.",
            "schema": {"type": "string"},
        },
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
