"""Nothing listens that deploy/README.md does not name, in any container and on this machine."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from stack_platform import PORTS, Platform

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

LISTEN, BOUND = "0A", "07"
"""States of a TCP socket that takes connections, and of a UDP socket that is not connected."""
EPHEMERAL = 32768
"""From here on, an unconnected UDP socket is a client's: Airflow sends its figures from such."""
LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0B00007F")


def named_ports(platform: Platform) -> dict[str, set[int]]:
    """Read the table of ports in deploy/README.md: service to the ports it may listen on."""
    text = (platform.folder / "deploy" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| ([0-9, /a-zS]+) \|", text, re.MULTILINE)
    return {service: {int(port) for port in re.findall(r"\d+", ports)} for service, ports in rows}


def listening(platform: Platform, service: str) -> Iterator[int]:
    """Yield the TCP and UDP ports on which the container takes something in from elsewhere."""
    for protocol, state, below in (("tcp", LISTEN, 65536), ("udp", BOUND, EPHEMERAL)):
        tables = (f"/proc/net/{protocol}", f"/proc/net/{protocol}6")
        for line in platform.compose("exec", "-T", service, "cat", *tables, check=False).splitlines():
            fields = line.split()
            if len(fields) > 3 and fields[3] == state:
                address, _, port = fields[1].partition(":")
                is_local = address.endswith("0100007F") or address in LOOPBACK
                if not is_local and int(port, 16) < below:
                    yield int(port, 16)


def test_no_container_listens_on_a_port_that_the_readme_does_not_name(platform: Platform) -> None:
    named = named_ports(platform)
    running = [name for name, item in platform.containers().items() if item["State"] == "running"]
    found = {name: set(listening(platform, name)) for name in running}
    surplus = {name: sorted(ports - named.get(name, set())) for name, ports in found.items()}
    assert {name: ports for name, ports in surplus.items() if ports} == {}
    assert found["metrics"] == named["metrics"] == {9102, 8125}  # TCP and UDP: the tables were read


def test_every_port_that_is_published_is_the_proxys(platform: Platform) -> None:
    published = {
        name: {binding["HostPort"] for bindings in ports.values() for binding in bindings or ()}
        for name in platform.containers()
        if (ports := platform.inspect(name)["NetworkSettings"]["Ports"])
    }
    assert {name: ports for name, ports in published.items() if ports} == {"proxy": {str(p) for p in PORTS.values()}}


def test_published_ports_are_bound_to_this_machine_alone(platform: Platform) -> None:
    bindings = platform.inspect("proxy")["NetworkSettings"]["Ports"].values()
    assert {binding["HostIp"] for group in bindings for binding in group or ()} == {"127.0.0.1"}


@pytest.mark.parametrize("target", [("airflow-scheduler", 8793), ("airflow-triggerer", 8794), ("metrics", 9102)])
def test_the_prediction_api_cannot_reach_the_inner_network(platform: Platform, target: tuple[str, int]) -> None:
    program = (
        "import socket, sys\n"
        "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)\n"
        "except OSError: print('unreachable')"
    )
    said = platform.compose("exec", "-T", "prediction-api", "python", "-c", program, target[0], str(target[1]))
    assert said.strip() == "unreachable"


@pytest.mark.parametrize("database", ["events", "aforo", "mlflow", "airflow", "postgres"])
def test_of_all_databases_the_prediction_api_reaches_the_one_of_events_alone(platform: Platform, database: str) -> None:
    program = (
        "import psycopg2, sys\n"
        "where = f'host=postgres user=events dbname={sys.argv[1]} passfile=/run/secrets/postgres_events'\n"
        "try: psycopg2.connect(where); print('connected')\n"
        "except psycopg2.OperationalError as error: print(error)"
    )
    said = platform.compose("exec", "-T", "prediction-api", "python", "-c", program, database)
    assert said.strip() == "connected" if database == "events" else "pg_hba.conf rejects" in said


def test_the_inner_network_does_not_lead_out(platform: Platform) -> None:
    gateways = platform.compose("exec", "-T", "airflow-scheduler", "cat", "/proc/net/route")
    assert "00000000" not in [line.split()[1] for line in gateways.splitlines()[1:]]


def test_clear_text_on_a_published_port_is_sent_to_tls(platform: Platform) -> None:
    with socket.create_connection(("127.0.0.1", PORTS["API"]), 5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = connection.recv(1000).decode()
    assert " 301 " in answer.splitlines()[0]
    assert "Location: https://" in answer
