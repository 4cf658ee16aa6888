"""Bad requests: each refused with its status, its code, and every bad value by JSON pointer."""

from __future__ import annotations

import json

import pytest

PATH = "/models/flight_delay/predict"


def post(client, body, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(PATH, content=content, headers={"Content-Type": "application/json", **headers})


def test_a_refusal_is_a_problem_document_with_the_requests_id(client):
    response = post(client, b"{", **{"X-Request-ID": "order-17"})

    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == "order-17"
    document = response.json()
    assert (document["status"], document["code"], document["request_id"]) == (400, "malformed_json", "order-17")
    assert document["type"] == "urn:aforo:problem:malformed_json"
    assert document["title"]
    assert document["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1, 2",
        b'{"rows": [}',
        b'{"rows": []} trailing',
        b"\xff\xfe",
        b'{"rows": [{"origin": "\xff"}]}',
        b'{"rows": [{"origin": "\\ud800"}]}',
        b'{"rows": [{"origin": "NaN\\ud800"}]}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"rows": [{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
        b"NaN" + b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_not_json_is_a_400(client, body):
    response = post(client, body)

    assert (response.status_code, response.json()["code"]) == (400, "malformed_json")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"origin": "SFO"}, "category_not_allowed"),
        ({"origin": 5}, "wrong_type"),
        ({"origin": None}, "null_not_allowed"),
        ({"origin": ""}, "null_not_allowed"),
        ({"origin": ["JFK"]}, "wrong_type"),
        ({"carrier": 1}, "wrong_type"),
        ({"distance": "500"}, "wrong_type"),
        ({"distance": True}, "wrong_type"),
        ({"distance": None}, "null_not_allowed"),
        ({"distance": -0.5}, "out_of_range"),
        ({"distance": 12_000.000001}, "out_of_range"),
        ({"distance": float("nan")}, "not_finite"),
        ({"distance": float("inf")}, "not_finite"),
        ({"distance": float("-inf")}, "not_finite"),
        ({"seats": 10.5}, "wrong_type"),
        ({"seats": "ten"}, "wrong_type"),
        ({"seats": 2**63}, "out_of_range"),
        ({"seats": 2**64 + 1}, "out_of_range"),
        ({"seats": -1}, "out_of_range"),
        ({"seats": {}}, "wrong_type"),
        ({"is_holiday": 1}, "wrong_type"),
        ({"is_holiday": "yes"}, "wrong_type"),
        ({"is_holiday": None}, "null_not_allowed"),
        ({"gate": 4}, "unknown_field"),
    ],
    ids=str,
)
def test_a_bad_value_is_named_by_its_pointer(client, row, pointers, change, code):
    response = post(client, {"rows": [row, {**row, **change}]})

    assert response.status_code == 422
    assert pointers(response) == [(f"/rows/1/{next(iter(change))}", code)]


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1" + b"0" * 400, b"1" + b"0" * 5_000])
def test_a_number_beyond_float64_is_not_finite(client, pointers, number):
    body = b'{"rows": [{"origin": "JFK", "distance": %b, "is_holiday": true}]}' % number
    response = post(client, body)

    assert response.status_code == 422
    assert pointers(response) == [("/rows/0/distance", "not_finite")]


def test_every_bad_field_of_every_row_is_listed(client, row, pointers):
    rows = [
        {"origin": "JFK", "is_holiday": False},
        row,
        {**row, "origin": "SFO", "seats": 5_000, "gate": "B4"},
        "no row",
    ]
    response = post(client, {"rows": rows})

    assert response.status_code == 422
    assert response.json()["error_count"] == 5
    assert sorted(pointers(response)) == [
        ("/rows/0/distance", "missing_field"),
        ("/rows/2/gate", "unknown_field"),
        ("/rows/2/origin", "category_not_allowed"),
        ("/rows/2/seats", "out_of_range"),
        ("/rows/3", "wrong_type"),
    ]


def test_a_message_says_what_was_expected_and_what_came(client, row):
    messages = [
        error["message"]
        for error in post(client, {"rows": [{**row, "origin": "SFO", "distance": 13_000}]}).json()["errors"]
    ]

    assert messages == ['expected one of EWR, JFK, LGA, got "SFO"', "expected a number from 0 to 12000 (mi), got 13000"]


def test_the_first_thousand_faults_are_listed_and_all_are_counted(client, row):
    document = post(client, {"rows": [{**row, "origin": "SFO"}] * 1_500}).json()

    assert (document["error_count"], len(document["errors"])) == (1_500, 1_000)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"rows": []}, [("/rows", "no_rows")]),
        ({"columns": ["origin", "distance", "is_holiday"], "data": []}, [("/rows", "no_rows")]),
        ([], [("", "wrong_type")]),
        (None, [("", "wrong_type")]),
        ({}, [("", "wrong_shape")]),
        ({"rows": {}}, [("/rows", "wrong_type")]),
        ({"rows": None}, [("/rows", "wrong_type")]),
        ({"rows": [], "columns": []}, [("", "wrong_shape")]),
        ({"rows": [], "threshold": 1}, [("/threshold", "unknown_field")]),
        ({"columns": ["origin"], "data": [["JFK"]]}, [("/columns", "missing_field")] * 2),
        ({"columns": ["origin", "origin", "distance", "is_holiday"], "data": []}, [("/columns/1", "repeated_field")]),
        ({"columns": ["gate", "origin", "distance", "is_holiday"], "data": []}, [("/columns/0", "unknown_field")]),
        ({"columns": "origin", "data": []}, [("/columns", "wrong_type")]),
        ({"columns": ["origin", "distance", "is_holiday"], "data": [["JFK", 1]]}, [("/data/0", "wrong_length")]),
        (
            {"columns": ["origin", "distance", "is_holiday"], "data": [["JFK", -1, 0]]},
            [("/data/0/1", "out_of_range"), ("/data/0/2", "wrong_type")],
        ),
        ({"columns": ["origin", "distance", "is_holiday"], "data": {}}, [("/data", "wrong_type")]),
    ],
    ids=str,
)
def test_a_body_of_the_wrong_shape_is_told_the_right_one(client, pointers, body, expected):
    response = post(client, body)

    assert response.status_code == 422
    assert pointers(response) == expected


def test_ten_megabytes_of_rows_are_too_large(client, row):
    body = json.dumps({"rows": [row] * (10 * 2**20 // len(json.dumps(row)) + 1)}).encode()
    assert len(body) >= 10 * 2**20

    response = post(client, body)

    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_too_many_rows_are_refused(client, row):
    short = {"origin": "JFK", "distance": 1, "is_holiday": True}
    response = post(client, {"rows": [short] * 10_001})

    assert (response.status_code, response.json()["code"]) == (413, "too_many_rows")


@pytest.mark.parametrize(
    "path",
    [
        "/models/no_such_model/predict",
        "/models/flight_delay/versions/99/predict",
        "/models/flight_delay/versions/one/predict",
        "/models/flight_delay/aliases/nobody/predict",
        "/v2/models/no_such_model/infer",
        "/models/no_such_model/invocations",
    ],
)
def test_a_model_version_or_alias_that_does_not_exist_is_a_404(client, row, path):
    response = client.post(path, json={"rows": [row]})

    assert (response.status_code, response.json()["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/models/flight_delay/versions", "/models//predict", "/predict", "/models/..%2f..%2fetc/predict"],
)
def test_a_route_that_does_not_exist_is_a_404_problem(client, path):
    response = client.get(path)

    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")


def test_the_service_still_answers_after_all_of_that(client, row):
    assert post(client, {"rows": [row]}).status_code == 200
