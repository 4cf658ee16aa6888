"""Clients that send slowly, too much, or nothing: they are turned away, and others are served meanwhile."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

import pytest

BODY = json.dumps({"rows": [{"origin": "JFK", "distance": 500, "is_holiday": True}]}).encode()
HEAD = b"POST /models/flight_delay/predict HTTP/1.1\r\nHost: x\r\n"
GOOD = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture(scope="module")
def impatient(shared_registry, run_service):
    """A service with short patience and few connections."""
    limits = {"header_timeout_s": 1.0, "body_timeout_s": 1.5, "keep_alive_s": 2.0, "max_connections": 200}
    with run_service(shared_registry, limits=limits) as service:
        yield service


@contextlib.contextmanager
def connected(service):
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=15) as connection:
        yield connection


def read_all(connection):
    """Read until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def drip(connection, data, seconds):
    """Send ``data`` one byte at a time until the connection breaks or it is all sent."""
    with contextlib.suppress(OSError):
        for place in range(len(data)):
            connection.sendall(data[place : place + 1])
            time.sleep(seconds)


def is_served(service):
    with connected(service) as connection:
        connection.sendall(GOOD)
        return connection.recv(65_536).startswith(b"HTTP/1.1 200")


def test_headers_that_come_too_slowly_are_a_408(impatient):
    with connected(impatient) as connection:
        threading.Thread(target=drip, args=(connection, HEAD + b"X: " + b"x" * 1_000, 0.05), daemon=True).start()
        answer = read_all(connection)

    assert answer.startswith(b"HTTP/1.1 408")
    assert is_served(impatient)


@pytest.mark.parametrize("length", [len(BODY), 200_000])
def test_a_body_that_comes_too_slowly_is_a_408(impatient, length):
    with connected(impatient) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n{" % length)
        answer = read_all(connection)

    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"request_timeout"' in answer
    assert is_served(impatient)


def test_a_connection_that_never_sends_is_closed(impatient):
    with connected(impatient) as connection:
        started = time.monotonic()
        assert read_all(connection) == b""

    assert time.monotonic() - started < 5


def test_an_idle_connection_is_closed_after_a_while(impatient):
    with connected(impatient) as connection:
        connection.sendall(GOOD)
        started = time.monotonic()
        assert read_all(connection).startswith(b"HTTP/1.1 200")

    assert 1.5 < time.monotonic() - started < 6


def test_a_hundred_thousand_headers_are_a_431(impatient):
    with connected(impatient) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(HEAD + b"".join(b"X-%d: y\r\n" % i for i in range(100_000)) + b"\r\n")
        answer = read_all(connection)

    assert answer.startswith(b"HTTP/1.1 431") or answer == b""  # the kernel may drop it with the unread rest
    assert is_served(impatient)


def test_a_long_path_is_a_431(impatient):
    with connected(impatient) as connection:
        connection.sendall(b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 431")


def test_a_gigabyte_announced_is_refused_before_it_is_sent(impatient):
    with connected(impatient) as connection:
        connection.sendall(HEAD + b"Content-Length: 1073741824\r\n\r\n")
        answer = read_all(connection)

    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer


def test_a_body_in_chunks_without_end_is_refused_at_the_limit(impatient):
    sent = 0
    with connected(impatient) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
        with contextlib.suppress(OSError):
            for _ in range(1_000):
                connection.sendall(chunk)
                sent += 65_536
        answer = read_all(connection)

    assert sent < 40 * 2**20
    assert answer.startswith(b"HTTP/1.1 413") or answer == b""
    assert is_served(impatient)


@pytest.mark.parametrize(
    "message",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_not_http_is_a_400_problem(impatient, message):
    with connected(impatient) as connection:
        connection.sendall(message)
        answer = connection.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in answer


@pytest.mark.parametrize("more", [b"", b"Content-Encoding: identity\r\n"], ids=["fast lane", "usual road"])
def test_a_half_closed_connection_is_answered_and_closed(impatient, more):
    with connected(impatient) as connection:
        connection.sendall(GOOD.replace(b"Host", more + b"Host"))
        connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)

    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["version"] == "1"
    assert is_served(impatient)


def test_a_connection_half_closed_before_the_request_is_complete_is_closed(impatient):
    with connected(impatient) as connection:
        connection.sendall(GOOD[:-3])
        connection.shutdown(socket.SHUT_WR)

        assert read_all(connection) == b""


def test_clients_that_leave_without_their_answer_leave_nothing_behind(impatient):
    for _ in range(50):
        with connected(impatient) as connection:
            connection.sendall(GOOD)
    assert is_served(impatient)
    with impatient.client() as client:
        impatient.wait_until(lambda _: 'aforo_waiting_rows{worker="0"} 0' in client.get("/metrics").text)


def test_connections_beyond_the_limit_are_told_so(impatient):
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connected(impatient)) for _ in range(230)]
        connections[-1].settimeout(5)
        answer = connections[-1].recv(65_536)
        assert answer.startswith(b"HTTP/1.1 503")
    impatient.wait_until(lambda client: client.get("/health/live").status_code == 200)


def test_a_reader_that_does_not_read_holds_up_nobody_else(impatient):
    rows = json.dumps({"rows": [{"origin": "JFK", "distance": 500, "is_holiday": True}] * 5_000}).encode()
    message = HEAD + b"Content-Length: %d\r\n\r\n" % len(rows) + rows
    with connected(impatient) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        with contextlib.suppress(OSError):
            connection.settimeout(1)
            for _ in range(20):
                connection.sendall(message)
        started = time.monotonic()
        assert is_served(impatient)
        assert time.monotonic() - started < 2


def test_a_long_body_of_wrong_values_holds_up_nobody_else(impatient):
    rows = json.dumps(
        {"rows": [{"origin": "nowhere", "distance": -1, "is_holiday": 3, "seats": "x"}] * 100_000}
    ).encode()
    message = HEAD + b"Content-Length: %d\r\n\r\n" % len(rows) + rows
    served = 0
    with connected(impatient) as slow, connected(impatient) as quick:
        slow.sendall(message)
        slow.setblocking(False)
        while True:
            try:
                answer = slow.recv(100)
                break
            except BlockingIOError:
                quick.sendall(GOOD)
                assert quick.recv(65_536).startswith(b"HTTP/1.1 200")
                served += 1

    assert answer.startswith(b"HTTP/1.1 422")
    assert served >= 20
