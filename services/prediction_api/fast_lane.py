"""The fast lane: plain prediction requests are answered within the connection's own callbacks.

uvicorn gives every request a task, a scope and two messages, which costs more than predicting a row. A request of
known length, with nothing unusual about it, is decoded where its last byte arrives, scored with all others that arrived
in the same turn of the event loop, or at once where one connection alone asks, and its answer written in one piece.
Every other request takes the usual road, with the same steps (:class:`~prediction_api.predicting.Predicting`) and the
same answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from prediction_api.answers import Prediction
from prediction_api.api_keys import KnownCaller
from prediction_api.batching import Batcher
from prediction_api.heads import AlikeHeads, Head
from prediction_api.http_protocol import GuardedProtocol
from prediction_api.predicting import ADMITTED, LONG_BODY_BYTES, HttpResponse, Predicting, PredictionRequest
from prediction_api.protocols.protocol import Exchange

# How often it is tried in vain to know the next request by the one before it, before a connection is let be.
_MOST_UNLIKE = 8


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
        self._alike: AlikeHeads | None = None
        """How the next request begins if it is like the last one that was parsed."""
        self._unlike = 0
        """How many in a row did not."""
        self._received = b""
        """What is being parsed, if it begins with a request."""
        self._most_body_bytes = min(LONG_BODY_BYTES, self.limits.max_body_bytes)
        self._known = KnownCaller()
        self._body: list[bytes] = []
        self._batcher: Batcher | None = None
        self._keeps_alive = True

    def data_received(self, data: bytes) -> None:
        """Answer a request that comes in one piece and begins like the one before it, without parsing that again."""
        if self._begun_at is None:
            if self._alike is not None and self._repeat(self._alike, data):
                return
            self._received = data
        super().data_received(data)
        self._received = b""

    def _repeat(self, alike: AlikeHeads, data: bytes) -> bool:
        """Answer a request that is all of ``data``; ``False`` if there is none such, or it may not be answered here."""
        read = alike.read(data) if self._keeps_alive and not self._is_refused and self._is_free() else None
        if read is None:
            return False
        headers, body = read
        if len(body) > self._most_body_bytes or len(data) - len(body) > self.limits.max_header_bytes:
            return False
        request = self._request(alike.head, headers)
        if request is None:
            return False
        self._unlike = 0
        self._unset_keepalive_if_required()
        self._body = [body]
        self._answering = request
        self._predict(request)
        return True

    def on_message_begin(self) -> None:
        self._alike = None
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
        self._keeps_alive = self._keeps_alive and self.parser.should_keep_alive()
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
        received, self._received = self._received, b""
        if (
            self.parser.get_method() != b"POST"
            or not self._is_free()
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
            or int(length) > self._most_body_bytes
            or b"content-encoding" in headers
            or b"transfer-encoding" in headers
            or b"upgrade" in headers
        ):
            return None
        head = Head(target, headers)
        request = self._request(head, headers)
        end = len(received) - int(length)
        if request is not None and end > 0 and self._unlike < _MOST_UNLIKE:
            self._unlike += 1
            self._alike = AlikeHeads.of(head, received[:end])
        return request

    def _is_free(self) -> bool:
        """Tell whether nothing that came before is unanswered."""
        return (
            self._answering is None
            and (self.cycle is None or self.cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
        )

    def _request(self, head: Head, headers: Mapping[bytes, bytes]) -> PredictionRequest | None:
        """Return a request; ``None`` if its version is not at hand."""
        target = head.target
        served = self.predicting.models.find(target.model, target.version, target.alias)
        if served is None:
            return None
        request = PredictionRequest(head, headers)
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

            # Whoever asks twice before anybody else asks is likely to be alone: then there is no company to wait for.
            is_alone = self.predicting.asked_last == id(self)
            self.predicting.asked_last = id(self)
            is_scored_now = is_alone and len(exchange.rows) <= served.batcher.slice_rows
            if not is_scored_now:
                self._batcher = served.batcher
                deadline = request.started + self.predicting.limits.deadline_s
                served.batcher.enqueue(exchange.rows, deadline, done, is_gone=self.transport.is_closing)
        except Exception as error:  # refused in one place, whatever it is
            self._write(self.predicting.refuse(request, error))
            return
        if is_scored_now:
            served.batcher.score_now(exchange.rows, done)

    def _hand_over(self, request: PredictionRequest, body: bytes) -> None:
        """Let the usual road answer: an explanation takes long, and there what comes after it waits its turn."""
        self._answering = None
        self.headers = list(request.headers.items())  # where they are alike, those parsed are another request's
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
