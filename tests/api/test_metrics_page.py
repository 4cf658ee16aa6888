"""The metrics page: what Prometheus' own parser reads from it, and that no counter falls."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from prediction_api.metrics import Metrics, exposition


def samples(page: bytes | str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = page.decode() if isinstance(page, bytes) else page
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def key(name, **labels):
    return name, frozenset(labels.items())


def test_workers_are_added_up():
    one, two = Metrics(), Metrics()
    for metrics, rows in ((one, 3), (two, 4)):
        metrics.count("aforo_rows_total", "flight_delay", "1", by=rows)
        metrics.histogram("aforo_batch_rows", "flight_delay").observe(rows)
    found = samples(exposition([one.snapshot(), two.snapshot()]))

    assert found[key("aforo_rows_total", model="flight_delay", version="1")] == 7
    assert found[key("aforo_batch_rows_count", model="flight_delay")] == 2
    assert found[key("aforo_batch_rows_sum", model="flight_delay")] == 7
    assert found[key("aforo_batch_rows_bucket", model="flight_delay", le="2")] == 0
    assert found[key("aforo_batch_rows_bucket", model="flight_delay", le="4")] == 2
    assert found[key("aforo_batch_rows_bucket", model="flight_delay", le="+Inf")] == 2


def test_a_bucket_holds_the_values_up_to_and_with_its_bound():
    metrics = Metrics()
    histogram = metrics.histogram("aforo_request_seconds", "aforo", "flight_delay")
    for seconds in (0.0005, 0.00051, 100.0):
        histogram.observe(seconds)
    found = samples(exposition([metrics.snapshot()]))

    labels = {"protocol": "aforo", "model": "flight_delay"}
    assert found[key("aforo_request_seconds_bucket", le="0.0005", **labels)] == 1
    assert found[key("aforo_request_seconds_bucket", le="0.001", **labels)] == 2
    assert found[key("aforo_request_seconds_bucket", le="10", **labels)] == 2
    assert found[key("aforo_request_seconds_bucket", le="+Inf", **labels)] == 3


def test_a_worker_that_takes_anothers_place_goes_on_counting():
    before, after = Metrics(), Metrics()
    before.count("aforo_refusals_total", "invalid_rows")
    before.histogram("aforo_batch_rows", "flight_delay").observe(1)
    after.resume(before.snapshot())
    after.count("aforo_refusals_total", "invalid_rows")
    found = samples(exposition([after.snapshot()]))

    assert found[key("aforo_refusals_total", code="invalid_rows")] == 2
    assert found[key("aforo_batch_rows_count", model="flight_delay")] == 1


def test_labels_are_escaped():
    metrics = Metrics()
    metrics.count("aforo_refusals_total", 'a"b\\c\nd')
    found = samples(exposition([metrics.snapshot()]))

    assert found[key("aforo_refusals_total", code='a"b\\c\nd')] == 1


def test_the_services_page_counts_requests_rows_refusals_and_times(registry, run_service, row):
    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1")

    with run_service(registry) as service, service.client() as client:
        client.post("/models/flight_delay/predict", json={"rows": [row, row]})
        client.post("/models/flight_delay/predict", json={"rows": []})
        client.post("/models/no_such_model_at_all/predict", json={"rows": [row]})
        client.post("/v2/models/flight_delay/infer", json={})
        response = client.get("/metrics")
    found = samples(response.text)

    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    labels = {"protocol": "aforo", "model": "flight_delay", "version": "1"}
    assert found[key("aforo_requests_total", status="200", **labels)] == 1
    assert found[key("aforo_requests_total", status="422", **labels)] == 1
    assert found[key("aforo_requests_total", protocol="aforo", model="", version="", status="404")] == 1
    assert found[key("aforo_rows_total", model="flight_delay", version="1")] == 2
    assert found[key("aforo_refusals_total", code="invalid_rows")] == 2
    assert found[key("aforo_request_seconds_count", protocol="aforo", model="flight_delay")] == 2
    assert found[key("aforo_worker_up", worker="0")] == 1
    assert found[key("aforo_model_ready", worker="0", model="flight_delay")] == 1
    assert "no_such_model_at_all" not in response.text
