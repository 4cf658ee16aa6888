"""The fast lane and the usual road give the same answers; what is not plain takes the usual road."""

from __future__ import annotations

import json
import random
import re
import socket
import time
from itertools import pairwise

import pytest

from prediction_api.api_keys import ApiKeysFile, new_key
from prediction_api.predicting import LONG_BODY_BYTES

GOOD = {"origin": "JFK", "distance": 500.5, "is_holiday": True}


def exchange(service, *parts, expect=1, ends=False, pause_s=0.0):
    """Send raw bytes; return status lines and bodies of the answers. Whoever ``ends`` says that nothing follows."""
    host, port = service.url.removeprefix("http://").split(":")
    answers = []
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_s)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        buffer = b""
        while len(answers) < expect:
            received = connection.recv(65_536)
            if not received:
                break
            buffer += received
            while (head := buffer.partition(b"\r\n\r\n"))[1]:
                length = int(re.search(rb"content-length: (\d+)", head[0]).group(1))
                if len(head[2]) < length:
                    break
                answers.append((int(head[0].split()[1]), head[0], head[2][:length]))
                buffer = head[2][length:]
    return answers


def request(body, path="/models/flight_delay/predict", *headers):
    lines = [f"POST {path} HTTP/1.1", "Host: x", "X-Request-ID: 1", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(body, path="/models/flight_delay/predict"):
    """A body in chunks takes the usual road."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", "X-Request-ID: 1", "Transfer-Encoding: chunked", "", ""]
    return "\r\n".join(lines).encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"rows": [GOOD]}, 200),
        ({"rows": [GOOD] * 40}, 200),
        ({"rows": [{**GOOD, "origin": "SFO"}]}, 422),
        ({"rows": []}, 422),
        ("not an object", 422),
    ],
    ids=lambda value: str(value)[:40],
)
def test_both_roads_give_the_same_answer(service, body, status):
    content = json.dumps(body).encode()
    (fast,) = exchange(service, request(content))
    (usual,) = exchange(service, chunked(content))

    assert (fast[0], fast[2]) == (usual[0], usual[2])
    assert fast[0] == status
    assert sorted(re.sub(rb"date: [^\r]*", b"", fast[1]).split(b"\r\n")) == sorted(
        re.sub(rb"date: [^\r]*", b"", usual[1]).split(b"\r\n")
    )


def test_pipelined_requests_are_answered_in_their_order(service):
    bodies = [json.dumps({"rows": [{**GOOD, "distance": distance}]}).encode() for distance in (1, 2, 3)]
    alone = [exchange(service, request(body))[0][2] for body in bodies]
    mixed = request(bodies[0]) + chunked(bodies[1]) + request(bodies[2])

    together = exchange(service, b"".join(request(body) for body in bodies), expect=3)
    roads = exchange(service, mixed, expect=3)

    assert [answer[2] for answer in together] == alone
    assert [answer[2] for answer in roads] == alone


@pytest.mark.parametrize("ends", [False, True], ids=["open", "half closed"])
def test_what_is_pipelined_behind_many_rows_is_answered_after_them(service, ends):
    """More rows than are scored at once wait for their turns, so the next request has come when they are answered."""
    many = json.dumps({"rows": [{**GOOD, "distance": distance} for distance in range(1_500)]}).encode()
    one, two = (json.dumps({"rows": [{**GOOD, "distance": distance}]}).encode() for distance in (1, 2))
    alone = [exchange(service, request(body))[0][2] for body in (many, one, two, many, two)]
    parts = [request(many), request(one), chunked(two), request(many), request(two)]

    together = exchange(service, b"".join(parts), expect=6 if ends else 5, ends=ends)

    assert len(many) < LONG_BODY_BYTES
    assert [answer[2] for answer in together] == alone


@pytest.mark.parametrize("seed", range(4))
def test_requests_that_begin_alike_are_told_apart_however_they_are_cut(service, seed):
    """Their heads are the same bytes, and read once; some come in one piece, some in several, some together."""
    bodies = [json.dumps({"rows": [{**GOOD, "distance": distance}]}).encode() for distance in range(100, 112)]
    alone = [exchange(service, chunked(body))[0][2] for body in bodies]
    messages = [chunked(body) if number % 5 == 4 else request(body) for number, body in enumerate(bodies)]
    chance = random.Random(seed)
    parts = []
    for message in messages * 2:
        cuts = sorted(chance.sample(range(1, len(message)), chance.choice([0, 0, 0, 1, 2])))
        pieces = [message[start:end] for start, end in pairwise([0, *cuts, len(message)])]
        if parts and chance.random() < 0.3:
            parts[-1] += pieces.pop(0)
        parts += pieces

    answers = exchange(service, *parts, expect=24, pause_s=0.005)

    assert [answer[2] for answer in answers] == alone * 2


def test_an_explanation_behind_requests_that_begin_alike_is_one(service):
    """It takes the usual road from there, with headers that are its own."""
    asked = {"rows": [GOOD], "explain": True}
    plain = request(json.dumps({"rows": [GOOD]}).encode())
    explained = request(json.dumps(asked).encode()).replace(b"X-Request-ID: 1", b"X-Request-ID: why")
    (alone,) = exchange(service, explained)

    answers = exchange(service, plain, plain, explained, plain, expect=4, pause_s=0.05)

    assert [b"explanation" in answer[2] for answer in answers] == [False, False, True, False]
    assert answers[2][2] == alone[2]
    assert b'"request_id":"why"' in answers[2][2]


# What a parser reads in another way than the head that it was put into.
FRAGMENTS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n ",
        b" ",
        b"\t",
        b":",
        b",",
        b"\0",
        b"\xff",
        b"0",
        b"1",
        b"x",
        b"GET",
        b"HTTP/1.0",
        b"%41",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\n",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(b"Content-Encoding: br\r\n", b"Upgrade: h2c\r\n", b"X-Request-ID: 2\r\n", b"Accept: text/html\r\n"),
)


def damaged(message, chance):
    head, end, body = message.partition(b"\r\n\r\n")
    head = bytearray(head + end)
    for _ in range(chance.choice([1, 1, 2])):
        starts = [0, *(found.end() for found in re.finditer(rb"\r\n|: ", bytes(head)))]
        at = chance.choice([chance.choice(starts), chance.randrange(len(head) + 1)])
        removed = chance.choice([0, 0, 1, 3])
        head[at : at + removed] = chance.choice([b"", *FRAGMENTS])
    return bytes(head) + body


@pytest.mark.parametrize("seed", range(4))
def test_a_head_is_read_the_same_behind_one_that_is_much_like_it(service, seed):
    """On a connection of its own it is parsed, whatever it is."""
    chance = random.Random(seed)
    body = json.dumps({"rows": [GOOD]}).encode()
    good = request(body, "/models/flight_delay/predict", "traceparent: 00-0af7-b7ad-01", "Accept: */*")
    for _ in range(50):
        message = damaged(good, chance)

        alone = exchange(service, message, expect=9, ends=True)
        first, second, *behind = exchange(service, good, good, message, expect=9, ends=True, pause_s=0.002)

        assert first[0] == second[0] == 200
        assert without_own_ids(behind) == without_own_ids(alone), message


def without_own_ids(answers):
    """Leave out the ids that the service chose itself."""
    return [(status, re.sub(rb"[0-9a-f]{12}-[0-9a-f]+", b"?", body)) for status, _, body in answers]


@pytest.mark.parametrize("before", [b"\r\n", b"\r\n\r\n"], ids=["one", "two"])
def test_empty_lines_before_a_request_are_no_head(service, before):
    """A server skips them (RFC 9112, section 2.2); what comes behind them is a head, and no body."""
    message = before + request(json.dumps({"rows": [GOOD]}).encode())
    answers = exchange(service, message, message, message, before, message, expect=4, pause_s=0.005)

    assert [answer[0] for answer in answers] == [200] * 4


def test_a_key_that_is_taken_away_is_refused_on_a_kept_connection(registry, run_service, tmp_path):
    first, second = new_key("first"), new_key("second")
    keys = tmp_path / "keys.json"
    keys.write_text(ApiKeysFile(keys=(first.entry, second.entry)).model_dump_json())
    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1")
    body = json.dumps({"rows": [GOOD]}).encode()
    message = request(body, "/models/flight_delay/predict", f"X-API-Key: {first.key}")
    with run_service(registry, api_keys_file=str(keys)) as service:
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:

            def status() -> bytes:
                connection.sendall(message)
                return connection.recv(65_536)[9:12]

            assert [status() for _ in range(3)] == [b"200"] * 3
            keys.write_text(ApiKeysFile(keys=(second.entry,)).model_dump_json())
            end = time.monotonic() + 20
            while (last := status()) == b"200" and time.monotonic() < end:
                time.sleep(0.05)

    assert last == b"401"


def test_a_request_that_comes_byte_by_byte_is_answered(service):
    message = request(json.dumps({"rows": [GOOD]}).encode())
    (answer,) = exchange(service, *(message[i : i + 1] for i in range(len(message))))

    assert answer[0] == 200


def test_a_client_that_asks_to_close_is_closed_after_its_answer(service):
    body = json.dumps({"rows": [GOOD]}).encode()
    answers = exchange(service, request(body, "/models/flight_delay/predict", "Connection: close"), expect=2)

    assert len(answers) == 1
    assert b"connection: close" in answers[0][1]


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(service):
    body = json.dumps({"rows": [GOOD]}).encode()
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head, _, _ = request(body, "/models/flight_delay/predict", "Expect: 100-continue").partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")


def test_an_escaped_path_names_the_same_model(service):
    body = json.dumps({"rows": [GOOD]}).encode()
    (plain,) = exchange(service, request(body))
    (escaped,) = exchange(service, request(body, "/models/flight%5fdelay/predict"))
    (queried,) = exchange(service, request(body, "/models/flight_delay/predict?trace=1"))

    assert plain[2] == escaped[2] == queried[2]
