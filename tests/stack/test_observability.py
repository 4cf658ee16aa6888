"""What can be watched: Prometheus scrapes every service, and knows each figure that an alert or a picture asks for."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from stack_platform import ROOT, Platform, wait_for
from test_a_fresh_platform import example_of

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

ALERTS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text())
# Told only once something has gone wrong, which it should not have.
ONLY_IN_TROUBLE = {
    "aforo_log_dropped_total",
    "aforo_refusals_total",
    "aforo_trials_stopped_total",
    "aforo_versions_refused_total",
    "airflow_dag_run_duration_failed_seconds_count",
}


class Prometheus:
    """The platform's Prometheus, asked from inside: it is not published."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def get(self, path: str, **parameters: str) -> Any:
        program = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode())"
        url = f"http://127.0.0.1:9090/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        return json.loads(self._platform.compose("exec", "-T", "prometheus", "python", "-c", program, url))["data"]

    def promtool(self, *arguments: str, stdin: str | None = None) -> str:
        """Run promtool, and return what it has to say."""
        command = ("docker", "compose", "exec", "-T", "prometheus", "promtool", *arguments)
        done = self._platform.run(*command, check=False, stdin=stdin)
        return f"{done.stdout}{done.stderr}exit code {done.returncode}"

    def scraped(self, url: str) -> str:
        """Return a page of figures as Prometheus gets it."""
        program = (
            "import sys, urllib.request as u\n"
            "key = open('/run/secrets/prediction_api_metrics_key').read().strip()\n"
            "page = u.Request(sys.argv[1], headers={'Authorization': f'Bearer {key}'})\n"
            "print(u.urlopen(page, timeout=10).read().decode(), end='')"
        )
        return self._platform.compose("exec", "-T", "prometheus", "python", "-c", program, url)


@pytest.fixture(scope="module")
def prometheus(platform: Platform, champion: str) -> Iterator[Prometheus]:
    """Prometheus, after it has scraped a platform on which something was trained and predicted."""
    watched = Prometheus(platform)
    platform.compose("--profile", "observability", "up", "--detach", "--wait", "prometheus")
    # The exporter forgets, when it starts again, what Airflow has told it.
    if f'dag="{champion}__training",task="train"' not in watched.scraped("http://metrics:9102/metrics"):
        platform.train_again(champion)
    with platform.api() as api:
        assert api.post(f"/models/{champion}/predict", json=example_of(api, champion)).status_code == 200
    wait_for(lambda: len(watched.get("query", query="up == 1")["result"]) == 2, 90, "both targets to be scraped")
    yield watched
    platform.compose("--profile", "observability", "rm", "--stop", "--force", "prometheus")


def test_every_target_is_scraped(prometheus: Prometheus) -> None:
    jobs = {target["labels"]["job"]: target["health"] for target in prometheus.get("targets")["activeTargets"]}
    assert jobs == {"prediction-api": "up", "platform": "up"}


def test_every_rule_is_loaded_and_can_be_evaluated(prometheus: Prometheus) -> None:
    rules = {rule["name"]: rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]}
    assert set(rules) == {rule["alert"] for group in ALERTS for rule in group["rules"]}
    assert [rule["lastError"] for rule in rules.values() if rule.get("lastError")] == []


def test_every_figure_that_is_asked_for_exists(prometheus: Prometheus) -> None:
    queries = [rule["expr"] for group in ALERTS for rule in group["rules"]]
    queries += [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    asked = set(re.findall(r"\b(?:aforo|airflow|postgres)_[a-z_]+", " ".join(queries)))
    assert asked

    def missing() -> set[str]:
        return asked - set(prometheus.get("label/__name__/values")) - ONLY_IN_TROUBLE

    deadline = time.monotonic() + 60  # four scrapes
    while missing() and time.monotonic() < deadline:
        time.sleep(5)
    assert missing() == set()


def test_no_alert_that_wakes_somebody_rings_on_a_healthy_platform(prometheus: Prometheus) -> None:
    ringing = [a["labels"]["alertname"] for a in prometheus.get("alerts")["alerts"] if a["state"] == "firing"]
    assert ringing == []


def test_the_configuration_is_what_promtool_expects(prometheus: Prometheus) -> None:
    assert prometheus.promtool("check", "config", "/etc/aforo/prometheus.yml").endswith("exit code 0")


@pytest.mark.parametrize("url", ["http://prediction-api:8000/metrics", "http://metrics:9102/metrics"])
def test_promtool_can_read_every_page_of_figures(prometheus: Prometheus, url: str) -> None:
    said = prometheus.promtool("check", "metrics", stdin=prometheus.scraped(url))
    # 3 is for matters of taste: help texts, names.
    assert said.endswith(("exit code 0", "exit code 3")), said


def test_the_figures_are_for_prometheus_alone(platform: Platform, prometheus: Prometheus) -> None:
    with platform.api() as api:
        assert api.get("/metrics").status_code == 404
    first_key = platform.secret("prediction_api_key")
    program = (
        "import sys, urllib.request as u, urllib.error\n"
        "page = u.Request('http://127.0.0.1:8000/metrics', headers={'Authorization': f'Bearer {sys.argv[1]}'})\n"
        "try: u.urlopen(page, timeout=10)\n"
        "except urllib.error.HTTPError as error: print(error.code)"
    )
    said = platform.compose("exec", "-T", "prediction-api", "python", "-c", program, first_key)
    assert said.strip() == "403"
