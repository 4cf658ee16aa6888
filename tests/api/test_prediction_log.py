"""Every answered prediction is in the log once, whatever is killed, stopped or full."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
import pytest

from aforo.monitoring.prediction_log import PredictionLog
from aforo.monitoring.privacy import ENTITY, hashed, log_key
from aforo.storage import LocalStore
from prediction_api.api_keys import ApiKeysFile, new_key

KEY = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def served(registry):
    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1")
    return registry


@pytest.fixture
def log_options(tmp_path):
    """Options of a service that records, with segments that are complete after a fraction of a second."""
    return {
        "log": {"folder": str(tmp_path / "spool"), "rotate_s": 0.2},
        "environment": {"AFORO_HOME": str(tmp_path / "home")},
    }


def log_of(folder):
    return PredictionLog(LocalStore(folder / "home" / "store"))


def recorded(folder, model="flight_delay"):
    tables = list(log_of(folder).tables(model))
    return pl.concat(tables) if tables else pl.DataFrame({"request_id": []}, schema={"request_id": pl.String})


class Callers:
    """Threads that ask again and again, and note the ids of the requests that were answered."""

    def __init__(self, url, row, *, count=4):
        self.answered: list[str] = []
        self.seconds: list[float] = []
        self.refused = 0
        self._address = urlsplit(url)
        self._body = json.dumps({"rows": [row]})
        self._stops = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(place,)) for place in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stops.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, place):
        connection = None
        number = 0
        while not self._stops.is_set():
            number += 1
            request_id = f"{place}-{number}-{time.monotonic_ns()}"
            started = time.perf_counter()
            try:
                connection = connection or http.client.HTTPConnection(
                    self._address.hostname, self._address.port, timeout=10
                )
                connection.request(
                    "POST",
                    "/models/flight_delay/predict",
                    self._body,
                    {"X-Request-ID": request_id, "Content-Type": "application/json"},
                )
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(0.01)
                continue
            if answer.status == 200:
                self.answered.append(request_id)
                self.seconds.append(time.perf_counter() - started)
            else:
                self.refused += 1
        if connection is not None:
            connection.close()


def wait_until_shipped(service, folder):
    """Wait until nothing is left in the spool; nobody may ask meanwhile."""
    service.wait_until(lambda _: not list((folder / "spool").glob("*.segment")), timeout_s=60)


def workers_of(service):
    with service.client() as client:
        return [worker["pid"] for worker in client.get("/models/flight_delay").json()["workers"]]


def test_killed_workers_and_services_lose_no_answered_prediction_and_double_none(
    served, run_service, row, tmp_path, log_options
):
    answered = []
    kills = 0
    for _ in range(5):
        with run_service(served, workers=2, **log_options) as service, Callers(service.url, row) as callers:
            for _ in range(3):
                time.sleep(0.25)
                service.wait_until(lambda _, service=service: len(workers_of(service)) == 2)  # the killed one's place
                os.kill(workers_of(service)[kills % 2], signal.SIGKILL)
                kills += 1
                service.wait_until(lambda client: client.get("/health/live").status_code == 200)
            time.sleep(0.25)
            os.killpg(service.process.pid, signal.SIGKILL)  # supervisor, workers and shipper
            kills += 1
        answered += callers.answered
    with run_service(served, workers=2, **log_options) as service:
        wait_until_shipped(service, tmp_path)  # takes along what the others left
    times = Counter(recorded(tmp_path)["request_id"])

    assert kills == 20
    assert len(answered) > 1_000
    assert [request_id for request_id in answered if times[request_id] != 1] == []
    assert max(times.values()) == 1


def test_every_protocol_is_recorded_with_who_asked_what_and_what_was_answered(
    registry, run_service, row, tmp_path, log_options
):
    keys = tmp_path / "keys.json"
    key = new_key("web shop")
    keys.write_text(ApiKeysFile(keys=(key.entry,)).model_dump_json())
    registry.add("flight_delay", "1")
    registry.add("flight_delay", "2", weight=2.0)
    registry.point("flight_delay", champion="1")
    datatypes = {"distance": "FP64", "seats": "INT64", "is_holiday": "BOOL"}
    tensors = [
        {"name": name, "shape": [1], "datatype": datatypes.get(name, "BYTES"), "data": [value]}
        for name, value in row.items()
    ]
    asked = {
        "own": ("/models/flight_delay/predict", {"rows": [row, {**row, "carrier": None}]}),
        "version": ("/models/flight_delay/versions/2/predict", {"rows": [row]}),
        "mlflow": ("/models/flight_delay/invocations", {"instances": [row]}),
        "v2": ("/v2/models/flight_delay/infer", {"inputs": tensors}),
    }
    before = datetime.now(UTC)
    with run_service(registry, api_keys_file=str(keys), **log_options) as service, service.client() as client:
        answers = {
            name: client.post(path, json=body, headers={"X-API-Key": key.key, "X-Request-ID": name}).json()
            for name, (path, body) in asked.items()
        }
        wait_until_shipped(service, tmp_path)
    log = {(line["request_id"], line["row"]): line for line in recorded(tmp_path).to_dicts()}

    assert log.keys() == {("own", 0), ("own", 1), ("version", 0), ("mlflow", 0), ("v2", 0)}
    for line in log.values():
        assert (line["caller"], line["role"], line["phase"], line["entity"]) == ("web shop", "answer", "full", None)
        assert before <= line["at"] <= datetime.now(UTC)
    assert log["own", 0]["features"] == row
    assert log["own", 1]["features"] == {**row, "carrier": None}
    assert log["v2", 0]["features"] == log["mlflow", 0]["features"] == row
    assert [log["own", place]["outputs"] for place in (0, 1)] == answers["own"]["predictions"]
    assert log["version", 0]["outputs"] == answers["version"]["predictions"][0]
    assert {name: line["version"] for (name, _), line in log.items()} == {
        "own": "1",
        "version": "2",
        "mlflow": "1",
        "v2": "1",
    }


@pytest.mark.parametrize(
    ("send", "number"),
    [(os.kill, signal.SIGTERM), (os.killpg, signal.SIGINT)],
    ids=["SIGTERM to the service", "Ctrl-C to all of its processes"],
)
def test_a_stopped_service_leaves_nothing_in_the_spool(served, run_service, row, tmp_path, log_options, send, number):
    log_options["log"]["rotate_s"] = 600
    with run_service(served, **log_options) as service, service.client() as client:
        service.wait_until(lambda _: (tmp_path / "spool" / "shipping.json").exists())
        assert client.post("/models/flight_delay/predict", json={"rows": [row]}).status_code == 200
        assert list((tmp_path / "spool").glob("*.segment"))
        send(service.process.pid, number)
        status = service.process.wait(20)

    assert status == 0
    assert not list((tmp_path / "spool").glob("*.segment"))
    assert len(recorded(tmp_path)) == 1
    assert "Traceback" not in service.log.read_text()


def test_refused_requests_are_not_recorded(served, run_service, row, tmp_path, log_options):
    with run_service(served, **log_options) as service, service.client() as client:
        client.post("/models/flight_delay/predict", json={"rows": [{**row, "distance": -1}]})
        wait_until_shipped(service, tmp_path)

    assert len(recorded(tmp_path)) == 0


def test_private_values_and_entity_keys_are_nowhere_on_the_disk(
    registry, run_service, row, tmp_path, log_options, inputs
):
    private = tuple(column.model_copy(update={"private": column.name in ("carrier", "seats")}) for column in inputs)
    registry.add("flight_delay", "1", inputs=private)
    registry.point("flight_delay", champion="1")
    rows = [{**row, "carrier": "Zwingli", "seats": 777}, {**row, "carrier": None, "seats": None}]
    log_options["log"]["rotate_s"] = 3  # so that the spool can be looked into before it is shipped
    with run_service(registry, **log_options) as service, service.client() as client:
        client.post("/models/flight_delay/predict", json={"rows": rows}, headers={"X-Entity-Key": "Ada%20Lovelace, 42"})
        spooled = b"".join(path.read_bytes() for path in (tmp_path / "spool").glob("*.segment"))
        assert b"JFK" in spooled
        wait_until_shipped(service, tmp_path)
    lines = recorded(tmp_path).sort("row").to_dicts()
    key = log_key(KEY)

    for hidden in (b"Zwingli", b"777", b"Lovelace"):
        assert hidden not in spooled
    assert [line["features"]["carrier"] for line in lines] == [hashed("Zwingli", "carrier", key), None]
    assert [line["features"]["seats"] for line in lines] == [hashed(777, "seats", key), None]
    assert lines[0]["features"]["origin"] == row["origin"]
    assert [line["entity"] for line in lines] == [hashed("Ada Lovelace", ENTITY, key), hashed("42", ENTITY, key)]


@pytest.mark.parametrize("given", ["a", "a,b,c", "a,", ","])
def test_entity_keys_that_do_not_fit_the_rows_are_refused(served, run_service, row, log_options, given):
    with run_service(served, **log_options) as service, service.client() as client:
        answer = client.post("/models/flight_delay/predict", json={"rows": [row, row]}, headers={"X-Entity-Key": given})

    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_entity_key"
    assert "for 2 rows; expected one for each row" in answer.json()["detail"]


def test_with_the_store_stopped_every_request_is_answered_and_the_log_is_complete_afterwards(
    served, run_service, row, tmp_path, log_options
):
    store = tmp_path / "home" / "store"
    store.parent.mkdir()
    store.write_text("a file where the store's folder should be")
    with run_service(served, **log_options) as service:
        with Callers(service.url, row) as callers:
            service.wait_until(lambda _: "predictions wait in the spool" in service.log.read_text())
            time.sleep(1)
        store.unlink()
        wait_until_shipped(service, tmp_path)
    times = Counter(recorded(tmp_path)["request_id"])

    assert callers.refused == 0
    assert len(callers.answered) > 100
    assert times == Counter(callers.answered)


def test_beyond_the_disk_budget_requests_are_answered_and_counted(served, run_service, row, tmp_path, log_options):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "store").write_text("the store is stopped")
    log_options["log"]["budget_bytes"] = 20_000
    with run_service(served, **log_options) as service:
        with Callers(service.url, row) as callers, service.client() as client:
            service.wait_until(lambda _: "predictions are answered and not recorded" in service.log.read_text())
            time.sleep(0.5)
        service.wait_until(lambda client: metric(client, 'aforo_log_dropped_total{reason="budget"}') > 0)
        service.wait_until(lambda client: metric(client, "aforo_log_spool_bytes") > 0)
        with service.client() as client:
            spooled = metric(client, "aforo_log_spool_bytes")
        (tmp_path / "home" / "store").unlink()
        wait_until_shipped(service, tmp_path)
        kept = recorded(tmp_path)["request_id"]
        dropped = len(callers.answered) - len(kept)
        service.wait_until(lambda client: metric(client, 'aforo_log_dropped_total{reason="budget"}') == dropped)

    assert callers.refused == 0
    assert 0 < spooled <= 20_000
    assert dropped > 0
    assert set(kept) <= set(callers.answered)


def metric(client, name):
    """Return a sample of the metrics page; 0 if it is not there."""
    found = [line for line in client.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def test_a_spool_that_cannot_be_written_ends_the_start_with_a_hint(tmp_path):
    (tmp_path / "signing.key").write_bytes(KEY)
    (tmp_path / "file").write_text("")
    result = subprocess.run(
        [sys.executable, "-m", "prediction_api"],
        capture_output=True,
        text=True,
        timeout=30,
        env={
            **os.environ,
            "AFORO_HOME": str(tmp_path),
            "AFORO_SERVE_PORT": "0",
            "AFORO_SERVE_LOG_FOLDER": str(tmp_path / "file"),
        },
    )

    assert result.returncode == 2
    assert f"the prediction log cannot be written to its spool {tmp_path}/file: " in result.stderr
    assert "AFORO_SERVE_LOG=off" in result.stderr


def test_a_shipper_that_is_killed_is_replaced(served, run_service, row, tmp_path, log_options):
    with run_service(served, **log_options) as service, service.client() as client:
        service.wait_until(lambda _: shippers_of(service))
        os.kill(shippers_of(service)[0], signal.SIGKILL)
        client.post("/models/flight_delay/predict", json={"rows": [row]}, headers={"X-Request-ID": "after"})
        wait_until_shipped(service, tmp_path)

    assert "after" in recorded(tmp_path)["request_id"]


def shippers_of(service):
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"aforo.monitoring.shipping" in Path(f"/proc/{pid}/cmdline").read_bytes()]
