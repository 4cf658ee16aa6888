"""Predictions go on, runs end well, and nobody has to repair anything, whatever is killed or stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

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


@pytest.fixture(scope="module")
def asking(platform: Platform, champion: str) -> Iterator[Asking]:
    """Predictions are asked for from here on."""
    asking = Asking(platform, champion)
    asking.start()
    yield asking
    asking.stop()


def crash(platform: Platform, service: str) -> None:
    """Kill the container's processes as a crash would. (`docker kill` would count as stopped by hand: no restart.)"""
    wait_for(lambda: platform.inspect(service)["State"]["Running"], 60, f"{service} to run")
    pid = platform.inspect(service)["State"]["Pid"]
    assert pid > 0
    os.kill(pid, signal.SIGKILL)


def healthy(platform: Platform, service: str) -> bool:
    return bool(platform.containers()[service]["Health"] == "healthy")


def test_predictions_go_on_without_all_else_and_everything_is_as_before_after_a_restart(
    platform: Platform, champion: str
) -> None:
    with platform.api() as api:
        before = api.get(f"/models/{champion}").json()["live"]
    platform.compose("stop", *NOT_NEEDED_TO_PREDICT)
    try:
        platform.compose("restart", "prediction-api")
        with platform.api() as api:
            wait_for(lambda: "champion" in api.get(f"/models/{champion}").json()["live"], 60, "the champion")
            example = example_of(api, champion)
            assert api.post(f"/models/{champion}/predict", json=example).status_code == 200
    finally:
        platform.compose("restart")  # all of it, in no order
        platform.up()
    with platform.api() as api:
        wait_for(lambda: api.get(f"/models/{champion}").json()["live"] == before, 60, "the same champion")
    platform.train_again(champion)


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
        wait_for(lambda: healthy(platform, service), 60, f"{service} to be healthy")


# The next one crashes as soon as this one starts again; that all become healthy is asked after the last.
@pytest.mark.parametrize("service", NOT_NEEDED_TO_PREDICT)
def test_no_prediction_is_lost_when_this_crashes(platform: Platform, asking: Asking, service: str) -> None:
    before, answered = platform.inspect(service)["RestartCount"], asking.answers
    crash(platform, service)
    wait_for(lambda: platform.inspect(service)["RestartCount"] > before, 60, f"{service} to start again")
    wait_for(lambda: asking.wrong or asking.answers >= answered + 20, 30, "predictions")
    assert asking.wrong == []


def test_all_that_crashed_is_healthy_again(platform: Platform, asking: Asking) -> None:
    for service in NOT_NEEDED_TO_PREDICT:
        wait_for(partial(healthy, platform, service), 180, f"{service} to be healthy")
    assert asking.wrong == []


def test_a_run_ends_well_although_database_and_store_are_away_in_the_middle_of_it(
    platform: Platform, champion: str, asking: Asking
) -> None:
    run = platform.trigger(champion, again=True, promote=False)
    wait_for(lambda: platform.tasks_of(champion, run)["ingest"]["state"] in ("running", "success"), 120, "the run")
    with database_away(platform):
        time.sleep(30)
    with store_away(platform):
        wait_for(lambda: waits(platform, champion, run, "tries again"), 300, "a step to wait for the store")
    if os.environ.get("AFORO_STORE") == "seaweedfs":
        with store_full(platform):
            wait_for(
                lambda: waits(platform, champion, run, "tries again", "space left"), 300, "a step to wait for room"
            )
    platform.finish(champion, run)
    assert asking.wrong == []


@contextmanager
def database_away(platform: Platform) -> Iterator[None]:
    platform.compose("stop", "postgres")
    try:
        yield
    finally:
        platform.compose("up", "--detach", "--no-deps", "postgres")


@contextmanager
def store_away(platform: Platform) -> Iterator[None]:
    platform.compose("kill", "minio")
    try:
        yield
    finally:
        platform.compose("up", "--detach", "--wait", "--no-deps", "minio")


@contextmanager
def store_full(platform: Platform) -> Iterator[None]:
    """Let SeaweedFS take nothing in: its own way of being read-only."""
    configure_store(platform, "-readOnly")
    try:
        yield
    finally:
        configure_store(platform, "-delete")


def waits(platform: Platform, use_case: str, run: str, *words: str) -> bool:
    """Whether a step that runs says so in one line with all the words; fails if the run is over."""
    assert platform.state_of(use_case, run) not in FINISHED, "the run ended before the outage was seen"
    tasks = platform.tasks_of(use_case, run).items()
    logs = "\n".join(platform.log_of(use_case, run, name) for name, item in tasks if item["state"] == "running")
    return any(all(word in line for word in words) for line in logs.splitlines())


def configure_store(platform: Platform, setting: str) -> None:
    """Change what SeaweedFS lets happen to its buckets, while it runs."""
    shell = ("weed", "shell", "-master=127.0.0.1:9333", "-filer=127.0.0.1:8888")
    command = f"fs.configure -locationPrefix=/buckets/ {setting} -apply\n"
    platform.run("docker", "compose", "exec", "-T", "minio", *shell, stdin=command)
