"""What eleven kinds of hostile clients cost the others: their 99th percentile before and during.

::

    python benchmarks/serving/hostile.py --home .aforo

The others are eight connections that send one row at a time; each of their answers must be right. The hostile client
is a process of its own; where it repeats itself it does so ten times a second, on a new connection each time.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import multiprocessing
import os
import resource
import socket
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

from contenders import own
from load_client import Exchange, ask, drive, headers_of, post
from server_process import running
from subject import Subject

BEFORE_S = DURING_S = 4.0
CONNECTIONS = 8
REPEATS_PER_S = 10

Connect = Callable[[], socket.socket]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".aforo"))
    parser.add_argument("--model", default="flight_delay")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--server-core", type=int, nargs="*", default=[0])
    parser.add_argument("--client-core", type=int, default=1)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.client_core})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(
        "| hostile clients | p99 ms before | during | times | requests/s before | during |\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(arguments.home, arguments.model, Path(folder))
        contender = own(subject, ["taskset", "-c", ",".join(map(str, arguments.server_core))], workers=1)
        with running(contender, subject) as server:
            exchanges = []
            for row in subject.rows[:16]:
                request = post(contender.path, json.dumps(contender.body([row])).encode(), contender.headers)
                exchanges.append(Exchange(request, ask(server.port, request)[1]))
            drive(server.port, exchanges, connections=CONNECTIONS, seconds=1)
            for name, behave in behaviours(contender.path, contender.headers, exchanges[0].request).items():
                if not arguments.only or name in arguments.only:
                    print(f"| {name} | {_measure(server.port, exchanges, behave)} |", flush=True)


def _measure(port: int, exchanges: list[Exchange], behave: Callable[[Connect, Event, Event], None]) -> str:
    before = drive(port, exchanges, connections=CONNECTIONS, seconds=BEFORE_S)
    at_work, enough = multiprocessing.Event(), multiprocessing.Event()

    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout=30)

    client = multiprocessing.Process(target=behave, args=(connect, at_work, enough))
    client.start()
    if not at_work.wait(60):
        raise RuntimeError("the hostile client could not start")
    during = drive(port, exchanges, connections=CONNECTIONS, seconds=DURING_S)
    enough.set()
    client.join(60)
    if before.unexpected or during.unexpected:
        raise RuntimeError(f"a good client was answered {(before.unexpected + during.unexpected)[0]!r}")
    if before.closed or during.closed:
        raise RuntimeError(f"{before.closed + during.closed} good clients were cut off")
    if client.exitcode != 0:
        raise RuntimeError(f"the hostile client ended with {client.exitcode}")
    was, became = before.percentile_s(99) * 1e3, during.percentile_s(99) * 1e3
    rates = f"{before.requests_per_s:,.0f} | {during.requests_per_s:,.0f}"
    return f"{was:.2f} | {became:.2f} | {became / was:.1f} | {rates}"


def behaviours(path: str, headers: dict[str, str], good: bytes) -> dict[str, Callable[[Connect, Event, Event], None]]:
    """Return name to what the hostile client does from its start until it is told that it is enough."""
    head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *headers_of(headers), ""]).encode()

    def sized(body: bytes, more: bytes = b"") -> bytes:
        return head + more + b"Content-Length: %d\r\n\r\n" % len(body) + body

    bomb = gzip.compress(bytes(10**9), 6)
    return {
        "slow headers, 200 connections": dripping(head, 200),
        "slow bodies, 200 connections": dripping(
            head + b"Content-Length: 10000\r\n\r\n" + b" " * 10_000, 200, at_once=500
        ),
        "half-closed after a request": repeated(good, half_close=True),
        "100,000 headers": repeated(head + b"X-Header: 1\r\n" * 100_000 + b"\r\n"),
        "a body of 1 GB announced": repeated(head + b"Content-Length: 1000000000\r\n\r\n" + b" " * 2**20),
        "JSON nested a million deep": repeated(sized(b'{"rows":' + b"[" * 1_000_000)),
        "a gzip bomb of 1 GB": repeated(sized(bomb, b"Content-Encoding: gzip\r\n")),
        "invalid UTF-8": repeated(sized(b'{"rows": [{"carrier": "\xff\xfe"}]}' * 100)),
        "100 pipelined requests": repeated(good * 100),
        "5,000 idle connections": idle(5_000),
        "8 MB of wrong values": repeated(sized(b'{"rows": [' + b'{"origin": "nowhere"},' * 360_000 + b"{}]}"), per_s=1),
    }


def repeated(
    message: bytes, *, half_close: bool = False, per_s: float = REPEATS_PER_S
) -> Callable[[Connect, Event, Event], None]:
    """Send the message, read what comes, and begin anew."""

    def behave(connect: Connect, at_work: Event, enough: Event) -> None:
        at_work.set()
        while not enough.wait(1 / per_s):
            with contextlib.suppress(ConnectionError, TimeoutError), connect() as connection:
                connection.settimeout(2)
                connection.sendall(message)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
                connection.recv(65_536)

    return behave


def dripping(message: bytes, count: int, *, at_once: int = 1) -> Callable[[Connect, Event, Event], None]:
    """Send the message byte by byte, one a second on each of many connections; open those anew that are closed."""

    def behave(connect: Connect, at_work: Event, enough: Event) -> None:
        sent = [0] * count
        connections = [connect() for _ in range(count)]
        at_work.set()
        while not enough.wait(1):
            for place in range(count):
                start = sent[place]
                sent[place] = start + (at_once if start == 0 else 1)
                try:
                    connections[place].sendall(message[start : sent[place]])
                except ConnectionError:
                    connections[place] = connect()
                    sent[place] = 0

    return behave


def idle(count: int) -> Callable[[Connect, Event, Event], None]:
    """Open connections, and send nothing."""

    def behave(connect: Connect, at_work: Event, enough: Event) -> None:
        connections = [connect() for _ in range(count)]
        time.sleep(1)
        at_work.set()
        enough.wait()
        for connection in connections:
            connection.close()

    return behave


if __name__ == "__main__":
    main()
