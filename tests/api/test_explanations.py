"""Explained answers: what they say, what they cost others, and what is refused."""

from __future__ import annotations

import json
import select
import socket

import pytest

ASKED = {"origin": "LGA", "carrier": "AA", "distance": 2_000, "seats": 4, "is_holiday": False}


def explained(client, path, rows, explain=True, **headers):
    answer = client.post(path, json={"rows": rows, "explain": explain}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def test_a_sum_of_columns_is_explained_by_its_summands(client):
    (prediction,) = explained(client, "/models/minutes/predict", [ASKED])

    # Against the mean of the three golden rows: an airport of -1/3, 1000/3 miles, 20/3 seats, 2/3 of a holiday.
    assert prediction["explanation"]["contributions"] == pytest.approx(
        {
            "origin": 1 + 1 / 3,
            "carrier": 0.0,
            "distance": 2 - 1 / 3,
            "seats": 0.1 * (4 - 20 / 3),
            "is_holiday": -2 / 3,
        }
    )
    assert prediction["explanation"]["of"] == "late"
    assert (prediction["explanation"]["scale"], prediction["explanation"]["rest"]) == ("value", 0.0)
    assert prediction["explanation"]["output"] == prediction["value"]


@pytest.mark.parametrize("method", ["shapley", "baseline"])
@pytest.mark.parametrize(
    ("path", "of"), [("flight_delay", "yes"), ("outcome", "never")], ids=["two classes", "three classes"]
)
def test_an_explanation_adds_up_to_the_probability_that_was_answered(client, path, of, method):
    for prediction in explained(client, f"/models/{path}/predict", [ASKED] * 3, {"method": method}):
        why = prediction["explanation"]
        total = why["baseline"] + sum(why["contributions"].values()) + why["rest"]

        assert (why["method"], why["of"], why["scale"]) == (method, of, "probability")
        assert why["output"] == prediction["probabilities"][of]
        assert total == pytest.approx(why["output"], abs=1e-9)


def test_the_typical_row_is_what_the_baseline_method_compares_with(client, row, by_hand):
    (prediction,) = explained(client, "/models/flight_delay/predict", [ASKED], {"method": "baseline"})

    assert prediction["explanation"]["baseline"] == pytest.approx(by_hand(row, 1.0))
    assert prediction["explanation"]["standard_errors"] is None


def test_an_explained_answer_is_the_answer_with_an_explanation(client, row):
    names = list(row)
    plain = client.post("/models/flight_delay/predict", json={"rows": [row]}).json()["predictions"][0]
    forms = (
        {"rows": [row], "explain": True},
        {"columns": names, "data": [[row[name] for name in names]], "explain": {"method": "shapley"}},
        {"explain": True, "rows": [row]},
    )
    answers = [client.post("/models/flight_delay/predict", json=form).json()["predictions"][0] for form in forms]

    assert answers[0] == answers[1] == answers[2]
    assert answers[0].pop("explanation")["contributions"].keys() == row.keys()
    assert answers[0] == plain
    assert list(plain)[-1] == "abstain_reason"
    assert (
        "explanation"
        not in client.post("/models/flight_delay/predict", json={"rows": [row], "explain": False}).json()[
            "predictions"
        ][0]
    )


def test_a_row_on_which_the_model_abstains_is_explained_too(client):
    unsure = {"origin": "JFK", "distance": 0, "is_holiday": False}
    (prediction,) = explained(client, "/models/flight_delay/versions/3/predict", [unsure])

    assert prediction["abstained"]
    assert prediction["explanation"]["output"] == 0.5


def test_what_is_wrong_with_a_request_for_explanations_is_said(client, row, pointers):
    def refused(explain):
        return pointers(client.post("/models/flight_delay/predict", json={"rows": [row], "explain": explain}))

    assert refused("yes") == [("/explain", "wrong_type")]
    assert refused({"method": "lime"}) == [("/explain/method", "category_not_allowed")]
    assert refused({"of": "yes"}) == [("/explain/of", "unknown_field")]
    assert refused(None) == [("/explain", "wrong_type")]


def test_more_rows_than_can_be_explained_are_refused_and_predicted_without(client, row):
    many = {"rows": [row] * 101}
    refused = client.post("/models/flight_delay/predict", json={**many, "explain": True})

    assert (refused.status_code, refused.json()["code"]) == (413, "too_many_rows")
    assert "expected 100 or fewer" in refused.json()["detail"]
    assert client.post("/models/flight_delay/predict", json=many).status_code == 200


def test_a_version_that_was_made_without_a_background_predicts_and_does_not_explain(registry, run_service, row):
    registry.add("flight_delay", "1", explainable=False)
    registry.point("flight_delay", champion="1")
    with run_service(registry) as service, service.client() as client:
        plain = client.post("/models/flight_delay/predict", json={"rows": [row]})
        refused = client.post("/models/flight_delay/predict", json={"rows": [row], "explain": True})
        examples = client.get("/openapi.json").json()["paths"]["/models/flight_delay/predict"]["post"]["requestBody"]

    assert plain.status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (422, "not_explainable")
    assert "explained" not in examples["content"]["application/json"]["examples"]


def test_an_explanation_beyond_the_deadline_is_refused(registry, run_service, row):
    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1")
    with run_service(registry, limits={"deadline_s": 0.02}) as service, service.client() as client:
        refused = client.post("/models/flight_delay/predict", json={"rows": [row] * 100, "explain": True})
        plain = client.post("/models/flight_delay/predict", json={"rows": [row]})

    assert (refused.status_code, refused.json()["code"]) == (503, "deadline_exceeded")
    assert "baseline" in refused.json()["detail"]
    assert plain.status_code == 200


def test_explanations_are_counted(client, row):
    before = counts(client)
    explained(client, "/models/outcome/predict", [row] * 3)
    explained(client, "/models/outcome/predict", [row], {"method": "baseline"})

    after = counts(client)
    assert [after[method] - before[method] for method in ("shapley", "baseline")] == [3, 1]


def counts(client):
    lines = client.get("/metrics").text.splitlines()
    found = dict.fromkeys(("shapley", "baseline"), 0)
    for method in found:
        for line in lines:
            if line.startswith(f'aforo_explained_rows_total{{model="outcome",version="1",method="{method}"}}'):
                found[method] = int(line.split()[-1])
    return found


def message(body):
    content = json.dumps(body).encode()
    return b"POST /models/flight_delay/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (
        len(content),
        content,
    )


def test_others_are_answered_while_a_hundred_rows_are_explained(service, client, row):
    def overtakes() -> bool:
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as long:
            long.sendall(message({"rows": [row] * 100, "explain": True}))
            assert client.post("/models/flight_delay/predict", json={"rows": [row]}).status_code == 200
            is_first = not select.select([long], [], [], 0)[0]
            assert long.recv(65_536).startswith(b"HTTP/1.1 200")
            return is_first

    # On a busy machine this process may look too late, but not every time.
    assert any(overtakes() for _ in range(20))


def test_what_is_pipelined_behind_an_explanation_is_answered_after_it(service, row):
    host, port = service.url.removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(message({"rows": [row], "explain": True}) + message({"rows": [row]}))
        while received.count(b'"predictions"') < 2:
            received += connection.recv(65_536)

    first, second = received.split(b"HTTP/1.1 200")[1:]
    assert b'"explanation"' in first
    assert b'"explanation"' not in second


def test_an_explained_request_counts_once_against_its_keys_rate(registry, run_service, tmp_path, row):
    from prediction_api.api_keys import ApiKeysFile, new_key

    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1")
    key = new_key("web shop", requests_per_s=0.01)
    keys = tmp_path / "keys.json"
    keys.write_text(ApiKeysFile(keys=(key.entry,)).model_dump_json())
    with run_service(registry, api_keys_file=str(keys)) as service, service.client() as client:
        statuses = [
            client.post(
                "/models/flight_delay/predict", json={"rows": [row], "explain": True}, headers={"X-API-Key": key.key}
            ).status_code
            for _ in range(2)
        ]

    assert statuses == [200, 429]
