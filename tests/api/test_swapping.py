"""A new champion takes over without a lost request or a wrong answer."""

from __future__ import annotations

import gc
import math
import threading
import time
import weakref

import pytest

from prediction_api.batching import RowBudget
from prediction_api.served_version import load_version


def ask_until(stop, service, row, answers, failures):
    with service.client() as client:
        while not stop.is_set():
            started = time.perf_counter()
            response = client.post("/models/flight_delay/predict", json={"rows": [row]})
            seconds = time.perf_counter() - started
            if response.status_code != 200:
                failures.append(response.text)
                continue
            answer = response.json()
            answers.append((answer["version"], answer["predictions"][0]["probabilities"]["yes"], seconds))


def champion_is(version):
    return lambda client: client.get("/models/flight_delay").json()["live"]["champion"] == version


def test_champions_change_under_load_without_a_failed_request_or_a_wrong_answer(registry, run_service, row, by_hand):
    versions = [str(number) for number in range(1, 12)]
    for version in versions:
        registry.add("flight_delay", version, weight=int(version) / 10)
    registry.point("flight_delay", champion="1")
    answers: list[tuple[str, float, float]] = []
    failures: list[str] = []
    stop = threading.Event()

    with run_service(registry) as service:
        clients = [threading.Thread(target=ask_until, args=(stop, service, row, answers, failures)) for _ in range(4)]
        for client in clients:
            client.start()
        for version in versions[1:]:
            registry.point("flight_delay", champion=version)
            service.wait_until(champion_is(version))
        stop.set()
        for client in clients:
            client.join()

    assert failures == []
    assert len(answers) > 100
    assert {version for version, _, _ in answers} >= set(versions[1:-1])
    for version, yes, _ in answers:
        assert math.isclose(yes, by_hand(row, int(version) / 10), rel_tol=1e-12)


def test_each_worker_swaps(registry, run_service):
    for version in ("1", "2"):
        registry.add("flight_delay", version)
    registry.point("flight_delay", champion="1")

    with run_service(registry, workers=2) as service:
        service.wait_until(lambda client: len(client.get("/models/flight_delay").json()["workers"]) == 2)
        registry.point("flight_delay", champion="2")
        service.wait_until(
            lambda client: (
                [worker["live"] for worker in client.get("/models/flight_delay").json()["workers"]]
                == [{"champion": "2"}] * 2
            ),
            timeout_s=5,
        )


def test_the_former_champion_stays_in_memory_for_instant_return(registry, run_service):
    for version in ("1", "2", "3"):
        registry.add("flight_delay", version)
    registry.point("flight_delay", champion="1")

    with run_service(registry, memory_budget_bytes=1) as service:
        for version in ("2", "3"):
            registry.point("flight_delay", champion=version)
            service.wait_until(champion_is(version))
        service.wait_until(lambda client: client.get("/models/flight_delay").json()["loaded"] == ["2", "3"])
        registry.point("flight_delay", champion="2")
        service.wait_until(lambda client: client.get("/models/flight_delay").json()["live"]["champion"] == "2")
        log = service.log.read_text()

    assert log.count('"event": "version loaded", "model": "flight_delay", "model_version": "2"') == 1


def test_versions_are_loaded_on_demand_and_let_go_above_the_budget_but_for_the_warm_ones(registry, run_service, row):
    for version in ("1", "2", "3", "4", "5"):
        registry.add("flight_delay", version)
    registry.point("flight_delay", champion="1")

    with run_service(registry, memory_budget_bytes=1, warm=["flight_delay@5"]) as service, service.client() as client:
        assert client.get("/models/flight_delay").json()["loaded"] == ["1", "5"]
        for version in ("2", "3", "4"):
            response = client.post(f"/models/flight_delay/versions/{version}/predict", json={"rows": [row]})
            assert response.json()["version"] == version
        service.wait_until(lambda client: client.get("/models/flight_delay").json()["loaded"] == ["1", "4", "5"])


def test_a_version_that_is_let_go_leaves_memory_without_waiting_for_the_collector(registry):
    registry.add("flight_delay", "1")
    gc.disable()
    try:
        served = load_version(
            "flight_delay",
            "1",
            registry.folder / "flight_delay" / "1",
            key=registry.key_file.read_bytes(),
            max_rows=10,
            budget=RowBudget(10),
            observe=[].append,
        )
        served.score(served.golden_rows(1))
        graph = weakref.ref(served.bundle.predictor)
        del served
        assert graph() is None
    finally:
        gc.enable()


def test_a_warm_version_that_arrives_later_is_loaded(registry, run_service):
    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1")

    with run_service(registry, warm=["flight_delay@2"]) as service:
        registry.add("flight_delay", "2")
        service.wait_until(
            lambda client: client.get("/models/flight_delay").json()["loaded"] == ["1", "2"], timeout_s=5
        )


def test_a_version_that_is_not_in_the_local_copy_is_asked_for(registry, run_service, row):
    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1")

    with run_service(registry) as service, service.client() as client:
        path = "/models/flight_delay/versions/7/predict"
        assert client.post(path, json={"rows": [row]}).status_code == 404
        assert (registry.folder / "wanted" / "flight_delay@7").exists()
        registry.add("flight_delay", "7")
        assert client.post(path, json={"rows": [row]}).json()["version"] == "7"


def test_a_model_that_appears_is_served_and_an_alias_that_goes_is_not(registry, run_service, row):
    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1", challenger="1")

    with run_service(registry) as service, service.client() as client:
        registry.add("outcome", "1", task="multiclass")
        registry.point("outcome", champion="1")
        service.wait_until(lambda client: client.post("/models/outcome/predict", json={"rows": [row]}).is_success)
        registry.point("flight_delay", champion="1")
        service.wait_until(
            lambda client: (
                client.post("/models/flight_delay/aliases/challenger/predict", json={"rows": [row]}).status_code == 404
            )
        )
        assert client.post("/models/flight_delay/predict", json={"rows": [row]}).is_success


@pytest.mark.parametrize("models", [["flight_delay"], None])
def test_only_the_models_asked_for_are_served(registry, run_service, row, models):
    for name in ("flight_delay", "other"):
        registry.add(name, "1")
        registry.point(name, champion="1")

    with run_service(registry, models=models) as service, service.client() as client:
        status = client.post("/models/other/predict", json={"rows": [row]}).status_code

    assert status == (404 if models else 200)
