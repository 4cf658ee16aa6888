"""Clients that others wrote, unchanged: the same numbers through each protocol, bit for bit."""

from __future__ import annotations

import json
import shutil
import subprocess

import mlflow
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

ROWS = [
    {"origin": "JFK", "carrier": "B6", "distance": 500.25, "seats": 10, "is_holiday": True},
    {"origin": "LGA", "carrier": None, "distance": 0.1, "seats": None, "is_holiday": False},
]


@pytest.fixture
def ours(client):
    """Give what our own protocol answers."""
    answer = client.post("/models/flight_delay/predict", json={"rows": ROWS}).json()
    return [prediction["probabilities"]["yes"] for prediction in answer["predictions"]]


def test_mlflows_own_scoring_client_gets_the_same_numbers(service, ours):
    host, port = service.url.removeprefix("http://").split(":")
    client = ScoringServerClient(host, f"{port}/models/flight_delay")
    client.ping()
    assert client.get_version() == mlflow.__version__

    answer = client.invoke(pd.DataFrame(ROWS)).get_predictions()

    assert answer["probability_yes"].tolist() == ours


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
@pytest.mark.parametrize("options", [[], ["--http1.0"], ["--header", "Expect: 100-continue"], ["--compressed"]])
def test_curl_gets_the_same_numbers(service, ours, options):
    url = f"{service.url}/models/flight_delay/predict"
    command = ["curl", "--silent", "--fail", "--noproxy", "*", *options, "--json", json.dumps({"rows": ROWS}), url]
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)

    assert [prediction["probabilities"]["yes"] for prediction in json.loads(done.stdout)["predictions"]] == ours
