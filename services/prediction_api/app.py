"""One worker's application: prediction routes first, FastAPI for all others, one shape for every refusal."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
from typing import Any

import orjson
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

from prediction_api import describing
from prediction_api.api_keys import ApiKeys, presented_key
from prediction_api.api_keys import Scope as KeyScope
from prediction_api.bodies import Receive
from prediction_api.challenging import Challenging
from prediction_api.describing import ModelDescription, ModelList, Readiness, VersionDescription
from prediction_api.event_routes import event_routes
from prediction_api.events import Events
from prediction_api.heads import own_request_id
from prediction_api.local_copy import CopyStatus
from prediction_api.metrics import Metrics, exposition
from prediction_api.openapi import OpenApiPage
from prediction_api.options import Limits
from prediction_api.outbox import Outbox
from prediction_api.page import page_routes
from prediction_api.predicting import Predicting, Scope, Send, new_request_id, problem_headers
from prediction_api.problems import Problem
from prediction_api.protocols.inference_v2 import input_metadata, output_metadata
from prediction_api.served_models import ServedModels
from prediction_api.traffic import Traffic
from prediction_api.trial_routes import trial_routes
from prediction_api.worker_state import WorkerStates, is_alive

logger = logging.getLogger(__name__)

TITLE = "Aforo prediction API"
_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")


class Application:
    """The ASGI application of one worker.

    Parameters
    ----------
    models
        What it answers with.
    keys
        Who may ask.
    states
        The run folder, for questions about all workers.
    outbox
        Where predictions wait until they are recorded.
    challenging
        The challengers on trial.
    traffic
        The last hour's, for the page.
    events
        Takes the events that windows are computed from.
    """

    def __init__(
        self,
        models: ServedModels,
        *,
        keys: ApiKeys,
        limits: Limits,
        metrics: Metrics,
        states: WorkerStates,
        outbox: Outbox,
        challenging: Challenging,
        traffic: Traffic,
        events: Events,
    ) -> None:
        self.predicting = Predicting(models, keys, limits, metrics, outbox, challenging)
        self._api = _api(models, keys, metrics, states, challenging, traffic)
        self._api.include_router(event_routes(events, limits, _needs_key(keys, "events")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"ASGI scope {scope['type']!r}; only http is served")
        target = self.predicting.target(scope["path"])
        if target is not None:
            await self.predicting(scope, receive, send, target)
            return
        request_id = own_request_id(dict(scope["headers"])) or new_request_id()
        scope["aforo.request_id"] = request_id

        async def send_with_id(message: Any) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in message["headers"]}
                if b"x-request-id" not in names:
                    message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        # HEAD is GET whose body the server leaves out.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        await self._api({**scope, "method": method}, receive, send_with_id)


def _api(
    models: ServedModels,
    keys: ApiKeys,
    metrics: Metrics,
    states: WorkerStates,
    challenging: Challenging,
    traffic: Traffic,
) -> FastAPI:
    # FastAPI's own page takes its scripts from another host: it stays blank where the internet is not reached.
    app = FastAPIOffline(title=TITLE, version="1", redirect_slashes=False, redoc_url=None)
    app.include_router(
        page_routes(models, challenging, traffic, _needs_key(keys, "predict"), lambda: states.publish(models, metrics))
    )
    app.include_router(_health_routes(models))
    app.include_router(_model_routes(models, keys, states))
    app.include_router(trial_routes(models, challenging, _needs_key(keys, "admin")))
    app.include_router(_inference_protocol_routes(models, keys))
    app.include_router(_metrics_route(models, keys, metrics, states))
    page = OpenApiPage(app, models)
    app.openapi = page.document  # type: ignore[method-assign]
    _answer_problems(app)
    return app


def _needs_key(keys: ApiKeys, scope: KeyScope) -> Any:
    def admit(request: Request) -> None:
        keys.admit(presented_key(dict(request.scope["headers"])), scope)

    return Depends(admit)


def _health_routes(models: ServedModels) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health/live", summary="Whether the process runs")
    @router.get("/v2/health/live", summary="Whether the process runs")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get(
        "/health/ready",
        summary="Whether the champion of each served model answers",
        response_model=Readiness,
        responses={503: {"model": Readiness, "description": "Not ready; the reasons are listed"}},
    )
    @router.get(
        "/v2/health/ready",
        summary="Whether the champion of each served model answers",
        response_model=Readiness,
        responses={503: {"model": Readiness, "description": "Not ready; the reasons are listed"}},
    )
    async def ready() -> Response:
        readiness = describing.describe_readiness(models)
        return _json(readiness, status=200 if readiness.ready else 503)

    return router


def _model_routes(models: ServedModels, keys: ApiKeys, states: WorkerStates) -> APIRouter:
    router = APIRouter(prefix="/models", tags=["models"], dependencies=[_needs_key(keys, "predict")])

    @router.get("", summary="What is served", response_model=ModelList)
    async def list_models(request: Request) -> Response:
        served = [describing.describe_model(models, model) for _, model in sorted(models.models.items())]
        copy = models.local_copy.status()
        # Age changes with every answer; the tag is of what a client would keep.
        return _tagged(
            request,
            ModelList(models=served, local_copy=copy),
            identity=ModelList(models=served, local_copy=CopyStatus(None, None, copy.error)),
        )

    @router.get(
        "/{name}",
        summary="One model, and what each worker serves",
        response_model=ModelDescription,
    )
    async def describe(name: str, request: Request) -> Response:
        model = models.models.get(name)
        if model is None:
            await models.obtain(name, None, None)  # raises
            raise AssertionError(name)
        description = describing.describe_model(models, model)
        description.workers = [
            describing.WorkerDescription(worker=state["worker"], pid=state["pid"], live=state["live"].get(name, {}))
            for state in states.read()
            if is_alive(state["pid"])
        ]
        champion = models.find(name, None, None)
        description.champion = describing.describe_version(champion, model) if champion else None
        return _tagged(request, description)

    @router.get(
        "/{name}/versions/{version}",
        summary="One version: contract, metrics, gate report, lineage",
        response_model=VersionDescription,
    )
    async def describe_version(name: str, version: str, request: Request) -> Response:
        served = await models.obtain(name, version, None)
        return _tagged(request, describing.describe_version(served, models.models[name]))

    @router.get("/{name}/ping", summary="MLflow's readiness probe", tags=["mlflow"])
    async def ping(name: str) -> dict[str, bool]:
        await models.obtain(name, None, None)
        return {"ready": True}

    spoken = importlib.metadata.version("mlflow-skinny")

    @router.get(
        "/{name}/version",
        summary="The version of MLflow whose scoring protocol is spoken",
        tags=["mlflow"],
        response_class=PlainTextResponse,
    )
    async def version_of_protocol(name: str) -> str:
        await models.obtain(name, None, None)
        return spoken

    return router


def _inference_protocol_routes(models: ServedModels, keys: ApiKeys) -> APIRouter:
    router = APIRouter(prefix="/v2", tags=["open inference protocol"])
    keyed = [_needs_key(keys, "predict")]

    @router.get("", summary="The server's metadata")
    async def server() -> dict[str, Any]:
        return {"name": "aforo", "version": "1", "extensions": ["binary_tensor_data"]}

    async def metadata(name: str, request: Request, version: str | None = None) -> Response:
        served = await models.obtain(name, version, None)
        document = {
            "name": served.model,
            "versions": sorted(models.local_copy.versions(name), key=int),
            "platform": "onnxruntime",
            "inputs": input_metadata(served.contract),
            "outputs": output_metadata(served.contract),
            "parameters": {"version": served.version, "classes": list(served.contract.classes)},
        }
        return _tagged(request, document)

    async def ready(name: str, version: str | None = None) -> dict[str, Any]:
        served = await models.obtain(name, version, None)
        return {"name": served.model, "ready": True}

    @router.get("/models/{name}", summary="The champion's inputs and outputs", dependencies=keyed)
    async def champion_metadata(name: str, request: Request) -> Response:
        return await metadata(name, request)

    @router.get(
        "/models/{name}/versions/{version}",
        summary="One version's inputs and outputs",
        dependencies=keyed,
    )
    async def version_metadata(name: str, version: str, request: Request) -> Response:
        return await metadata(name, request, version)

    @router.get("/models/{name}/ready", summary="Whether the champion answers")
    async def champion_ready(name: str) -> dict[str, Any]:
        return await ready(name)

    @router.get("/models/{name}/versions/{version}/ready", summary="Whether the version answers")
    async def version_ready(name: str, version: str) -> dict[str, Any]:
        return await ready(name, version)

    return router


def _metrics_route(models: ServedModels, keys: ApiKeys, metrics: Metrics, states: WorkerStates) -> APIRouter:
    router = APIRouter(tags=["metrics"], dependencies=[_needs_key(keys, "admin")])

    @router.get(
        "/metrics",
        summary="All workers' counts and times, for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def page() -> Response:
        states.publish(models, metrics)
        snapshots = []
        for state in states.read():
            alive = is_alive(state["pid"])
            gauges = state["metrics"]["gauges"] if alive else []
            gauges.append(["aforo_worker_up", [str(state["worker"])], float(alive)])
            snapshots.append({**state["metrics"], "gauges": gauges})
        age_s = models.local_copy.status().age_s
        if age_s is not None:
            snapshots.append(
                {"counters": [], "histograms": [], "gauges": [["aforo_local_copy_age_seconds", [], age_s]]}
            )
        return Response(exposition(snapshots), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _answer_problems(app: FastAPI) -> None:
    def respond(request: Request, problem: Problem) -> Response:
        request_id = request.scope["aforo.request_id"]
        headers = {name.decode(): value.decode() for name, value in problem_headers(problem, request_id)}
        return Response(problem.body(request_id), problem.status, headers=headers)

    @app.exception_handler(Problem)
    async def refused(request: Request, problem: Problem) -> Response:
        return respond(request, problem)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        detail = f"{request.method} {request.url.path[:200]} is not served; /docs lists what is"
        if error.status_code != 405:
            return respond(request, Problem("not_found", detail))
        return respond(request, Problem("method_not_allowed", detail, headers={"Allow": _allowed(app, request)}))

    @app.exception_handler(RequestValidationError)
    async def wrong_parameters(request: Request, error: RequestValidationError) -> Response:
        return respond(request, Problem("not_found", f"{len(error.errors())} path parameters are not understood"))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        logger.error("request failed", extra={"request_id": request.scope["aforo.request_id"]}, exc_info=error)
        return respond(
            request, Problem("internal_error", "the service could not answer; its log has this request's id")
        )


def _allowed(app: FastAPI, request: Request) -> str:
    """Return the methods of all routes of this path; the framework names those of one."""
    allowed = [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]
    return ", ".join([*allowed, "HEAD"] if "GET" in allowed else allowed)


def _json(content: BaseModel, status: int = 200) -> Response:
    return Response(content.model_dump_json(), status, media_type="application/json")


def _tagged(request: Request, content: BaseModel | dict[str, Any], identity: BaseModel | None = None) -> Response:
    """Return ``content`` with an ``ETag``, or 304 to a client that has it already."""
    body = content.model_dump_json().encode() if isinstance(content, BaseModel) else orjson.dumps(content)
    of = body if identity is None else identity.model_dump_json().encode()
    tag = f'W/"{hashlib.sha256(of).hexdigest()[:32]}"'
    known = request.headers.get("if-none-match", "")
    headers = {"etag": tag, "cache-control": "no-cache"}
    if known.strip() == "*" or tag in (part.strip() for part in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
