"""The road of one prediction request, taken ahead of the web framework.

Routing, keys and headers cost a few microseconds here, and several times the model's own time in the framework's middle
layers. The routes are documented in the same OpenAPI page as all others (:mod:`prediction_api.openapi`).

===================================================== ===========================
path                                                  protocol
===================================================== ===========================
``/models/{name}[/versions/{v} | /aliases/{a}]/predict``     ours
``/models/{name}[/versions/{v} | /aliases/{a}]/invocations`` MLflow's scoring protocol
``/v2/models/{name}[/versions/{v}]/infer``                   Open Inference Protocol v2
===================================================== ===========================
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from prediction_api.answers import Prediction
from prediction_api.api_keys import ApiKeys, KnownCaller
from prediction_api.bodies import ClientGoneError, Receive, decompress, gzip, read_body, refuse_other_media
from prediction_api.busy_polling import BusyPolling
from prediction_api.challenging import Challenging, RunningTrial
from prediction_api.explanations import Explanations
from prediction_api.heads import Head, Target, own_request_id
from prediction_api.metrics import Counter, Metrics
from prediction_api.options import Limits
from prediction_api.outbox import Outbox
from prediction_api.problems import PROBLEM_JSON, Problem
from prediction_api.protocols.inference_v2 import InferenceProtocol
from prediction_api.protocols.mlflow_scoring import ScoringProtocol
from prediction_api.protocols.native import NativeProtocol
from prediction_api.protocols.protocol import Exchange, PredictionProtocol
from prediction_api.served_models import ServedModels, yield_to_requests
from prediction_api.served_version import ServedVersion, count_phases

ADMITTED = "aforo.admitted"
"""Where the fast lane leaves a request in the scope that it hands over: it is not counted twice against its key."""

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PATH = re.compile(
    r"/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+)|/aliases/(?P<alias>[^/]+))?/(?P<verb>predict|invocations)"
    r"|/v2/models/(?P<v2_name>[^/]+)(?:/versions/(?P<v2_version>[^/]+))?/(?P<v2_verb>infer)"
)
_KEPT_PATHS = 1_024
# Compressing a short answer costs both sides more than it saves.
_LEAST_COMPRESSED_BYTES = 8_192
# Longer bodies are decompressed and read beside the event loop, one at a time, so that short requests do not wait for
# them: a few megabytes of wrong values take a second to explain.
LONG_BODY_BYTES = 256 * 2**10
_MOST_LONG_BODIES = 32


class PredictionRequest:
    """One request on its way.

    Parameters
    ----------
    head
        Its own, or one that is alike.
    headers
        Its own.
    """

    __slots__ = ("caller", "champion", "head", "headers", "id", "known", "served", "started", "target", "trial")

    def __init__(self, head: Head, headers: Mapping[bytes, bytes]) -> None:
        self.started = time.perf_counter()
        self.head = head
        self.target = head.target
        self.headers = headers
        self.id = own_request_id(headers) or new_request_id()
        self.caller = ""
        self.known: KnownCaller | None = None
        self.served: ServedVersion | None = None
        self.champion: ServedVersion | None = None
        """Who answers if the challenger, which ``served`` then is, fails."""
        self.trial: RunningTrial | None = None


class HttpResponse(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class _Tally:
    """What is counted of one kind of requests: those of one protocol, version and status."""

    def __init__(self, metrics: Metrics, protocol: str, model: str, version: str, status: int) -> None:
        self._metrics, self._version = metrics, (model, version)
        self.requests = metrics.counter("aforo_requests_total", protocol, model, version, str(status))
        self.seconds = metrics.histogram("aforo_request_seconds", protocol, model)

    @cached_property
    def rows(self) -> Counter:
        return self._metrics.counter("aforo_rows_total", *self._version)


class Predicting:
    """An ASGI application for the prediction routes alone, and the steps of one request for the fast lane.

    Parameters
    ----------
    models
        What can answer.
    keys
        Who may ask.
    outbox
        Where answers wait until they are recorded.
    challenging
        The challengers on trial.
    """

    def __init__(
        self,
        models: ServedModels,
        keys: ApiKeys,
        limits: Limits,
        metrics: Metrics,
        outbox: Outbox,
        challenging: Challenging,
    ) -> None:
        self.models = models
        self._keys = keys
        self.limits = limits
        self._metrics = metrics
        self.outbox = outbox
        self.busy_polling = BusyPolling(limits.busy_poll_s)
        self.asked_last = 0
        """The connection in the fast lane that asked last, by its ``id``."""
        self._challenging = challenging
        self._protocols: dict[str, PredictionProtocol] = {
            "predict": NativeProtocol(),
            "invocations": ScoringProtocol(),
            "infer": InferenceProtocol(),
        }
        self._targets: dict[str, Target] = {}
        self._tallies: dict[tuple[str, str, str, int], _Tally] = {}
        self._explanations = Explanations(limits, metrics)
        self._reader: ThreadPoolExecutor | None = None  # threads do not survive the fork
        self._long_bodies = 0

    def target(self, path: str) -> Target | None:
        """Return what ``path`` asks for, or ``None`` if it is no prediction route."""
        target = self._targets.get(path)
        if target is None and path.endswith(("/predict", "/infer", "/invocations")):
            found = _PATH.fullmatch(path)
            if found is None:
                return None
            if len(self._targets) >= _KEPT_PATHS:
                self._targets.clear()
            target = self._targets[path] = Target(
                self._protocols[found["verb"] or found["v2_verb"]],
                found["name"] or found["v2_name"],
                found["version"] or found["v2_version"],
                found["alias"],
            )
        return target

    async def __call__(self, scope: Scope, receive: Receive, send: Send, target: Target) -> None:
        headers = dict(scope["headers"])
        request = scope.get(ADMITTED) or PredictionRequest(Head(target, headers), headers)
        try:
            if scope["method"] != "POST":
                raise Problem(
                    "method_not_allowed", f"{scope['method']} is not understood here", headers={"Allow": "POST"}
                )
            if ADMITTED not in scope:
                self.admit(request)
            body = await read_body(request.headers, receive, self.limits.max_body_bytes)
            encoding = request.headers.get(b"content-encoding")
            if encoding is not None and encoding != b"identity":
                body = await self._beside(decompress, body, encoding, self.limits.max_body_bytes)
            request.served = self.models.find(target.model, target.version, target.alias) or await self.models.obtain(
                target.model, target.version, target.alias
            )
            served = self.route(request, request.served)
            exchange = await self._read(body, request, served)
            if exchange.explain is not None:
                self._explanations.admit(served, len(exchange.rows))
            try:
                predictions = await served.batcher.submit(exchange.rows, request.started + self.limits.deadline_s)
            except Exception as error:
                exchange, predictions = self.rescue(request, body, error)
            if exchange.explain is not None and request.served is not None:
                exchange.explanations = await self._explanations.explain(
                    request.served, exchange.rows, exchange.explain, request.started
                )
            self.record(request, exchange, predictions)
            self.outbox.flush()
            response = self.answer(request, exchange, predictions)
        except ClientGoneError:
            return
        except Exception as error:
            response = self.refuse(request, error)
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _read(self, body: bytes, request: PredictionRequest, served: ServedVersion) -> Exchange:
        read = request.target.protocol.read
        if len(body) <= LONG_BODY_BYTES:
            return read(body, request.headers, served)
        return await self._beside(read, body, request.headers, served)

    async def _beside(self, work: Callable[..., T], *arguments: object) -> T:
        """Do the work in the one thread for long requests."""
        if self._long_bodies >= _MOST_LONG_BODIES:
            raise Problem(
                "overloaded", f"{self._long_bodies} long requests wait to be read", headers={"Retry-After": "1"}
            )
        if self._reader is None:
            self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader", initializer=yield_to_requests)
        self._long_bodies += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, work, *arguments)
        finally:
            self._long_bodies -= 1

    def admit(self, request: PredictionRequest) -> None:
        """Check the request's key and headers.

        Raises
        ------
        Problem
            It may not be answered.
        """
        head = request.head
        request.caller = self._keys.admit(head.presented, "predict", request.known)
        if not head.is_understood:
            refuse_other_media(head.headers)
            head.is_understood = True

    def route(self, request: PredictionRequest, served: ServedVersion) -> ServedVersion:
        """Return who answers: the challenger on trial instead of ``served``, the champion, for its share of callers."""
        trial = self._challenging.running.get(request.target.model)
        if trial is None or trial.champion is not served or request.target.version or request.target.alias:
            return served
        request.trial = trial
        if trial.has_canary:
            served = request.served = trial.choose(request)
        return served

    def rescue(self, request: PredictionRequest, body: bytes, error: Exception) -> tuple[Exchange, list[Prediction]]:
        """Let the champion predict what a challenger failed at; ``error`` is raised again if that is not the case."""
        if request.champion is None or request.trial is None or isinstance(error, Problem):
            raise error
        request.trial.failed(error)
        logger.warning("the champion answers for the challenger", extra={"request_id": request.id}, exc_info=error)
        served = request.served = request.champion
        exchange = request.target.protocol.read(body, request.headers, served)
        return exchange, served.score(exchange.rows)

    def record(self, request: PredictionRequest, exchange: Exchange, predictions: list[Prediction]) -> None:
        """Take note of what will be answered; it is in the log when the outbox has been flushed.

        Raises
        ------
        Problem
            See :meth:`prediction_api.recording.Recorder.record`.
        """
        recorder = self.outbox.recorder
        if recorder is not None and request.served is not None:
            recorder.record(request, request.served, exchange.rows, predictions)

    def answer(self, request: PredictionRequest, exchange: Exchange, predictions: list[Prediction]) -> HttpResponse:
        """Return the answer to a request that went well and is recorded."""
        body = exchange.answer(predictions, request.id)
        headers = [(b"content-type", b"application/json"), (b"x-request-id", request.id.encode())]
        if len(body) >= _LEAST_COMPRESSED_BYTES and b"gzip" in request.headers.get(b"accept-encoding", b""):
            body = gzip(body)
            headers += [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
        headers.append((b"content-length", b"%d" % len(body)))
        if request.trial is not None:
            request.trial.answered(request, exchange.rows, predictions)
        self._count(request, 200).rows.value += len(predictions)
        if request.served is not None and request.served.contract.two_phase:
            count_phases(self._metrics, request.served, predictions)
        return HttpResponse(200, headers, body)

    def refuse(self, request: PredictionRequest, error: Exception) -> HttpResponse:
        """Return the answer to a request that went wrong; a fault of ours is logged."""
        if not isinstance(error, Problem):
            logger.error(
                "prediction failed",
                extra={"model": request.target.model, "request_id": request.id},
                exc_info=error,
            )
            error = Problem("internal_error", "the service could not answer; its log has this request's id")
        body = request.target.protocol.problem(error, request.id)
        headers = [*problem_headers(error, request.id), (b"content-length", b"%d" % len(body))]
        self._metrics.count("aforo_refusals_total", error.code)
        self._count(request, error.status)
        return HttpResponse(error.status, headers, body)

    def _count(self, request: PredictionRequest, status: int) -> _Tally:
        """Count an answered request; return what else is counted of its kind."""
        # A name that does not exist is the client's choice of text, and must not become a label.
        model, version = (request.served.model, request.served.version) if request.served else ("", "")
        kind = (request.target.protocol.name, model, version, status)
        tally = self._tallies.get(kind)
        if tally is None:
            tally = self._tallies[kind] = _Tally(self._metrics, *kind)
        tally.requests.value += 1
        tally.seconds.observe(time.perf_counter() - request.started)
        return tally


_process = secrets.token_hex(6)
_numbers = itertools.count()


def new_request_id() -> str:
    """Return the id of a request that has none of its own."""
    return f"{_process}-{next(_numbers):x}"


def forget_parent() -> None:
    """Give this process its own request ids, after a fork."""
    global _process
    _process = secrets.token_hex(6)


def problem_headers(problem: Problem, request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the response headers of a refusal, without its length."""
    headers = [(b"content-type", PROBLEM_JSON), (b"x-request-id", request_id.encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    if problem.code in ("body_too_large", "malformed_encoding", "request_timeout"):
        headers.append((b"connection", b"close"))  # what is left of the body is not read
    return headers
