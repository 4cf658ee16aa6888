"""The page at ``/``, and the last hour that it shows."""

from __future__ import annotations

import re

import pytest

from prediction_api.api_keys import ApiKeysFile, new_key
from prediction_api.metrics import LATENCY_BUCKETS_S, Metrics
from prediction_api.traffic import Traffic, percentile


@pytest.mark.parametrize("place", ["/", "/page"])
def test_the_page_and_all_it_loads_come_from_here(client, place):
    page = client.get(place)
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', page.text)

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert {"/page/page.css", "/page/page.js"} <= set(loaded)
    for path in loaded:
        if path != "data:,":
            answer = client.get(path)
            assert answer.status_code == 200, path
            if path.startswith("/page/"):
                assert "://" not in answer.text.replace("http://www.w3.org/2000/svg", "")


def test_the_overview_says_what_is_served_and_how_it_does(registry, run_service, row):
    registry.add("flight_delay", "1")
    registry.add("flight_delay", "2", weight=2.0)
    registry.point("flight_delay", challenger="2", champion="1")
    with run_service(registry) as service, service.client() as client:
        for _ in range(3):
            client.post("/models/flight_delay/predict", json={"rows": [row]})
        client.post("/models/flight_delay/predict", json={"rows": []})
        client.put("/models/flight_delay/trial", json={"shadow": True})
        overview = client.get("/overview").json()
    (model,) = overview["models"]

    assert [(each["alias"], each["version"]) for each in model["live"]] == [("champion", "1"), ("challenger", "2")]
    assert (model["traffic"]["requests"], model["traffic"]["errors"]) == (4, 0)
    assert sum(minute["requests"] for minute in model["traffic"]["minutes"]) == 4
    assert model["trial"]["state"] == "running"
    assert overview["unready"] == {}


def test_the_page_needs_no_key_and_what_it_shows_does(registry, run_service, tmp_path):
    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1")
    key = new_key("web shop")
    keys = tmp_path / "keys.json"
    keys.write_text(ApiKeysFile(keys=(key.entry,)).model_dump_json())
    with run_service(registry, api_keys_file=str(keys)) as service, service.client() as client:
        statuses = [client.get(path).status_code for path in ("/", "/page/page.js", "/overview")]
        with_key = client.get("/overview", headers={"X-API-Key": key.key}).status_code

    assert statuses == [200, 200, 401]
    assert with_key == 200


class States:
    """What the workers have published, for a test of the sums."""

    def __init__(self) -> None:
        self.workers = [Metrics(), Metrics()]

    def read(self):
        return ({"metrics": metrics.snapshot()} for metrics in self.workers)

    def answered(self, worker, *, requests, errors=0, seconds=0.001):
        metrics = self.workers[worker]
        metrics.count("aforo_requests_total", "aforo", "flight_delay", "1", "200", by=requests - errors)
        metrics.count("aforo_requests_total", "v2", "flight_delay", "1", "500", by=errors)
        for _ in range(requests):
            metrics.histogram("aforo_request_seconds", "aforo", "flight_delay").observe(seconds)


@pytest.fixture
def clock():
    return [6_000.0]


@pytest.fixture
def states():
    return States()


@pytest.fixture
def traffic(tmp_path, states, clock):
    return Traffic(tmp_path, states, now=lambda: clock[0])


def test_each_minute_has_what_all_workers_answered_in_it(traffic, states, clock):
    for requests in (5, 7, 0):
        traffic.tend()
        states.answered(0, requests=requests)
        states.answered(1, requests=1, errors=1)
        clock[0] += 60
    hour = traffic.last_hour("flight_delay")

    assert [(minute.requests, minute.errors) for minute in hour.minutes] == [(6, 1), (8, 1), (1, 1)]
    assert (hour.requests, hour.errors, hour.seconds) == (15, 3, 180)


def test_what_another_worker_answered_before_the_first_look_is_in_the_last_hour(traffic, states, clock):
    states.answered(1, requests=3)
    before = traffic.last_hour("flight_delay")
    traffic.tend()
    clock[0] += 61
    traffic.tend()
    after = traffic.last_hour("flight_delay")

    assert (before.requests, after.requests) == (3, 3)
    assert sum(minute.requests for minute in after.minutes) == 3


def test_what_is_older_than_an_hour_is_let_go(traffic, states, clock):
    states.answered(0, requests=1_000)
    for _ in range(100):
        traffic.tend()
        states.answered(0, requests=1)
        clock[0] += 60
    hour = traffic.last_hour("flight_delay")

    assert hour.requests == 60
    assert len(hour.minutes) == 60


def test_the_worker_that_takes_the_place_of_another_goes_on(traffic, states, clock, tmp_path):
    traffic.tend()
    states.answered(0, requests=2)
    clock[0] += 60
    successor = Traffic(tmp_path, states, now=lambda: clock[0])
    successor.tend()
    states.answered(0, requests=3)

    assert [minute.requests for minute in successor.last_hour("flight_delay").minutes] == [2, 3]


def test_percentiles_are_bounds_of_buckets():
    # 90 requests up to 0.5 ms, 9 up to 1 ms, 1 beyond 10 s.
    counts = [90, 9, *[0] * (len(LATENCY_BUCKETS_S) - 2), 1]

    assert (percentile(counts, 50), percentile(counts, 90), percentile(counts, 99)) == (0.0005, 0.0005, 0.001)
    assert percentile(counts, 100) is None
    assert percentile([0] * len(counts), 50) is None
