"""Open Inference Protocol v2 and MLflow's scoring protocol: the same numbers as our own, bit for bit."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

ROWS = [
    {"origin": "JFK", "carrier": "B6", "distance": 500.25, "seats": 10, "is_holiday": True},
    {"origin": "LGA", "carrier": None, "distance": 0.1, "seats": None, "is_holiday": False},
]
DATATYPES = {"origin": "BYTES", "carrier": "BYTES", "distance": "FP64", "seats": "INT64", "is_holiday": "BOOL"}


def tensors(rows, **changes):
    return [
        {"name": name, "shape": [len(rows), 1], "datatype": datatype, "data": [row[name] for row in rows]}
        | changes.get(name, {})
        for name, datatype in DATATYPES.items()
    ]


@pytest.fixture
def probabilities(client):
    """Give what our own protocol answers."""
    answer = client.post("/models/flight_delay/predict", json={"rows": ROWS}).json()
    return [list(prediction["probabilities"].values()) for prediction in answer["predictions"]]


def test_the_inference_protocol_gives_the_same_numbers(client, probabilities):
    answer = client.post("/v2/models/flight_delay/infer", json={"id": "order-17", "inputs": tensors(ROWS)}).json()

    outputs = {output["name"]: output for output in answer["outputs"]}
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("flight_delay", "1", "order-17")
    assert outputs["probabilities"]["datatype"] == "FP64"
    assert outputs["probabilities"]["shape"] == [2, 2]
    assert outputs["probabilities"]["data"] == [number for row in probabilities for number in row]
    assert outputs["label"] == {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["yes", "yes"]}
    assert outputs["abstained"]["data"] == [False, False]


def test_the_inference_protocol_takes_binary_tensors(client, probabilities):
    def texts(values):
        return b"".join(struct.pack("<I", len(value)) + value for value in values)

    parts = {
        "origin": texts([b"JFK", b"LGA"]),
        "carrier": texts([b"B6", b""]),
        "distance": np.array([500.25, 0.1]).tobytes(),
        "seats": np.array([10.0, np.nan]).tobytes(),
        "is_holiday": np.array([True, False]).tobytes(),
    }
    datatypes = DATATYPES | {"seats": "FP64"}
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "shape": [2, 1],
                    "datatype": datatypes[name],
                    "parameters": {"binary_data_size": len(part)},
                }
                for name, part in parts.items()
            ]
        }
    ).encode()
    response = client.post(
        "/v2/models/flight_delay/infer",
        content=head + b"".join(parts.values()),
        headers={"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"},
    )

    outputs = {output["name"]: output["data"] for output in response.json()["outputs"]}
    assert outputs["probabilities"] == [number for row in probabilities for number in row]


def test_the_inference_protocol_answers_only_the_outputs_that_are_wanted(client):
    answer = client.post(
        "/v2/models/flight_delay/versions/2/infer", json={"inputs": tensors(ROWS), "outputs": [{"name": "label"}]}
    ).json()

    assert answer["model_version"] == "2"
    assert [output["name"] for output in answer["outputs"]] == ["label"]


def test_the_inference_protocol_answers_a_regression(client):
    answer = client.post("/v2/models/minutes/infer", json={"inputs": tensors(ROWS[:1])}).json()

    outputs = {output["name"]: (output["shape"], output["data"]) for output in answer["outputs"]}
    assert outputs["value"] == ([1], [pytest.approx(2.50025)])
    assert outputs["interval"] == ([1, 2], [pytest.approx(1.50025), pytest.approx(3.50025)])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"inputs": []}, ("/inputs", "wrong_type")),
        ({"inputs": tensors(ROWS), "more": 1}, ("/more", "unknown_field")),
        ({"inputs": tensors(ROWS), "id": 5}, ("/id", "wrong_type")),
        ({"inputs": tensors(ROWS), "outputs": [{"name": "odds"}]}, ("/outputs/0/name", "unknown_field")),
        ({"inputs": tensors(ROWS)[1:]}, ("/inputs", "missing_field")),
        ({"inputs": [*tensors(ROWS), tensors(ROWS)[0]]}, ("/inputs/5/name", "repeated_field")),
        ({"inputs": tensors(ROWS, origin={"datatype": "FP32"})}, ("/inputs/0/datatype", "wrong_type")),
        ({"inputs": tensors(ROWS, origin={"datatype": "TEXT"})}, ("/inputs/0/datatype", "wrong_type")),
        ({"inputs": tensors(ROWS, origin={"shape": [2, 2]})}, ("/inputs/0/shape", "wrong_shape")),
        ({"inputs": tensors(ROWS, origin={"shape": [3, 1]})}, ("/inputs/0/data", "wrong_length")),
        ({"inputs": tensors(ROWS, origin={"data": ["JFK", "SFO"]})}, ("/inputs/0/data/1", "category_not_allowed")),
        ({"inputs": tensors(ROWS, distance={"data": [1, -1]})}, ("/inputs/2/data/1", "out_of_range")),
        (
            {"inputs": tensors(ROWS, distance={"parameters": {"binary_data_size": 16}})},
            ("/inputs/2/parameters/binary_data_size", "wrong_length"),
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_inference_request_is_told_where_and_in_the_protocols_own_words(client, pointers, body, expected):
    response = client.post("/v2/models/flight_delay/infer", json=body)

    assert response.status_code == 422
    assert expected in pointers(response)
    assert response.json()["error"] == response.json()["detail"]


def test_the_inference_protocol_describes_server_and_model(client):
    assert client.get("/v2").json()["name"] == "aforo"
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/health/ready").status_code == 200
    assert client.get("/v2/models/flight_delay/ready").json() == {"name": "flight_delay", "ready": True}
    assert client.get("/v2/models/flight_delay/versions/2/ready").status_code == 200
    assert client.get("/v2/models/nothing/ready").status_code == 404
    metadata = client.get("/v2/models/flight_delay").json()
    assert {tensor["name"]: tensor["datatype"] for tensor in metadata["inputs"]} == DATATYPES
    assert [tensor["name"] for tensor in metadata["outputs"]] == ["probabilities", "label", "confidence", "abstained"]
    assert metadata["versions"] == ["1", "2", "3"]


COLUMNS = list(ROWS[0])


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": COLUMNS, "data": [list(row.values()) for row in ROWS], "index": [0, 1]}},
        {"dataframe_records": ROWS},
        {"instances": ROWS},
        {"inputs": {name: [row[name] for row in ROWS] for name in COLUMNS}},
        {"inputs": ROWS},
        {"dataframe_records": ROWS, "params": None},
    ],
    ids=lambda body: next(iter(body)),
)
def test_each_shape_of_mlflows_protocol_gives_the_same_numbers(client, probabilities, body):
    answer = client.post("/models/flight_delay/invocations", json=body).json()

    assert answer == {
        "predictions": [{"probability_no": no, "probability_yes": yes, "label": "yes"} for no, yes in probabilities]
    }


def test_mlflows_nan_is_a_missing_value_where_one_may_be_missing(client, probabilities, pointers):
    optional = json.dumps({"instances": [{**ROWS[1], "seats": float("nan")}]})
    required = json.dumps({"instances": [{**ROWS[1], "distance": float("nan")}]})
    headers = {"Content-Type": "application/json"}

    taken = client.post("/models/flight_delay/invocations", content=optional, headers=headers).json()["predictions"]
    refused = client.post("/models/flight_delay/invocations", content=required, headers=headers)

    assert taken[0]["probability_yes"] == probabilities[1][1]
    assert pointers(refused) == [("/instances/0/distance", "null_not_allowed")]


def test_mlflows_protocol_answers_versions_aliases_and_a_regression(client):
    body = {"instances": ROWS[:1]}
    by_version = client.post("/models/flight_delay/versions/2/invocations", json=body).json()
    by_alias = client.post("/models/flight_delay/aliases/challenger/invocations", json=body).json()
    regression = client.post("/models/minutes/invocations", json=body).json()

    assert by_version == by_alias
    assert regression["predictions"] == [
        {"value": pytest.approx(2.50025), "lower": pytest.approx(1.50025), "upper": pytest.approx(3.50025)}
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ("", "wrong_shape")),
        ([], ("", "wrong_shape")),
        ({"instances": ROWS, "inputs": ROWS}, ("", "wrong_shape")),
        ({"instances": 5}, ("/instances", "wrong_type")),
        ({"instances": [5]}, ("/instances/0", "wrong_type")),
        ({"instances": []}, ("/rows", "no_rows")),
        ({"instances": ROWS, "params": {"a": 1}}, ("/params", "unknown_field")),
        ({"instances": [{**ROWS[0], "gate": 1}]}, ("/instances/0/gate", "unknown_field")),
        ({"dataframe_records": [{"origin": "JFK"}]}, ("/dataframe_records/0/distance", "missing_field")),
        ({"dataframe_split": {"columns": COLUMNS, "data": [[1]]}}, ("/dataframe_split/data/0", "wrong_length")),
        ({"dataframe_split": {"columns": COLUMNS[1:], "data": []}}, ("/dataframe_split/columns", "missing_field")),
        ({"inputs": {"origin": ["JFK"]}}, ("/inputs/distance", "missing_field")),
        ({"inputs": dict.fromkeys(COLUMNS, "JFK")}, ("/inputs/origin", "wrong_type")),
        ({"inputs": {name: ["JFK"] * (1 + (name == "origin")) for name in COLUMNS}}, ("/inputs", "wrong_length")),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_scoring_request_is_told_where_and_in_mlflows_own_words(client, pointers, body, expected):
    response = client.post("/models/flight_delay/invocations", json=body)

    assert response.status_code == 422
    assert expected in pointers(response)
    assert response.json()["error_code"] == "BAD_REQUEST"
    assert response.json()["message"] == response.json()["detail"]
