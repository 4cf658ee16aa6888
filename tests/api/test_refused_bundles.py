"""A bundle that fails any check is refused by name, and whatever answered before goes on answering."""

from __future__ import annotations

import json
import time

import pytest


def flip_a_byte(folder, _registry):
    path = folder / "predictor.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def forge_the_manifest(folder, _registry):
    path = folder / "bundle.json"
    path.write_bytes(path.read_bytes().replace(b'"brier"', b'"BRIER"'))


def claim_another_format(folder, registry):
    from aforo.registry.signing import sign

    path = folder / "bundle.json"
    document = json.loads(path.read_bytes())
    document["format"] = 2
    path.write_text(json.dumps(document))
    (folder / "bundle.sig").write_text(sign(path.read_bytes(), registry.key_file.read_bytes()))


def leave_as_it_is(folder, _registry):
    pass


BAD_BUNDLES = {
    "a flipped byte": (flip_a_byte, {}, "SHA-256"),
    "a forged manifest": (forge_the_manifest, {}, "signature"),
    "another key": (leave_as_it_is, {"key": b"another key of thirty-two bytes!"}, "signature"),
    "a golden row that differs": (leave_as_it_is, {"golden_shift": 1e-3}, "golden row 0"),
    "an unknown format": (claim_another_format, {}, "format 2"),
}


@pytest.mark.parametrize("kind", BAD_BUNDLES)
def test_a_service_that_has_nothing_else_is_not_ready_and_says_why(registry, run_service, row, kind):
    spoil, changes, reason = BAD_BUNDLES[kind]
    spoil(registry.add("flight_delay", "1", **changes), registry)
    registry.point("flight_delay", champion="1")

    with run_service(registry, wait=False) as service, service.client() as client:
        ready = client.get("/health/ready")
        refused = client.post("/models/flight_delay/predict", json={"rows": [row]})

    assert ready.status_code == 503
    assert reason in ready.json()["reasons"]["flight_delay"]
    assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")


@pytest.mark.parametrize("kind", BAD_BUNDLES)
def test_the_live_version_goes_on_and_readiness_models_metrics_and_log_say_so(registry, run_service, row, kind):
    spoil, changes, reason = BAD_BUNDLES[kind]
    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1")

    with run_service(registry) as service, service.client() as client:
        spoil(registry.add("flight_delay", "2", weight=2.0, **changes), registry)
        registry.point("flight_delay", champion="2")
        service.wait_until(lambda client: client.get("/health/ready").json()["warnings"])
        service.wait_until(lambda client: client.get("/models/flight_delay").json()["refused"])
        ready = client.get("/health/ready")
        model = client.get("/models/flight_delay").json()
        answer = client.post("/models/flight_delay/predict", json={"rows": [row]}).json()
        metrics = client.get("/metrics").text

    assert ready.status_code == 200
    assert reason in ready.json()["warnings"][0]
    assert (model["aliases"], model["live"]) == ({"champion": "2"}, {"champion": "1"})
    assert reason in model["refused"]["2"]
    assert answer["version"] == "1"
    assert 'aforo_versions_refused_total{model="flight_delay",version="2"} 1' in metrics
    assert "version refused" in service.log.read_text()


def test_what_the_downloader_refused_is_in_readiness_too(registry, run_service):
    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1")
    registry.synced(time.time() - 60, error="flight_delay version 2 refused: its signature is wrong")

    with run_service(registry) as service, service.client() as client:
        ready = client.get("/health/ready")

    assert ready.status_code == 200
    assert "version 2 refused" in ready.json()["warnings"][0]
    assert 60 <= ready.json()["local_copy"]["age_s"] < 90


def test_an_empty_local_copy_is_not_ready(registry, run_service):
    with run_service(registry, wait=False) as service, service.client() as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/ready").json()["reasons"] == {"*": "the local copy of the registry is empty"}
        assert client.get("/models").json()["models"] == []


def test_a_model_that_was_asked_for_by_name_and_is_not_there_is_not_ready(registry, run_service):
    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1")

    with run_service(registry, wait=False, models=["flight_delay", "outcome"]) as service, service.client() as client:
        assert list(client.get("/health/ready").json()["reasons"]) == ["outcome"]


def test_a_model_without_champion_is_not_ready(registry, run_service):
    registry.add("flight_delay", "1")
    registry.point("flight_delay", challenger="1")

    with run_service(registry, wait=False) as service, service.client() as client:
        assert client.get("/health/ready").json()["reasons"] == {"flight_delay": "no version is champion"}


def test_a_refused_version_is_tried_again_when_its_files_have_changed(registry, run_service):
    registry.add("flight_delay", "1")
    spoilt = registry.add("flight_delay", "2", weight=2.0)
    whole = (spoilt / "predictor.onnx").read_bytes()
    flip_a_byte(spoilt, registry)
    registry.point("flight_delay", champion="1")

    with run_service(registry) as service:
        registry.point("flight_delay", champion="2")
        service.wait_until(lambda client: client.get("/models/flight_delay").json()["refused"])
        (spoilt / "predictor.onnx").write_bytes(whole)
        service.wait_until(
            lambda client: client.get("/models/flight_delay").json()["live"] == {"champion": "2"}, timeout_s=5
        )
        with service.client() as client:
            model = client.get("/models/flight_delay").json()
            ready = client.get("/health/ready").json()

    assert model["refused"] == {}
    assert ready["warnings"] == []


def test_a_version_is_served_that_arrives_after_another_was_refused(registry, run_service):
    registry.add("flight_delay", "1")
    flip_a_byte(registry.add("flight_delay", "2"), registry)
    registry.point("flight_delay", champion="2", challenger="1")

    with run_service(registry, wait=False) as service:
        service.wait_until(lambda client: client.get("/models/flight_delay").json()["refused"])
        registry.point("flight_delay", champion="3", challenger="1")
        service.wait_until(lambda client: client.get("/models/flight_delay").json()["aliases"]["champion"] == "3")
        registry.add("flight_delay", "3")
        service.wait_until(
            lambda client: client.get("/models/flight_delay").json()["live"] == {"champion": "3", "challenger": "1"},
            timeout_s=5,
        )
