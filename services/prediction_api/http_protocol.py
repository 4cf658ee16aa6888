"""uvicorn's HTTP protocol with limits on what a client may do to it: large headers, slow sending, idle connections.

uvicorn bounds none of these itself. Times are checked by a sweep once a second, so that a request pays for two time
stamps and no timer.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from prediction_api.options import Limits
from prediction_api.problems import PROBLEM_JSON, Problem

_SWEEP_S = 1.0


class GuardedProtocol(HttpToolsProtocol):
    """One connection.

    Attributes
    ----------
    limits
        Set on a subclass.
    """

    limits: Limits

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._max_header_bytes = self.limits.max_header_bytes  # asked for once a header
        self._header_bytes = 0
        self._begun_at: float | None = time.monotonic()  # a connection that never sends is as slow as a request
        self._has_headers = False
        self._is_refused = False
        self._idle_since = time.monotonic()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse("overloaded", 503, "there are too many connections")

    def data_received(self, data: bytes) -> None:
        if not self._is_refused:
            super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection of a client that closes its own side once its request is sent, until it is answered."""
        if self._begun_at is not None or self.cycle is None or self.cycle.response_complete:
            return False
        self.cycle.keep_alive = False
        return True

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        if not self._is_refused:
            self._refuse("malformed_http", 400, "the request is not HTTP")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin()

    def _begin(self) -> None:
        self._header_bytes = 0
        self._begun_at = time.monotonic()
        self._has_headers = False

    def on_url(self, url: bytes) -> None:
        self._header_bytes += len(url)
        if self._header_bytes > self._max_header_bytes:
            self._refuse_headers()
        else:
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # What uvicorn does here, in one call: this runs once a header.
        self._header_bytes = so_far = self._header_bytes + len(name) + len(value) + 4
        if so_far > self._max_header_bytes:
            self._refuse_headers()
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._is_refused:
            return
        self._has_headers = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._begun_at = None
        if not self._is_refused:
            super().on_message_complete()

    def _refuse_headers(self) -> None:
        if not self._is_refused:
            self._refuse(
                "headers_too_large", 431, f"expected {self.limits.max_header_bytes:,} bytes of headers or fewer"
            )

    def sweep(self, now: float) -> None:
        """Refuse the request that takes too long to arrive; close what does not read its answer."""
        if self._is_refused:
            self.transport.abort()
        elif self._begun_at is not None:
            allowed_s = self.limits.body_timeout_s if self._has_headers else self.limits.header_timeout_s
            if now - self._begun_at > allowed_s:
                if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
                    self.transport.abort()
                elif not self._has_headers and not self._header_bytes:
                    self.transport.close()  # it never began to send
                else:
                    self._refuse("request_timeout", 408, f"the request took longer than {allowed_s:g} s to arrive")

        elif (
            self.timeout_keep_alive_task is None
            and now - self._idle_since > self.limits.keep_alive_s
            and (self.cycle is None or self.cycle.response_complete)
        ):
            self.transport.close()

    def _refuse(self, code: str, status: int, detail: str) -> None:
        """Answer without the application, and close."""
        self._is_refused = True
        if self.transport.is_closing():
            return
        body = Problem(code, detail).body("")
        self.transport.write(
            b"%bcontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINE[status], PROBLEM_JSON, len(body), body)
        )
        self.transport.close()


async def sweep_connections(state: ServerState) -> None:
    """Look at each connection once a second, until cancelled."""
    while True:
        await asyncio.sleep(_SWEEP_S)
        now = time.monotonic()
        for connection in tuple(state.connections):
            if isinstance(connection, GuardedProtocol):
                connection.sweep(now)
