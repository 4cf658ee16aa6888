"""A challenger as a shadow: what it sees of the requests, and what is counted of it."""

from __future__ import annotations

import pytest
from trial_requests import PREDICT, begin


def test_a_shadow_sees_every_request_and_answers_none(contenders, run_service, row, by_hand):
    with run_service(contenders) as service:
        begin(service, shadow=True)
        service.wait_until(lambda client: shadowed(client, row) > 0)
        with service.client() as client:
            before = metrics(client)
            answers = [client.post(PREDICT, json={"rows": [row, row]}).json() for _ in range(50)]
        name = 'aforo_shadow_rows_total{model="flight_delay",version="2"}'
        service.wait_until(lambda client: metrics(client)[name] == before[name] + 100)
        with service.client() as client:
            after = metrics(client)

    assert {answer["version"] for answer in answers} == {"1"}
    difference = abs(by_hand(row, 2.0) - by_hand(row, 1.0))
    total = 'aforo_shadow_difference_sum{model="flight_delay",version="2"}'
    assert after[total] - before[total] == pytest.approx(100 * difference)
    disagreed = (by_hand(row, 2.0) >= 0.5) != (by_hand(row, 1.0) >= 0.5)
    name = 'aforo_shadow_disagreements_total{model="flight_delay",version="2"}'
    assert after[name] - before[name] == 100 * disagreed
    assert after.get('aforo_shadow_dropped_total{model="flight_delay"}', 0) == 0


def test_what_a_shadow_does_not_see_for_want_of_room_is_counted(contenders, run_service, row):
    def seen_and_dropped(client):
        found = metrics(client)
        rows = found['aforo_shadow_rows_total{model="flight_delay",version="2"}']
        return rows // 1_000, found.get('aforo_shadow_dropped_total{model="flight_delay"}', 0)

    with run_service(contenders) as service:
        begin(service, shadow=True)
        service.wait_until(lambda client: shadowed(client, row) > 0)
        with service.client() as client:
            for _ in range(40):
                client.post(PREDICT, json={"rows": [row] * 1_000}).raise_for_status()
        service.wait_until(lambda client: sum(seen_and_dropped(client)) >= 40)
        with service.client() as client:
            seen, dropped = seen_and_dropped(client)

    assert seen + dropped == 40
    assert dropped > 0


def shadowed(client, row):
    client.post(PREDICT, json={"rows": [row]})
    return metrics(client).get('aforo_shadow_rows_total{model="flight_delay",version="2"}', 0)


def metrics(client):
    lines = (line for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
