"""What docker-compose.yaml promises about every service, read from the file: needs no Docker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
STORES = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / "deploy/stores").glob("*.yaml")
}
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOTS = {name for name in SERVICES if name.endswith("-init")}
LASTING = [name for name in SERVICES if name not in ONE_SHOTS]
HOST_BYTES = 8 * 10**9


def bytes_of(limit: str) -> float:
    return float(limit[:-1]) * {"m": 2**20, "g": 2**30}[limit[-1]]


def test_the_memory_limits_together_fit_a_host_of_8_gb() -> None:
    assert (
        sum(bytes_of(SERVICES[name]["mem_limit"]) for name in LASTING if "profiles" not in SERVICES[name]) <= HOST_BYTES
    )


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_limited_and_hardened(name: str) -> None:
    service = SERVICES[name]
    assert {"mem_limit", "cpus", "pids_limit", "logging"} <= set(service)
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert "networks" in service or service.get("network_mode") == "none"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"volumes-init"}))
def test_service_does_not_run_as_root(name: str) -> None:
    assert not re.match(r"(0|root)(:|$)", SERVICES[name]["user"])


def test_the_only_root_prepares_volumes_and_reaches_nothing() -> None:
    service = SERVICES["volumes-init"]
    assert (service["user"], service["cap_add"], service["network_mode"]) == ("0:0", ["CHOWN"], "none")


@pytest.mark.parametrize("name", sorted(set(LASTING) - {"minio"}))
def test_lasting_service_restarts_and_says_whether_it_is_ready(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("store", STORES)
def test_each_store_says_whether_it_is_ready(store: str) -> None:
    assert STORES[store]["services"]["store"]["healthcheck"]["test"]


@pytest.mark.parametrize("name", sorted(ONE_SHOTS))
def test_something_waits_for_each_one_shot(name: str) -> None:
    conditions = [service.get("depends_on", {}).get(name, {}).get("condition") for service in SERVICES.values()]
    assert "service_completed_successfully" in conditions


def test_only_the_proxy_publishes_ports_and_on_this_machine_alone() -> None:
    assert [name for name in SERVICES if "ports" in SERVICES[name]] == ["proxy"]
    assert all(port.startswith("${AFORO_BIND:-127.0.0.1}:") for port in SERVICES["proxy"]["ports"])


def test_the_database_is_reached_from_inner_networks_alone() -> None:
    assert COMPOSE["networks"]["back"]["internal"] is True
    assert COMPOSE["networks"]["events"]["internal"] is True
    assert SERVICES["postgres"]["networks"] == ["back", "events"]
    assert SERVICES["prediction-api"]["networks"] == ["front", "events"]
    assert [name for name, service in SERVICES.items() if "events" in service.get("networks", [])] == [
        "postgres",
        "prediction-api",
    ]


def test_no_service_holds_a_key_of_the_store_but_those_that_use_it() -> None:
    holders = {name for name in SERVICES if any(s.startswith("store_") for s in SERVICES[name].get("secrets", []))}
    assert holders == {"minio-init", "mlflow", "airflow-scheduler", "log-shipper"}


@pytest.mark.parametrize(
    "image", re.findall(r"\$\{AFORO_\w+_IMAGE:-([^}]+)\}", (ROOT / "docker-compose.yaml").read_text())
)
def test_image_of_others_is_pinned_to_a_version(image: str) -> None:
    assert re.search(r":[A-Za-z.-]*\d", image)


def test_the_example_environment_names_exactly_the_variables_in_use() -> None:
    text = "".join(
        path.read_text() for path in (ROOT / "docker-compose.yaml", *(ROOT / "deploy/stores").glob("*.yaml"))
    )
    used = set(re.findall(r"\$\{(AFORO_\w+)", text))
    documented = set(re.findall(r"^(AFORO_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert used == documented


def test_the_example_environment_holds_no_secret() -> None:
    names = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert not [name for name in names if re.search("SECRET|PASSWORD|TOKEN|_KEY", name)]


def test_each_image_of_ours_is_built_by_one_service_and_pulled_by_none() -> None:
    ours = [service for service in SERVICES.values() if "AFORO_IMAGE_PREFIX" in service.get("image", "")]
    built = [service["image"] for service in ours if "build" in service]
    assert sorted(built) == sorted({service["image"] for service in ours})
    assert {service.get("pull_policy") for service in ours if "build" not in service} == {"never"}
