"""Good requests, and the numbers they are answered with."""

from __future__ import annotations

import math

import pytest


def test_a_row_is_answered_with_the_probability_worked_out_by_hand(client, row, by_hand):
    answer = client.post("/models/flight_delay/predict", json={"rows": [row]}).json()

    yes = answer["predictions"][0]["probabilities"]["yes"]
    assert math.isclose(yes, by_hand(row, 1.0), rel_tol=1e-12)


def test_the_answer_has_model_version_request_id_and_one_prediction_a_row(client, row):
    response = client.post(
        "/models/flight_delay/predict",
        json={"rows": [row, {**row, "origin": "EWR", "distance": 0, "is_holiday": False, "seats": None}]},
        headers={"X-Request-ID": "order-17"},
    )

    answer = response.json()
    assert list(answer) == ["model", "version", "request_id", "predictions"]
    assert (answer["model"], answer["version"], answer["request_id"]) == ("flight_delay", "1", "order-17")
    assert response.headers["x-request-id"] == "order-17"
    assert [prediction["label"] for prediction in answer["predictions"]] == ["yes", "no"]
    for prediction in answer["predictions"]:
        assert list(prediction) == ["probabilities", "label", "confidence", "abstained", "abstain_reason"]
        assert prediction["confidence"] == max(prediction["probabilities"].values())
        assert (prediction["abstained"], prediction["abstain_reason"]) == (False, None)


def test_a_request_without_an_id_is_given_one_of_its_own(client, row):
    first, second = (client.post("/models/flight_delay/predict", json={"rows": [row]}) for _ in range(2))

    assert first.json()["request_id"] == first.headers["x-request-id"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "version", "weight"),
    [
        ("/models/flight_delay/predict", "1", 1.0),
        ("/models/flight_delay/aliases/champion/predict", "1", 1.0),
        ("/models/flight_delay/aliases/challenger/predict", "2", 2.0),
        ("/models/flight_delay/versions/1/predict", "1", 1.0),
        ("/models/flight_delay/versions/2/predict", "2", 2.0),
    ],
)
def test_each_route_is_answered_by_the_version_it_names(client, row, by_hand, path, version, weight):
    answer = client.post(path, json={"rows": [row]}).json()

    assert answer["version"] == version
    assert math.isclose(answer["predictions"][0]["probabilities"]["yes"], by_hand(row, weight), rel_tol=1e-12)


def test_columns_and_data_give_the_same_answers_as_rows_in_any_order_of_columns(client, row):
    rows = [{**row, "distance": distance} for distance in (0, 1, 2.5, 11_999)]
    names = ["seats", "is_holiday", "distance", "origin", "carrier"]
    by_rows = client.post("/models/flight_delay/predict", json={"rows": rows})
    by_columns = client.post(
        "/models/flight_delay/predict",
        json={"columns": names, "data": [[row[name] for name in names] for row in rows]},
    )

    assert by_columns.json()["predictions"] == by_rows.json()["predictions"]


def test_a_missing_value_is_the_same_as_null_as_an_empty_string_and_as_an_absent_field(client, row):
    absent = {key: value for key, value in row.items() if key not in ("carrier", "seats")}
    nulls = {**row, "carrier": None, "seats": None}
    empty = {**row, "carrier": "", "seats": None}
    predictions = client.post("/models/flight_delay/predict", json={"rows": [absent, nulls, empty]}).json()

    assert predictions["predictions"][0] == predictions["predictions"][1] == predictions["predictions"][2]


def test_a_batch_gives_each_row_what_it_gets_alone(client, row):
    rows = [{**row, "distance": 3.5 * i, "seats": i % 9, "origin": "EWR" if i % 3 else "LGA"} for i in range(3_000)]
    together = client.post("/models/flight_delay/predict", json={"rows": rows}).json()["predictions"]

    for place in (0, 1, 1_023, 1_024, 2_999):
        alone = client.post("/models/flight_delay/predict", json={"rows": [rows[place]]}).json()["predictions"]
        assert alone == [together[place]]


def test_a_model_of_several_classes_answers_the_most_probable_one(client, row):
    prediction = client.post("/models/outcome/predict", json={"rows": [row]}).json()["predictions"][0]

    z = 0.5 + 1 + 0 + 0.1 * 10
    scores = [math.exp(value) for value in (0, z, 2 * z)]
    expected = [score / sum(scores) for score in scores]
    assert list(prediction["probabilities"]) == ["early", "late", "never"]
    assert list(prediction["probabilities"].values()) == pytest.approx(expected, rel=1e-12)
    assert prediction["label"] == "never"


def test_a_regression_answers_a_value_and_its_interval(client, row):
    prediction = client.post("/models/minutes/predict", json={"rows": [row]}).json()["predictions"][0]

    assert prediction == {
        "value": 2.5,
        "interval": {"lower": 1.5, "upper": 3.5},
        "abstained": False,
        "abstain_reason": None,
    }


def test_a_model_abstains_where_its_highest_probability_is_below_the_contracts_bound(client, row):
    sure = {**row, "distance": 4_000}
    unsure = {"origin": "JFK", "distance": 0, "is_holiday": False}
    answers = client.post("/models/flight_delay/versions/3/predict", json={"rows": [sure, unsure]}).json()

    certain, uncertain = answers["predictions"]
    assert (certain["label"], certain["abstained"]) == ("yes", False)
    assert (uncertain["label"], uncertain["abstained"]) == (None, True)
    assert uncertain["abstain_reason"] == "low_confidence"
    assert uncertain["probabilities"] == {"no": 0.5, "yes": 0.5}
    assert (certain["abstain_below"], uncertain["abstain_below"]) == (0.8, 0.8)
    assert uncertain["confidence"] < uncertain["abstain_below"] <= certain["confidence"]


def test_a_regression_abstains_where_its_interval_is_wider_than_the_contracts_bound(client, row):
    (prediction,) = client.post("/models/minutes/versions/2/predict", json={"rows": [row]}).json()["predictions"]

    assert prediction == {
        "value": None,
        "interval": {"lower": 1.5, "upper": 3.5},
        "abstained": True,
        "abstain_reason": "wide_interval",
        "abstain_above": 1.5,
    }


def test_an_integral_float_is_an_integer(client, row):
    whole, fraction = (
        client.post("/models/flight_delay/predict", json={"rows": [{**row, "seats": seats}]}) for seats in (10.0, 10.5)
    )

    assert (
        whole.json()["predictions"]
        == client.post("/models/flight_delay/predict", json={"rows": [row]}).json()["predictions"]
    )
    assert fraction.status_code == 422
