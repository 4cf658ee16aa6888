"""A closed-loop HTTP load client that costs little enough to measure fast servers: raw sockets, requests built before.

Each connection sends a request, waits for the whole answer, compares its end with the reference of that request, and
sends the next one. An answer whose bytes differ is kept, and judged after the clock has stopped.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

# Python asks for as much memory before each look; a much larger piece may have to be mapped anew each time.
_MOST_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Exchange:
    """A request with the body of the answer that is expected, which is not empty."""

    request: bytes
    answer: bytes


@dataclass
class Load:
    """What was measured.

    Attributes
    ----------
    latencies_s
        One a request, unordered.
    unexpected
        ``(index of the exchange, status line, body)`` of answers that differ from the reference.
    closed
        Kept connections that the server closed without an answer; the request was sent again on a new one.
    """

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    unexpected: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    closed: int = 0

    @property
    def requests_per_s(self) -> float:
        return len(self.latencies_s) / self.seconds

    def percentile_s(self, percent: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return the bytes of a POST request on a kept connection."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers_of(headers)]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def headers_of(headers: dict[str, str]) -> list[str]:
    return [f"{name}: {value}" for name, value in headers.items()]


class _Connection:
    __slots__ = ("buffer", "index", "needed", "sent_at", "socket")

    def __init__(self, port: int, index: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.index = index
        self.buffer = b""
        self.needed = 0
        self.sent_at = 0.0

    def is_complete(self, buffer: bytes) -> bool:
        """Tell whether ``buffer``, received since the request was sent, is a whole answer."""
        if not self.needed:
            self.needed = _needed(buffer)
        return _is_complete(buffer, self.needed)


def ask(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Send one request; return status line and body."""
    connection = _Connection(port, 0)
    connection.socket.settimeout(60)
    connection.socket.sendall(request)
    buffer = b""
    while True:
        received = connection.socket.recv(1 << 20)
        buffer += received
        complete = _complete(buffer)
        if complete or not received:
            connection.socket.close()
            return buffer.partition(b"\r\n")[0], _body(buffer)


def drive(
    port: int, exchanges: Sequence[Exchange], *, connections: int, seconds: float, stays_awake: bool = False
) -> Load:
    """Keep ``connections`` busy for ``seconds``.

    Parameters
    ----------
    stays_awake
        Look for answers without sleeping. A sleeping client has to be woken for an answer, by the server's core and for
        as long as a fast server takes to make one. For a client with a core of its own.
    """
    load = Load()
    poll = select.epoll()
    by_number: dict[int, _Connection] = {}
    for place in range(connections):
        connection = _Connection(port, place % len(exchanges))
        by_number[connection.socket.fileno()] = connection
        poll.register(connection.socket.fileno(), select.EPOLLIN)
    now = time.perf_counter
    latencies = load.latencies_s
    started = now()
    end = started + seconds
    for connection in by_number.values():
        connection.sent_at = now()
        connection.socket.sendall(exchanges[connection.index].request)
    open_requests = connections
    while open_requests:
        for number, _ in poll.poll(0 if stays_awake else None):
            connection = by_number[number]
            try:
                received = connection.socket.recv(_MOST_AT_ONCE)
            except ConnectionError:
                received = b""
            if not received:
                load.closed += 1
                poll.unregister(number)
                connection.socket.close()
                del by_number[number]
                again = _Connection(port, connection.index)
                again.sent_at = connection.sent_at
                by_number[again.socket.fileno()] = again
                poll.register(again.socket.fileno(), select.EPOLLIN)
                again.socket.sendall(exchanges[again.index].request)
                continue
            buffer = connection.buffer + received if connection.buffer else received
            index = connection.index
            is_expected = buffer.endswith(exchanges[index].answer)
            if not is_expected and not connection.is_complete(buffer):
                connection.buffer = buffer
                continue
            at = now()
            sent_at = connection.sent_at
            connection.index = index + 1 if index + 1 < len(exchanges) else 0
            if at < end:
                connection.sent_at = at
                connection.socket.sendall(exchanges[connection.index].request)
            else:
                open_requests -= 1
            # The rest is done while the server is at work on the next request.
            latencies.append(at - sent_at)
            connection.buffer = b""
            connection.needed = 0
            if not is_expected:
                load.unexpected.append((index, buffer.partition(b"\r\n")[0], _body(buffer)))
    load.seconds = now() - started
    for connection in by_number.values():
        connection.socket.close()
    poll.close()
    return load


_CHUNKED = -1


def _needed(buffer: bytes) -> int:
    """Return how long the whole answer is; 0 if that is not known yet, -1 if it is chunked."""
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        return 0
    head = buffer[:head_end].lower()
    place = head.find(b"content-length:")
    if place < 0:
        return _CHUNKED
    return head_end + 4 + int(head[place + 15 :].split(b"\r\n", 1)[0])


def _is_complete(buffer: bytes, needed: int) -> bool:
    if needed == _CHUNKED:
        return buffer.endswith(b"0\r\n\r\n")
    return 0 < needed <= len(buffer)


def _complete(buffer: bytes) -> bool:
    return _is_complete(buffer, _needed(buffer))


def _body(buffer: bytes) -> bytes:
    head, _, body = buffer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return body
    plain = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        plain += body[:length]
        body = body[length + 2 :]
        if not length:
            break
    return plain
