"""Content types, methods, compression, tags, and connections that are kept."""

from __future__ import annotations

import gzip
import json
import random
import zlib

import httpx
import pytest

from prediction_api.bodies import decompress
from prediction_api.problems import Problem

PATH = "/models/flight_delay/predict"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        'Application/JSON; charset="UTF-8"',
        "application/vnd.shop+json",
    ],
)
def test_json_content_types_are_taken(client, row, content_type):
    response = client.post(PATH, content=json.dumps({"rows": [row]}), headers={"Content-Type": content_type})

    assert response.status_code == 200


def test_a_body_without_content_type_is_taken_as_json(client, row):
    request = client.build_request("POST", PATH, content=json.dumps({"rows": [row]}))
    request.headers.pop("content-type", None)

    assert client.send(request).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "application/octet-stream",
    ],
)
def test_other_content_types_are_a_415(client, row, content_type):
    response = client.post(PATH, content=json.dumps({"rows": [row]}), headers={"Content-Type": content_type})

    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("*/*", 200),
        ("application/*;q=0.5", 200),
        ("text/html, application/json;q=0.1", 200),
        ("text/html", 406),
        ("application/json;q=0", 406),
    ],
)
def test_accept_decides_whether_json_may_be_answered(client, row, accept, status):
    assert client.post(PATH, json={"rows": [row]}, headers={"Accept": accept}).status_code == status


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_prediction_route_takes_post_alone(client, method):
    response = client.request(method, PATH)

    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["code"] == "method_not_allowed"


def test_a_metadata_route_takes_get_and_head(client):
    posted = client.post("/models")

    assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")
    assert posted.json()["code"] == "method_not_allowed"
    assert client.head("/models").status_code == 200
    assert client.head("/models").content == b""


def test_a_405_names_every_method_of_its_path(client):
    patched = client.patch("/models/flight_delay/trial")

    assert (patched.status_code, patched.headers["allow"]) == (405, "DELETE, GET, PUT, HEAD")


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)]
)
def test_a_compressed_body_gives_the_same_answer(client, row, encoding, compress):
    plain = client.post(PATH, json={"rows": [row]}).json()["predictions"]
    response = client.post(
        PATH, content=compress(json.dumps({"rows": [row]}).encode()), headers={"Content-Encoding": encoding}
    )

    assert response.json()["predictions"] == plain


def test_an_unknown_encoding_is_a_415_that_says_which_are_known(client):
    response = client.post(PATH, content=b"x", headers={"Content-Encoding": "br"})

    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    "body",
    # Named, because gzip writes the time into its header: every process would call the case something else.
    [b"not gzip", gzip.compress(b"{}")[:-3], gzip.compress(b"{}") + b"more"],
    ids=["not gzip", "cut short", "more behind it"],
)
def test_a_broken_compressed_body_is_a_400(client, body):
    response = client.post(PATH, content=body, headers={"Content-Encoding": "gzip"})

    assert (response.status_code, response.json()["code"]) == (400, "malformed_encoding")


@pytest.mark.parametrize("size", [0, 1, 2**16 - 1, 2**16, 2**16 + 1, 4 * 2**16, 300_001])
@pytest.mark.parametrize("alphabet", [1, 256], ids=["repetitive", "random"])
def test_a_body_of_any_size_is_decompressed(size, alphabet):
    plain = bytes(random.Random(size).randrange(alphabet) for _ in range(size))

    assert decompress(gzip.compress(plain), b"gzip", 300_001) == plain
    with pytest.raises(Problem, match="300,000 bytes or fewer"):
        decompress(gzip.compress(plain.ljust(300_001)), b"gzip", 300_000)
    with pytest.raises(Problem, match="not one complete"):
        decompress(gzip.compress(plain) + b"x" * 2**17, b"gzip", 300_001)
    with pytest.raises(Problem, match="not one complete"):
        decompress(gzip.compress(plain)[:-9], b"gzip", 300_001)


def test_a_gzip_bomb_is_refused_at_the_bodys_limit(client):
    bomb = gzip.compress(bytes(200 * 2**20))
    assert len(bomb) < 2**20

    response = client.post(PATH, content=bomb, headers={"Content-Encoding": "gzip"})

    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_a_long_answer_is_compressed_for_a_client_that_takes_it(client, row):
    rows = {"rows": [row] * 500}
    packed = client.post(PATH, json=rows, headers={"Accept-Encoding": "gzip"})
    plain = client.post(PATH, json=rows, headers={"Accept-Encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json()["predictions"] == plain.json()["predictions"]


@pytest.mark.parametrize(
    "path", ["/models", "/models/flight_delay", "/models/flight_delay/versions/2", "/v2/models/flight_delay"]
)
def test_metadata_is_not_sent_again_to_a_client_that_has_it(client, path):
    first = client.get(path)
    again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    other = client.get(path, headers={"If-None-Match": '"something else"'})

    assert (first.status_code, again.status_code, other.status_code) == (200, 304, 200)
    assert again.content == b""


@pytest.mark.parametrize("request_id", ["a" * 129, "two words", 'quo"te', "", "line\tfeed"])
def test_a_request_id_of_other_than_plain_signs_is_replaced(client, row, request_id):
    response = client.post(PATH, json={"rows": [row]}, headers={"X-Request-ID": request_id})

    assert response.status_code == 200
    assert response.headers["x-request-id"] != request_id


def test_every_route_echoes_the_request_id(client):
    for path in ("/models", "/health/live", "/nothing", "/models/nothing", "/metrics"):
        assert client.get(path, headers={"X-Request-ID": "order-17"}).headers["x-request-id"] == "order-17"


def test_a_connection_is_kept_over_good_and_refused_requests(service, row):
    with httpx.Client(base_url=service.url, limits=httpx.Limits(max_connections=1), trust_env=False) as client:
        sockets = set()
        for body in ({"rows": [row]}, {"rows": []}, {"rows": [row]}):
            response = client.post(PATH, json=body)
            sockets.add(response.extensions["network_stream"].get_extra_info("client_addr"))
            assert "connection" not in response.headers

    assert len(sockets) == 1
