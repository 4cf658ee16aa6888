"""``POST /events``: what is taken, refused and counted; predictions see it in every worker and after a restart.

The toy model's `seats` is the number of departures in the two hours before; its graph adds a tenth of it to the logit.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from aforo.contracts.table import ColumnContract, Role
from aforo.contracts.windows import EventStream
from prediction_api.api_keys import ApiKeysFile, new_key

NOON = datetime(2013, 7, 4, 12, tzinfo=UTC)
ORIGIN = ColumnContract(name="origin", type="string", role=Role.INFO, categories=("EWR", "JFK", "LGA"))
DEPARTURES = EventStream(
    stream="departures",
    known_at="departed_at",
    asked_at="asked_at",
    by=("origin",),
    pane_minutes=10,
    keep_days=2,
    columns={
        "seats": {"kind": "count", "minutes": 120},
        "delay_not_used": {"kind": "mean", "of": "dep_delay", "minutes": 120},
    },
    identity=("flight",),
    event_columns=(
        ColumnContract(name="flight", type="integer", role=Role.INFO, minimum=1),
        ORIGIN,
        ColumnContract(name="departed_at", type="timestamp", role=Role.INFO),
        ColumnContract(name="dep_delay", type="number", role=Role.INFO, minimum=-120, unit="min"),
    ),
    request_columns=(
        ORIGIN.model_copy(update={"nullable": True}),
        ColumnContract(name="asked_at", type="timestamp", role=Role.INFO, nullable=True),
    ),
)
ROW = {"origin": "JFK", "carrier": "B6", "distance": 500.0, "is_holiday": True}


def event(flight, minutes=-30, **changes):
    departed_at = (NOON + timedelta(minutes=minutes)).isoformat()
    return {"flight": flight, "origin": "JFK", "departed_at": departed_at, "dep_delay": 12, **changes}


def tell(client, *events, **changes):
    body = {"model": model_of(client), "stream": "departures", "events": list(events), **changes}
    return client.post("/events", json=body)


def model_of(client):
    """Tests that share a service have a model each."""
    return client.headers.get("x-model", "model")


def predict(client, rows):
    return client.post(f"/models/{model_of(client)}/predict", json=rows)


def departures_seen(client, minutes=0, **changes):
    """The number of departures that a prediction was made with, worked back from its probability."""
    row = {**ROW, "asked_at": (NOON + timedelta(minutes=minutes)).isoformat(), **changes}
    answer = predict(client, {"rows": [row]})
    assert answer.status_code == 200, answer.text
    yes = answer.json()["predictions"][0]["probabilities"]["yes"]
    other = 1.5 + {"EWR": -1, "JFK": 0, "LGA": 1}[row["origin"]]
    return round((math.log(yes / (1 - yes)) - other) * 10, 6)


def counted(client):
    """Outcome to number of events."""
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            if sample.name == "aforo_events_total" and sample.labels["model"] == model_of(client):
                found[sample.labels["outcome"]] = sample.value
    return found


@pytest.fixture
def windowed(registry):
    registry.add("model", "1", windows=(DEPARTURES,))
    registry.point("model", champion="1")
    return registry


@pytest.fixture(scope="module")
def shared(tmp_path_factory, registry_at, run_service):
    """A registry and a service that tests share."""
    registry = registry_at(tmp_path_factory.mktemp("windows") / "mirror")
    with run_service(registry, wait=False) as service:
        yield registry, service


@pytest.fixture
def told(shared):
    """A client of a service that has a model for this test alone, with windows."""
    registry, service = shared
    name = f"model_{len(list(registry.folder.iterdir()))}"
    registry.add(name, "1", windows=(DEPARTURES,))
    registry.point(name, champion="1")
    with service.client(headers={"x-model": name}) as client:
        service.wait_until(lambda _: "champion" in client.get(f"/models/{name}").json().get("live", ()))
        yield client


def test_a_prediction_sees_the_events_before_it(told):
    answer = tell(told, event(1), event(2), event(3, origin="LGA"), event(4, minutes=0))

    assert answer.status_code == 200
    assert answer.json() == {
        "model": model_of(told), "stream": "departures", "accepted": 4, "out_of_order": 0, "late": 0, "duplicate": 0,
        "contradiction": 0, "expired": 0,
    }  # fmt: skip
    assert departures_seen(told) == 2
    assert departures_seen(told, origin="LGA") == 1
    assert departures_seen(told, origin="EWR") == 0
    assert departures_seen(told, minutes=10) == 3


def test_a_value_that_the_caller_gives_is_taken_as_it_is(told):
    tell(told, event(1))

    assert departures_seen(told, seats=7) == 7


def test_without_the_time_a_window_is_missing(told):
    tell(told, event(1))

    # The toy graph takes a missing number for 0.
    assert departures_seen(told, asked_at=None) == 0
    assert predict(told, {"rows": [ROW]}).status_code == 200
    line = f'aforo_window_rows_total{{model="{model_of(told)}",stream="departures",outcome="no_time"}} 2'
    assert line in told.get("/metrics").text


def test_a_row_may_come_as_arrays_and_in_other_protocols(told):
    tell(told, event(1), event(2))
    row = {**ROW, "asked_at": NOON.isoformat()}
    names, values = list(row), list(row.values())
    kinds = {str: "BYTES", float: "FP64", bool: "BOOL"}
    tensors = [{"name": n, "datatype": kinds[type(v)], "shape": [1], "data": [v]} for n, v in row.items()]

    model = model_of(told)
    native = predict(told, {"columns": names, "data": [values]}).json()
    scoring = f"/models/{model}/invocations"
    split = told.post(scoring, json={"dataframe_split": {"columns": names, "data": [values]}}).json()
    inputs = told.post(scoring, json={"inputs": {n: [v] for n, v in row.items()}}).json()
    infer = told.post(f"/v2/models/{model}/infer", json={"inputs": tensors}).json()

    expected = 1 / (1 + math.exp(-1.7))
    assert native["predictions"][0]["probabilities"]["yes"] == pytest.approx(expected, abs=1e-12)
    assert split["predictions"][0]["probability_yes"] == pytest.approx(expected, abs=1e-12)
    assert inputs["predictions"][0]["probability_yes"] == pytest.approx(expected, abs=1e-12)
    assert infer["outputs"][0]["data"][1] == pytest.approx(expected, abs=1e-12)


def test_a_time_without_its_key_or_its_offset_is_refused(registry, run_service, pointers):
    by_plane = DEPARTURES.model_copy(
        update={
            "by": ("plane",),
            "request_columns": (
                ColumnContract(name="plane", type="string", role=Role.INFO, nullable=True),
                DEPARTURES.request_columns[1],
            ),
        }
    )
    registry.add("model", "1", windows=(by_plane,))
    registry.point("model", champion="1")

    with run_service(registry) as service, service.client() as client:
        row = {**ROW, "asked_at": NOON.isoformat()}
        keyless, empty = (predict(client, {"rows": [each]}) for each in (row, {**row, "plane": ""}))
        no_offset = client.post("/models/model/predict", json={"rows": [{**ROW, "asked_at": "2013-07-04T12:00:00"}]})

    assert (keyless.status_code, pointers(keyless)) == (422, [("/rows/0/plane", "missing_field")])
    assert (empty.status_code, pointers(empty)) == (422, [("/rows/0/plane", "missing_field")])
    assert (no_offset.status_code, pointers(no_offset)) == (422, [("/rows/0/asked_at", "wrong_type")])
    assert "with its offset, such as 2013-07-04T21:30:00Z" in no_offset.json()["detail"]


def test_what_became_of_events_is_told_and_counted(told):
    tell(told, event(1, minutes=0), event(2, minutes=9))

    answer = tell(
        told,
        event(3, minutes=8),
        event(4, minutes=-1),
        event(1, minutes=0),
        event(2, minutes=9, dep_delay=99),
        event(5, minutes=-4000),
    )

    outcomes = {"out_of_order": 1, "late": 1, "duplicate": 1, "contradiction": 1, "expired": 1}
    assert answer.json() == {"model": model_of(told), "stream": "departures", "accepted": 0, **outcomes}
    assert counted(told) == {"accepted": 2, **outcomes}


@pytest.mark.parametrize(
    ("changes", "fault", "outcome"),
    [
        ({"departed_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}, "in_the_future", "future"),
        ({"origin": None}, "null_not_allowed", "missing_key"),
        ({"origin": "BOS"}, "category_not_allowed", "invalid"),
        ({"dep_delay": None}, "null_not_allowed", "invalid"),
        ({"dep_delay": 0.5}, "inexact", "invalid"),
        ({"dep_delay": -121}, "out_of_range", "invalid"),
        ({"departed_at": "2013-07-04 12:00"}, "wrong_type", "invalid"),
        ({"departed_at": 1372939200}, "wrong_type", "invalid"),
        ({"arr_delay": 5}, "unknown_field", "invalid"),
    ],
)
def test_a_bad_event_is_named_and_nothing_of_its_request_is_taken(told, pointers, changes, fault, outcome):
    answer = tell(told, event(1), event(2, **changes))

    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_events"
    assert pointers(answer) == [(f"/events/1/{next(iter(changes))}", fault)]
    assert counted(told) == {outcome: 1}
    assert departures_seen(told) == 0


def test_an_event_lacks_nothing(told, pointers):
    answer = tell(told, {"flight": 1, "departed_at": NOON.isoformat()})

    assert pointers(answer) == [("/events/0/origin", "missing_field"), ("/events/0/dep_delay", "missing_field")]
    assert counted(told) == {"missing_key": 1}


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"model": "nobody"}, 404, "model_not_found"),
        ({"stream": "arrivals"}, 404, "stream_not_found"),
        ({"stream": 5}, 422, "invalid_events"),
        ({"more": 1}, 422, "invalid_events"),
        ({"events": []}, 422, "invalid_events"),
        ({"events": [[]]}, 422, "invalid_events"),
        ({"events": [{}] * 10_001}, 413, "too_many_rows"),
    ],
)
def test_a_request_of_another_shape_is_refused(told, changes, status, code):
    answer = tell(told, event(1), **changes)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"events": [NaN]}', b"\xff"])
def test_a_body_that_is_none_is_refused(told, body):
    assert told.post("/events", content=body, headers={"content-type": "application/json"}).status_code in (400, 422)


def test_a_model_without_windows_has_no_streams(client):
    answer = client.post("/events", json={"model": "flight_delay", "stream": "departures", "events": [event(1)]})

    assert (answer.status_code, answer.json()["code"]) == (404, "stream_not_found")


def test_events_need_a_key_of_their_own(windowed, run_service, tmp_path):
    asks, tells = new_key("web shop"), new_key("airport", scopes=("events",))
    keys = tmp_path / "keys.json"
    keys.write_text(ApiKeysFile(keys=(asks.entry, tells.entry)).model_dump_json())

    with run_service(windowed, api_keys_file=str(keys), wait=False) as service, service.client() as client:
        body = {"model": "model", "stream": "departures", "events": [event(1)]}
        statuses = [
            client.post("/events", json=body, headers={} if key is None else {"X-API-Key": key.key}).status_code
            for key in (None, asks, tells)
        ]

    assert statuses == [401, 403, 200]


def test_every_worker_sees_an_event_within_the_refresh_interval(windowed, run_service):
    with run_service(windowed, workers=2, events_refresh_s=0.2) as service:
        with service.client() as client:
            assert tell(client, event(1)).json()["accepted"] == 1
        time.sleep(0.5)
        seen = []
        for _ in range(16):  # each connection is another worker's by chance
            with service.client() as client:
                seen.append(departures_seen(client))

    assert seen == [1] * 16


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_restart_loses_nothing(windowed, run_service, database, request):
    options = {} if database == "sqlite" else {"events_url": request.getfixturevalue("postgres_url")}
    with run_service(windowed, **options) as service, service.client() as client:
        tell(client, event(1), event(2))

    with run_service(windowed, **options) as service, service.client() as client:
        after = departures_seen(client)
        again = tell(client, event(1), event(3)).json()

    assert after == 2
    assert (again["accepted"], again["duplicate"]) == (1, 1)


def test_without_its_database_the_service_answers_and_says_what_it_does_not_know(windowed, run_service):
    with (
        run_service(windowed, events_url="postgresql://nobody@127.0.0.1:9/none") as service,
        service.client() as client,
    ):
        answer = tell(client, event(1))
        seen = departures_seen(client)
        page = client.get("/metrics").text

    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "not_ready", "1")
    assert seen == 0
    assert 'aforo_window_rows_total{model="model",stream="departures",outcome="unknown"} 1' in page


def test_another_definition_of_a_stream_has_panes_of_its_own(windowed, run_service):
    with run_service(windowed) as service, service.client() as client:
        tell(client, event(1))
        windowed.add("model", "2", windows=(DEPARTURES.model_copy(update={"pane_minutes": 20}),))
        windowed.point("model", champion="2", former="1")
        service.wait_until(lambda c: c.get("/models/model").json()["champion"]["version"] == "2")
        before = departures_seen(client)
        # Both definitions are served, and both take it; the event of before is new to one of them.
        told = [tell(client, event(1)).json(), tell(client, event(2)).json()]
        service.wait_until(lambda c: departures_seen(c) == 2)
        by_former = client.post(
            "/models/model/aliases/former/predict", json={"rows": [{**ROW, "asked_at": NOON.isoformat()}]}
        )

    yes = by_former.json()["predictions"][0]["probabilities"]["yes"]
    assert before == 0
    assert [(t["accepted"], t["duplicate"]) for t in told] == [(1, 0), (1, 0)]
    assert yes == pytest.approx(1 / (1 + math.exp(-1.7)), abs=1e-12)


def test_a_version_says_what_a_row_may_hold_to_have_its_windows_filled_in(told):
    version = told.get(f"/models/{model_of(told)}/versions/1").json()

    inputs = [column["name"] for column in version["contract"]["inputs"]]
    assert [column["name"] for column in version["request_columns"]] == [*inputs, "asked_at"]
    assert version["request_columns"][-1]["type"] == "timestamp"


def test_the_openapi_page_has_the_route_and_the_columns(told):
    page = told.get("/openapi.json").json()

    operation = page["paths"]["/events"]["post"]
    assert {"200", "400", "401", "403", "404", "413", "415", "422", "503"} == set(operation["responses"])
    schema = page["components"]["schemas"][f"{model_of(told)}.departures.Event"]
    assert schema["required"] == ["flight", "origin", "departed_at", "dep_delay"]
    assert schema["properties"]["departed_at"] == {"type": "string", "format": "date-time"}
    assert page["components"]["schemas"][f"{model_of(told)}.Row"]["properties"]["asked_at"]["type"] == [
        "string",
        "null",
    ]
