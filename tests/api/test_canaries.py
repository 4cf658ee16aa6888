"""A challenger's share of the callers: who is in it, and who gets what they name."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from trial_requests import PREDICT, ask_as, begin

from prediction_api.trials import place_of


@pytest.mark.parametrize("percent", [0, 1, 10, 50, 100])
def test_of_10_000_callers_the_share_is_met_within_a_point(percent):
    places = [place_of("flight_delay", "web shop", b"%d" % caller) for caller in range(10_000)]

    assert abs(sum(place < percent for place in places) / 100 - percent) < 1


def test_places_are_even_by_ten_parts_and_apart_for_each_model():
    def places(model):
        return np.array([place_of(model, "web shop", b"%d" % caller) for caller in range(10_000)])

    counts = np.histogram(places("flight_delay"), bins=10, range=(0, 100))[0]
    # Chi-squared with 9 degrees of freedom is below 27.88 in 999 of 1,000 cases (R: qchisq(.999, 9)).
    assert ((counts - 1_000) ** 2 / 1_000).sum() < 27.88
    assert abs(np.corrcoef(places("flight_delay"), places("digits"))[0, 1]) < 0.05


def test_a_callers_place_is_the_same_for_ever():
    # The first 8 bytes of BLAKE2b of "flight_delay\\0web shop\\04711", as a part of 2**64.
    assert place_of("flight_delay", "web shop", b"4711") == pytest.approx(5.513160908950294, abs=1e-12)


def test_the_challenger_answers_its_share_of_the_callers_and_each_caller_is_always_on_the_same_side(
    contenders, run_service, row, by_hand
):
    with run_service(contenders, workers=2) as service:
        begin(service, canary_percent=10)
        service.wait_until(lambda _: versions_answered(service, first_caller_below(10), row) == {"2"})
        sides = Counter()
        with service.client() as client:
            for caller in range(300):
                answer = ask_as(client, str(caller), row).json()
                sides[caller, answer["version"]] += 1
                weight = {"1": 1.0, "2": 2.0}[answer["version"]]
                assert answer["predictions"][0]["probabilities"]["yes"] == pytest.approx(by_hand(row, weight))
        for caller in range(0, 300, 7):
            with service.client() as client:  # another connection, maybe another worker
                sides[caller, ask_as(client, str(caller), row).json()["version"]] += 1

    for caller in range(300):
        expected = "2" if place_of("flight_delay", "", b"%d" % caller) < 10 else "1"
        assert sides[caller, expected] == 1 + (caller % 7 == 0)


def versions_answered(service, caller, row):
    """Ask on 16 connections, each of which is another worker's by chance."""
    versions = set()
    for _ in range(16):
        with service.client() as client:
            versions.add(ask_as(client, caller, row).json()["version"])
    return versions


def first_caller_below(percent):
    return next(str(n) for n in range(1_000) if place_of("flight_delay", "", b"%d" % n) < percent)


def test_who_names_a_version_or_an_alias_gets_it(contenders, run_service, row):
    with run_service(contenders) as service:
        begin(service, canary_percent=100)
        service.wait_until(lambda client: ask_as(client, "a", row).json()["version"] == "2")
        with service.client() as client:
            answers = [
                client.post(f"/models/flight_delay/{place}/predict", json={"rows": [row]}).json()["version"]
                for place in ("versions/1", "aliases/champion", "aliases/challenger")
            ]

    assert answers == ["1", "1", "2"]


def test_every_protocol_is_routed(contenders, run_service, row):
    with run_service(contenders) as service:
        begin(service, canary_percent=100)
        service.wait_until(lambda client: ask_as(client, "a", row).json()["version"] == "2")
        with service.client() as client:
            champion = client.post("/models/flight_delay/versions/1/predict", json={"rows": [row]}).json()
            scored = client.post("/models/flight_delay/invocations", json={"instances": [row]}).json()
            zipped = client.post(PREDICT, content=b"", headers={"Content-Encoding": "gzip"})  # the usual road

    assert zipped.status_code == 400
    assert scored["predictions"][0] != champion["predictions"][0]
