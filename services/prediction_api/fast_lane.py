"""The fast lane: plain prediction requests are answered within the connection's own callbacks.

uvicorn gives every request a task, a scope and two messages, which costs more than predicting a row. A request of
known length, with nothing unusual about it, is decoded where its last byte arrives, scored with all others that arrived
in the same turn of the event loop, and its answer written in one piece. Every other request takes the usual road, with
the same steps (:class:`~prediction_api.predicting.Predicting`) and the same answers.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from prediction_api.answers import Prediction
from prediction_api.api_keys import KnownCaller
from prediction_api.batching import Batcher
from prediction_api.http_protocol import GuardedProtocol
from prediction_api.predicting import ADMITTED, LONG_BODY_BYTES, HttpResponse, Predicting, PredictionRequest
from prediction_api.protocols.protocol import Exchange


class FastLaneProtocol(GuardedProtocol):
    """One connection.

    Attributes
    ----------
    predicting
        Set on a subclass by :func:`fast_lane`.
    """

    predicting: Predicting

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._receiving: PredictionRequest | None = None
        """The request in the fast lane whose body arrives."""
        self._answering: PredictionRequest | None = None
        """The one before it, until it is answered."""
        self._known = KnownCaller()
        self._body: list[bytes] = []
        self._batcher: Batcher | None = None
        self._keeps_alive = True

    def on_message_begin(self) -> None:
        if self._batcher is not None:
            self._batcher.flush()  # a pipelined request: the one before it is answered first
        # All that uvicorn does here but for the scope, which only the usual road needs.
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._begin()

    def on_headers_complete(self) -> None:
        if self._is_refused:
            return
        self._receiving = self._take()
        if self._receiving is not None:
            self._has_headers = True
            self._body = []
            return
        if self._answering is not None and not self.pipeline:
            self.cycle = _Unanswered()  # type: ignore[assignment]
        self._make_scope()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._receiving is None:
            super().on_body(body)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._receiving is None:
            super().on_message_complete()
            return
        self._begun_at = None
        request, self._receiving = self._receiving, None
        if not self._is_refused:
            self._answering = request
            self._predict(request)

    def eof_received(self) -> bool:  # type: ignore[override]
        if self._answering is None or self._begun_at is not None or self.pipeline:
            return super().eof_received()
        self._keeps_alive = False
        return True

    def shutdown(self) -> None:
        if (self._receiving is not None or self._answering is not None) and not self.pipeline:
            self._keeps_alive = False
        else:
            super().shutdown()

    def _take(self) -> PredictionRequest | None:
        """Return the request if it may go in the fast lane."""
        if (
            self.parser.get_method() != b"POST"
            or (self.cycle is not None and not self.cycle.response_complete)
            or self.pipeline
            or self._answering is not None
            or self.flow.write_paused
            or self.expect_100_continue
            or not self.url.isascii()
            or b"%" in self.url
        ):
            return None
        target = self.predicting.target(self.url.decode("ascii"))
        if target is None:
            return None
        headers = dict(self.headers)
        length = headers.get(b"content-length")
        if (
            length is None
            or int(length) > min(LONG_BODY_BYTES, self.predicting.limits.max_body_bytes)
            or b"content-encoding" in headers
            or b"transfer-encoding" in headers
            or b"upgrade" in headers
        ):
            return None
        served = self.predicting.models.find(target.model, target.version, target.alias)
        if served is None:
            return None
        request = PredictionRequest(target, headers)
        request.served = served
        request.known = self._known
        return request

    def _make_scope(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)
        self.headers.extend(headers)  # the scope's own
        self.url, self.expect_100_continue = url, expects

    def _predict(self, request: PredictionRequest) -> None:
        self.predicting.busy_polling.asked(request.started)
        self._keeps_alive = self._keeps_alive and self.parser.should_keep_alive()
        try:
            if request.served is None:
                raise AssertionError("a request in the fast lane has its version")
            self.predicting.admit(request)
            served = self.predicting.route(request, request.served)
            body, self._body = b"".join(self._body), []
            exchange = request.target.protocol.read(body, request.headers, served)
            if exchange.explain is not None:
                self._hand_over(request, body)
                return

            def done(predictions: list[Prediction] | None, error: Exception | None) -> None:
                self._finish(request, exchange, body, predictions, error)

            self._batcher = served.batcher
            deadline = request.started + self.predicting.limits.deadline_s
            served.batcher.enqueue(exchange.rows, deadline, done, is_gone=self.transport.is_closing)
        except Exception as error:  # refused in one place, whatever it is
            self._write(self.predicting.refuse(request, error))

    def _hand_over(self, request: PredictionRequest, body: bytes) -> None:
        """Let the usual road answer: an explanation takes long, and there what comes after it waits its turn."""
        self._answering = None
        self._make_scope()
        self.scope[ADMITTED] = request  # type: ignore[literal-required]
        super().on_headers_complete()
        super().on_body(body)
        super().on_message_complete()

    def _finish(
        self,
        request: PredictionRequest,
        exchange: Exchange,
        body: bytes,
        predictions: list[Prediction] | None,
        error: Exception | None,
    ) -> None:
        try:
            if predictions is None:
                error = error or AssertionError("neither predictions nor an error")
                exchange, predictions = self.predicting.rescue(request, body, error)
            self.predicting.record(request, exchange, predictions)
        except Exception as failure:
            self._write(self.predicting.refuse(request, failure))
            return
        self.predicting.outbox.send(self._answer, request, exchange, predictions)

    def _answer(self, request: PredictionRequest, exchange: Exchange, predictions: list[Prediction]) -> None:
        try:
            response = self.predicting.answer(request, exchange, predictions)
        except Exception as failure:
            response = self.predicting.refuse(request, failure)
        self._write(response)

    def _write(self, response: HttpResponse) -> None:
        self._answering = None
        self._batcher = None
        self._idle_since = time.monotonic()
        self.server_state.total_requests += 1
        if self.transport is None or self.transport.is_closing():
            return
        parts = [STATUS_LINE[response.status]]
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        for name, value in response.headers:
            parts += (name, b": ", value, b"\r\n")
            if name == b"connection":
                self._keeps_alive = False
        parts += (b"\r\n" if self._keeps_alive else b"connection: close\r\n\r\n", response.body)
        self.transport.write(b"".join(parts))
        self.predicting.busy_polling.answered()
        if not self._keeps_alive:
            self.transport.close()
        if self.pipeline and self._keeps_alive:
            self.flow.resume_reading()
            self._start_asgi_task(*self.pipeline.pop())


class _Unanswered:
    """Stands for a request in the fast lane where uvicorn looks whether one behind it has to wait.

    If the headers of that one cannot be read, it is what uvicorn tells of the connection's end.
    """

    response_complete = False

    def __init__(self) -> None:
        self.message_event = asyncio.Event()


def fast_lane(predicting: Predicting) -> type[FastLaneProtocol]:
    """Return the protocol of connections whose predictions ``predicting`` makes."""
    return type("FastLaneProtocol", (FastLaneProtocol,), {"limits": predicting.limits, "predicting": predicting})
