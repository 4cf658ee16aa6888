"""The processes of the service: what they import, share, replace and leave behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from aforo.errors import SettingsError
from prediction_api.options import ServeOptions

TRAINING = ("sklearn", "pandas", "torch", "polars", "mlflow", "onnx", "matplotlib", "scipy", "pyarrow", "boto3")


@pytest.fixture
def served(registry):
    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1")
    return registry


def test_no_training_library_is_imported_by_server_or_worker():
    program = (
        "import sys, prediction_api.server, prediction_api.worker, prediction_api.downloader;"
        f"print([name for name in {TRAINING!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_a_port_that_is_taken_is_refused_before_anything_starts(served, run_service):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        from prediction_api.server import serve

        options = ServeOptions(port=port, mirror=served.folder, signing_key_file=served.key_file, follow_registry=False)
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}"):
            serve(options)


def test_listening_beyond_this_machine_needs_api_keys(served):
    with pytest.raises(SettingsError, match="without API keys"):
        ServeOptions(host="0.0.0.0", mirror=served.folder, signing_key_file=served.key_file)


def kill(pid):
    """Kill a process, and wait until it runs no more."""
    os.kill(pid, signal.SIGKILL)
    status = Path(f"/proc/{pid}/stat")
    while status.exists() and status.read_text().rpartition(")")[2].split()[0] not in "ZX":
        time.sleep(0.001)


def workers_of(client):
    return client.get("/models/flight_delay").json()["workers"]


def test_two_workers_answer_on_one_port(served, run_service, row):
    with run_service(served, workers=2) as service:
        service.wait_until(lambda client: len(workers_of(client)) == 2)
        for _ in range(20):
            with service.client() as client:
                assert client.post("/models/flight_delay/predict", json={"rows": [row]}).status_code == 200
        with service.client() as client:
            service.wait_until(lambda client: client.get("/metrics").text.count("aforo_worker_up{") == 2)
            counted = 'aforo_requests_total{protocol="aforo",model="flight_delay",version="1",status="200"} 20'
            service.wait_until(lambda client: counted in client.get("/metrics").text.splitlines())


def test_a_worker_that_dies_is_replaced_and_counting_goes_on(served, run_service, row):
    with run_service(served) as service:
        with service.client() as client:
            client.post("/models/flight_delay/predict", json={"rows": [row]})
            client.get("/metrics")  # publishes the counts
            before = workers_of(client)[0]["pid"]
        kill(before)
        service.wait_until(lambda client: workers_of(client)[0]["pid"] != before)
        with service.client() as client:
            client.post("/models/flight_delay/predict", json={"rows": [row]})
            metrics = client.get("/metrics").text

    assert 'aforo_rows_total{model="flight_delay",version="1"} 2' in metrics
    assert "process died" in service.log.read_text()


def test_connections_that_wait_while_the_only_worker_is_replaced_are_answered(served, run_service, row):
    with run_service(served) as service, service.client() as client:
        kill(workers_of(client)[0]["pid"])
        with service.client() as fresh:
            assert fresh.post("/models/flight_delay/predict", json={"rows": [row]}).status_code == 200


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_service_leaves_no_process_and_no_folder(served, run_service, stop):
    with run_service(served, workers=2) as service:
        service.wait_until(lambda client: len(workers_of(client)) == 2)
        with service.client() as client:
            pids = [worker["pid"] for worker in workers_of(client)]
        service.process.send_signal(stop)
        status = service.process.wait(20)

    assert status == 0
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not list(served.folder.parent.glob("aforo-serve-*"))


def test_a_worker_stops_when_the_supervisor_is_killed(served, run_service):
    with run_service(served) as service:
        with service.client() as client:
            pid = workers_of(client)[0]["pid"]
        service.process.kill()
        service.process.wait(5)
        end = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            time.sleep(0.05)

        assert not Path(f"/proc/{pid}").exists()


def test_a_request_in_flight_is_finished_when_the_service_stops(served, run_service, row):
    with run_service(served) as service, service.client() as client:
        body = b'{"rows": [{"origin": "JFK", "distance": 500, "is_holiday": true}]}'
        with socket.create_connection(service.url.removeprefix("http://").split(":")) as connection:
            connection.sendall(
                b"POST /models/flight_delay/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            client.get("/health/live")  # the worker has seen the headers by now
            service.process.terminate()
            time.sleep(0.3)
            connection.sendall(body)
            answer = connection.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 200")


def test_an_added_worker_costs_a_quarter_of_the_first_ones_memory_at_most(served, run_service, row):
    def pss_mb(workers):
        """Return the proportional set size of the whole service."""
        with run_service(served, workers=workers) as service:
            service.wait_until(lambda client: len(workers_of(client)) == workers)
            for _ in range(20):
                with service.client() as client:
                    client.post("/models/flight_delay/predict", json={"rows": [row]})
            with service.client() as client:
                pids = [service.process.pid, *(worker["pid"] for worker in workers_of(client))]
            rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
        lines = [line for rollup in rollups for line in rollup.splitlines() if line.startswith("Pss:")]
        return sum(int(line.split()[1]) for line in lines) / 1024

    first = pss_mb(1)
    added = (pss_mb(4) - first) / 3

    assert first < 120
    assert added < first / 4


def test_the_module_serves_as_the_environment_says(served, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    served.folder.rename(home / "mirror")
    environment = {
        **os.environ,
        "AFORO_HOME": str(home),
        "AFORO_SIGNING_KEY_FILE": str(served.key_file),
        "AFORO_SERVE_PORT": "0",
        "AFORO_SERVE_MODELS": "flight_delay",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "prediction_api"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        url = process.stdout.readline().strip()
        with httpx.Client(base_url=url, trust_env=False, transport=httpx.HTTPTransport(retries=20)) as client:
            ready = client.get("/health/ready")
    finally:
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=30)

    assert ready.status_code == 200, log
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"AFORO_SERVE_PORT": "http"}, "AFORO_SERVE_PORT is 'http'"),
        ({"AFORO_SERVE_WORKERS": "0"}, "0 workers"),
        ({"AFORO_SERVE_HOST": "0.0.0.0"}, "without API keys"),
        ({"AFORO_SERVE_WARM": "flight_delay"}, "expected model@version"),
        ({"AFORO_SERVE_BUSY_POLL_US": "0.2 ms"}, "expected a whole number"),
        ({"AFORO_API_KEYS_FILE": "/nowhere/keys.json"}, "cannot be read"),
    ],
)
def test_an_environment_that_cannot_be_used_ends_with_exit_code_2_and_a_hint(tmp_path, variables, message):
    environment = {**os.environ, "AFORO_HOME": str(tmp_path), "AFORO_SERVE_PORT": "0", **variables}
    result = subprocess.run(
        [sys.executable, "-m", "prediction_api"], capture_output=True, text=True, env=environment, timeout=30
    )

    assert result.returncode == 2
    assert message in result.stderr
