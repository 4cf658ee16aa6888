"""Predictions go on, runs end well, and nobody has to repair anything, whatever is killed or stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from stack_platform import FINISHED, Platform, wait_for
from test_a_fresh_platform import example_of

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]

NOT_NEEDED_TO_PREDICT = (
    "postgres", "minio", "mlflow", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor",
    "airflow-triggerer", "log-shipper", "metrics",
)  # fmt: skip


class Asking(threading.Thread):
    """Asks for the same prediction again and again, and keeps every answer that is not the expected one."""

    def __init__(self, platform: Platform, model: str) -> None:
        super().__init__(daemon=True)
        self._api = platform.api()
        self._address = f"/models/{model}/predict"
        self._request = example_of(self._api, model)
        self._expected = self._ask()
        self._stopping = threading.Event()
        self.wrong: list[str] = []
        self.answers = 0

    def _ask(self) -> object:
        answer = self._api.post(self._address, json=self._request)
        answer.raise_for_status()
        return {key: value for key, value in answer.json().items() if key != "request_id"}

    def run(self) -> None:
        while not self._stopping.wait(0.05):
            try:
                if self._ask() != self._expected:
                    self.wrong.append("another prediction")
                self.answers += 1
            except httpx.HTTPError as error:
                self.wrong.append(f"{time.strftime('%X')} {error!r}")

    def stop(self) -> None:
        self._stopping.set()
        self.join(30)
        self._api.close()


@contextmanager
def predictions_asked_for(platform: Platform, model: str) -> Iterator[Asking]:
    asking = Asking(platform, model)
    asking.start()
    try:
        yield asking
    finally:
        asking.stop()


def crash(platform: Platform, service: str) -> None:
    """Kill the container's processes as a crash would. (`docker kill` would count as stopped by hand: no restart.)"""
    os.kill(platform.inspect(service)["State"]["Pid"], signal.SIGKILL)


def healthy(platform: Platform, service: str) -> bool:
    return bool(platform.containers()[service]["Health"] == "healthy")


@pytest.mark.parametrize("service", NOT_NEEDED_TO_PREDICT)
def test_no_prediction_is_lost_when_this_crashes(platform: Platform, champion: str, service: str) -> None:
    with predictions_asked_for(platform, champion) as asking:
        before = platform.inspect(service)["RestartCount"]
        crash(platform, service)
        wait_for(lambda: platform.inspect(service)["RestartCount"] > before, 60, f"{service} to start again")
        wait_for(lambda: healthy(platform, service), 180, f"{service} to be healthy")
    assert asking.wrong == []
    assert asking.answers > 0


@pytest.mark.parametrize("service", ["prediction-api", "proxy"])
def test_predictions_are_back_in_seconds_when_this_crashes(platform: Platform, champion: str, service: str) -> None:
    with platform.api() as api:
        example = example_of(api, champion)
        expected = api.post(f"/models/{champion}/predict", json=example).json()
        crash(platform, service)

        def answers_as_before() -> bool:
            answer = api.post(f"/models/{champion}/predict", json=example)
            return answer.status_code == 200 and answer.json()["predictions"] == expected["predictions"]

        wait_for(answers_as_before, 30, "predictions")


def test_predictions_go_on_when_everything_else_is_stopped_and_the_api_starts_again(
    platform: Platform, champion: str
) -> None:
    platform.compose("stop", *NOT_NEEDED_TO_PREDICT)
    try:
        platform.compose("restart", "prediction-api")
        with platform.api() as api:
            wait_for(lambda: "champion" in api.get(f"/models/{champion}").json()["live"], 60, "the champion")
            example = example_of(api, champion)
            assert api.post(f"/models/{champion}/predict", json=example).status_code == 200
    finally:
        platform.up()


def test_a_run_ends_well_although_postgres_is_away_for_half_a_minute(platform: Platform, champion: str) -> None:
    run = platform.trigger(champion, again=True, promote=False)
    wait_for(
        lambda: task(platform, champion, run, "ingest")["state"] in ("running", "success"), 120, "the run to begin"
    )
    with predictions_asked_for(platform, champion) as asking:
        platform.compose("stop", "postgres")
        time.sleep(30)
        platform.compose("start", "postgres")
        wait_for(lambda: platform.state_of(champion, run) in FINISHED, 600, "the run to end")
    platform.finish(champion, run)
    assert asking.wrong == []


def test_a_run_ends_well_although_the_store_is_away_for_a_while(platform: Platform, champion: str) -> None:
    with predictions_asked_for(platform, champion) as asking:
        platform.compose("stop", "minio")
        try:
            run = platform.trigger(champion, again=True, promote=False)
            wait_for(lambda: "tries again" in log_of_the_running_task(platform, champion, run), 300, "a step to wait")
        finally:
            platform.compose("start", "minio")
        wait_for(lambda: platform.state_of(champion, run) in FINISHED, 600, "the run to end")
    platform.finish(champion, run)
    assert asking.wrong == []


@pytest.mark.skipif(os.environ.get("AFORO_STORE") != "seaweedfs", reason="this is how SeaweedFS is made read-only")
def test_a_run_ends_well_although_the_store_took_nothing_in_for_a_while(platform: Platform, champion: str) -> None:
    with predictions_asked_for(platform, champion) as asking:
        configure_store(platform, "-readOnly")
        try:
            run = platform.trigger(champion, again=True, promote=False)
            wait_for(lambda: "tries again" in log_of_the_running_task(platform, champion, run), 300, "a step to wait")
            said = log_of_the_running_task(platform, champion, run)
        finally:
            configure_store(platform, "-delete")
        wait_for(lambda: platform.state_of(champion, run) in FINISHED, 600, "the run to end")
    platform.finish(champion, run)
    assert asking.wrong == []
    assert "space left" in said


def test_everything_is_as_before_after_all_of_it_was_restarted(platform: Platform, champion: str) -> None:
    with platform.api() as api:
        before = api.get(f"/models/{champion}").json()["live"]
    platform.compose("restart")
    platform.up()
    with platform.api() as api:
        wait_for(lambda: api.get(f"/models/{champion}").json()["live"] == before, 60, "the same champion")
    platform.train_again(champion)


def configure_store(platform: Platform, setting: str) -> None:
    """Change what SeaweedFS lets happen to its buckets, while it runs."""
    shell = ("weed", "shell", "-master=127.0.0.1:9333", "-filer=127.0.0.1:8888")
    command = f"fs.configure -locationPrefix=/buckets/ {setting} -apply\n"
    platform.run("docker", "compose", "exec", "-T", "minio", *shell, stdin=command)


def task(platform: Platform, use_case: str, run: str, name: str) -> dict[str, Any]:
    return platform.tasks_of(use_case, run)[name]


def log_of_the_running_task(platform: Platform, use_case: str, run: str) -> str:
    tasks = platform.tasks_of(use_case, run).items()
    return "".join(platform.log_of(use_case, run, name) for name, item in tasks if item["state"] == "running")
