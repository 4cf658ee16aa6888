"""What the tests of a trial ask of the service, all of them of one model."""

from __future__ import annotations

PREDICT = "/models/flight_delay/predict"
TRIAL = "/models/flight_delay/trial"


def begin(service, **trial):
    with service.client() as client:
        answer = client.put(TRIAL, json=trial)
    assert answer.status_code == 200, answer.text
    return answer.json()


def state(client):
    return client.get(TRIAL).json()["state"]


def ask_as(client, caller, row):
    return client.post(PREDICT, json={"rows": [row]}, headers={"X-Caller-ID": caller})
