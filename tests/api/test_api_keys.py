"""API keys: who may do what, and how often."""

from __future__ import annotations

import pytest

from aforo.errors import SettingsError
from prediction_api.api_keys import ApiKeys, ApiKeysFile, KnownCaller, new_key, presented_key
from prediction_api.problems import Problem


def write(path, *keys):
    partial = path.with_suffix(".partial")
    partial.write_text(ApiKeysFile(keys=tuple(key.entry for key in keys)).model_dump_json())
    partial.replace(path)
    return path


def bearer(key):
    return {b"authorization": b"Bearer " + key.key.encode()}


def test_a_key_is_not_in_the_file_that_admits_it(tmp_path):
    key = new_key("web shop")
    text = write(tmp_path / "keys.json", key).read_text()

    assert key.key not in text
    assert key.entry.sha256 in text


def test_a_known_key_is_admitted_by_either_header(tmp_path):
    key = new_key("web shop")
    keys = ApiKeys(write(tmp_path / "keys.json", new_key("other"), key))

    assert keys.admit(presented_key(bearer(key)), "predict") == "web shop"
    assert keys.admit(presented_key({b"x-api-key": key.key.encode()}), "predict") == "web shop"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"authorization": b""},
        {b"authorization": b"Bearer"},
        {b"authorization": b"Bearer wrong"},
        {b"authorization": b"Basic aforo"},
        {b"x-api-key": b""},
        {b"x-api-key": b"\xff\x00"},
    ],
)
def test_an_unknown_key_is_unauthenticated(tmp_path, headers):
    keys = ApiKeys(write(tmp_path / "keys.json", new_key("web shop")))

    with pytest.raises(Problem) as refusal:
        keys.admit(presented_key(headers), "predict")

    assert (refusal.value.status, refusal.value.code) == (401, "unauthenticated")
    assert "WWW-Authenticate" in refusal.value.headers


def test_a_key_without_the_scope_is_forbidden(tmp_path):
    key = new_key("labels", ("feedback",))
    keys = ApiKeys(write(tmp_path / "keys.json", key))

    with pytest.raises(Problem) as refusal:
        keys.admit(presented_key(bearer(key)), "predict")

    assert refusal.value.status == 403


def test_a_key_is_slowed_to_its_rate_after_a_burst_of_one_second(tmp_path):
    key = new_key("web shop", requests_per_s=20)
    clock = [100.0]
    keys = ApiKeys(write(tmp_path / "keys.json", key), now=lambda: clock[0])
    refusals = []

    def admitted_of(requests):
        admitted = 0
        for _ in range(requests):
            try:
                keys.admit(presented_key(bearer(key)), "predict")
                admitted += 1
            except Problem as problem:
                refusals.append(problem)
        return admitted

    assert admitted_of(100) == 20
    clock[0] += 0.5
    assert admitted_of(100) == 10
    clock[0] += 60
    assert admitted_of(100) == 20
    assert {refusal.code for refusal in refusals} == {"rate_limited"}
    assert refusals[0].headers["Retry-After"] == "1"


def test_a_slow_rate_still_lets_the_first_request_through(tmp_path):
    key = new_key("slow", requests_per_s=0.1)
    keys = ApiKeys(write(tmp_path / "keys.json", key))

    assert keys.admit(presented_key(bearer(key)), "predict") == "slow"
    with pytest.raises(Problem) as refusal:
        keys.admit(presented_key(bearer(key)), "predict")
    assert 9 <= int(refusal.value.headers["Retry-After"]) <= 11


def test_a_known_caller_is_not_looked_up_again_and_nobody_else_is_taken_for_them(tmp_path, monkeypatch):
    first, second = new_key("first"), new_key("second", ("feedback",))
    keys = ApiKeys(write(tmp_path / "keys.json", first, second))
    known = KnownCaller()
    looked_up = []
    monkeypatch.setattr(ApiKeys, "_find", lambda own, key, find=ApiKeys._find: looked_up.append(key) or find(own, key))

    for headers in (bearer(first), bearer(first), {b"x-api-key": first.key.encode()}):
        assert keys.admit(presented_key(headers), "predict", known) == "first"
    assert looked_up == [first.key.encode()]
    for headers, code in (
        (bearer(second), "forbidden"),
        ({b"authorization": b"Bearer " + first.key.encode()[:-1]}, "unauthenticated"),
        ({}, "unauthenticated"),
    ):
        with pytest.raises(Problem) as refusal:
            keys.admit(presented_key(headers), "predict", known)
        assert refusal.value.code == code
    assert keys.admit(presented_key(bearer(first)), "predict", known) == "first"


def test_a_known_caller_is_slowed_to_its_rate(tmp_path):
    key = new_key("slow", requests_per_s=0.1)
    keys = ApiKeys(write(tmp_path / "keys.json", key))
    known = KnownCaller()

    assert keys.admit(presented_key(bearer(key)), "predict", known) == "slow"
    with pytest.raises(Problem) as refusal:
        keys.admit(presented_key(bearer(key)), "predict", known)
    assert refusal.value.code == "rate_limited"


def test_a_known_caller_whose_key_is_taken_away_is_refused(tmp_path):
    first, second = new_key("first"), new_key("second")
    path = write(tmp_path / "keys.json", first, second)
    keys = ApiKeys(path)
    known = KnownCaller()
    assert keys.admit(presented_key(bearer(first)), "predict", known) == "first"

    write(path, second)
    assert keys.reload()

    with pytest.raises(Problem) as refusal:
        keys.admit(presented_key(bearer(first)), "predict", known)
    assert refusal.value.code == "unauthenticated"


def test_without_a_file_everybody_is_admitted():
    assert ApiKeys(None).admit(presented_key({}), "admin") == ""


def test_a_changed_file_is_read_again_and_a_broken_one_leaves_the_keys_of_before(tmp_path):
    first, second = new_key("first"), new_key("second")
    path = write(tmp_path / "keys.json", first)
    keys = ApiKeys(path)

    write(path, first, second)
    assert keys.reload()
    assert keys.admit(presented_key(bearer(second)), "predict") == "second"
    path.write_text('{"keys": [{"name": "x", "sha256": "short"}]}')
    with pytest.raises(SettingsError, match=r"keys\.0\.sha256"):
        keys.reload()
    assert keys.admit(presented_key(bearer(first)), "predict") == "first"


def test_a_file_that_is_not_there_stops_the_start(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        ApiKeys(tmp_path / "keys.json")


def test_the_service_asks_for_keys_on_every_route_but_health(registry, run_service, row, tmp_path):
    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1")
    shop, operator = new_key("web shop"), new_key("operator", ("admin",))
    path = write(tmp_path / "keys.json", shop, operator)

    with run_service(registry, api_keys_file=str(path)) as service, service.client() as client:
        body = {"rows": [row]}
        keyed = {"Authorization": f"Bearer {shop.key}"}
        statuses = {
            "no key": client.post("/models/flight_delay/predict", json=body).status_code,
            "shop predicts": client.post("/models/flight_delay/predict", json=body, headers=keyed).status_code,
            "operator predicts": client.post(
                "/models/flight_delay/predict", json=body, headers={"X-API-Key": operator.key}
            ).status_code,
            "no key, infer": client.post("/v2/models/flight_delay/infer", json={}).status_code,
            "no key, models": client.get("/models").status_code,
            "shop, models": client.get("/models", headers=keyed).status_code,
            "shop, metrics": client.get("/metrics", headers=keyed).status_code,
            "operator, metrics": client.get("/metrics", headers={"X-API-Key": operator.key}).status_code,
            "no key, live": client.get("/health/live").status_code,
            "no key, ready": client.get("/health/ready").status_code,
        }
        log = service.log.read_text()

    assert statuses == {
        "no key": 401,
        "shop predicts": 200,
        "operator predicts": 403,
        "no key, infer": 401,
        "no key, models": 401,
        "shop, models": 200,
        "shop, metrics": 403,
        "operator, metrics": 200,
        "no key, live": 200,
        "no key, ready": 200,
    }
    assert shop.key not in log
    assert "B6" not in log
