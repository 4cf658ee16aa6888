"""What Airflow reports as StatsD datagrams, kept as Prometheus samples.

Airflow puts DAG, task and pool names into the metric's name (``dag.flight_delay__training.train.duration``);
here they become labels, so that one alert rule holds for every DAG.
"""

from __future__ import annotations

import re
import socketserver
import threading
from collections import defaultdict

Sample = tuple[str, tuple[tuple[str, str], ...]]

PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"dag\.(?P<dag>.+)\.(?P<task>[^.]+)\.(?P<what>duration|queued_duration|scheduled_duration)", "task_{what}"),
        (r"dagrun\.duration\.(?P<what>success|failed)\.(?P<dag>.+)", "dag_run_duration_{what}"),
        (r"dagrun\.schedule_delay\.(?P<dag>.+)", "dag_run_schedule_delay"),
        (r"dagrun\.(?P<dag>.+)\.first_task_(?P<what>scheduling_delay|start_delay)", "dag_run_first_task_{what}"),
        (r"dagrun\.dependency-check\.(?P<dag>.+)", "dag_run_dependency_check"),
        (r"ti\.start\.(?P<dag>.+)\.(?P<task>[^.]+)", "task_started"),
        (r"ti\.finish\.(?P<dag>.+)\.(?P<task>[^.]+)\.(?P<state>[^.]+)", "task_finished"),
        (r"pool\.(?P<what>[a-z_]+)\.(?P<pool>.+)", "pool_{what}"),
        (r"operator_(?P<what>failures|successes)_(?P<operator>.+)", "operator_{what}"),
        (r"dag_processing\.last_duration\.(?P<file>.+)", "dag_file_last_duration"),
        (r"dag_processing\.last_run\.seconds_ago\.(?P<file>.+)", "dag_file_last_run_seconds_ago"),
    )
)


class Figures:
    """Counters, gauges and timers by name and labels; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[Sample, float] = defaultdict(float)
        self._kinds: dict[str, str] = {}

    def take(self, line: str) -> None:
        """Take in one line of a StatsD datagram; a line that is none is left out."""
        match = re.fullmatch(r"([^:|]+):([+-]?[0-9.eE+-]+)\|(c|g|ms|s|h)(?:\|@([0-9.]+))?(?:\|#.*)?", line.strip())
        if match is None:
            return
        raw, text, kind, rate = match.groups()
        try:
            value, share = float(text), float(rate or 1)
        except ValueError:
            return
        name, labels = named(raw.removeprefix("airflow."))
        with self._lock:
            if kind == "c":
                self._add(f"{name}_total", labels, "counter", value / (share or 1))
            elif kind == "g" and text[0] in "+-":
                self._add(name, labels, "gauge", value)
            elif kind == "g":
                self._kinds[name] = "gauge"
                self._values[name, labels] = value
            elif kind == "ms":
                self._add(f"{name}_seconds_sum", labels, "counter", value / 1000)
                self._add(f"{name}_seconds_count", labels, "counter", 1)

    def _add(self, name: str, labels: tuple[tuple[str, str], ...], kind: str, value: float) -> None:
        self._kinds[name] = kind
        self._values[name, labels] += value

    def text(self) -> str:
        """Return everything in Prometheus's text format."""
        with self._lock:
            samples, kinds = sorted(self._values.items()), dict(self._kinds)
        lines, last = [], ""
        for (name, labels), value in samples:
            if name != last:
                lines.append(f"# TYPE {name} {kinds[name]}")
                last = name
            shown = ",".join(f'{key}="{escaped(text)}"' for key, text in labels)
            lines.append(f"{name}{{{shown}}} {value!r}" if shown else f"{name} {value!r}")
        return "\n".join(lines) + "\n" if lines else ""


def named(raw: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the Prometheus name and the labels of a StatsD name."""
    for pattern, name in PATTERNS:
        match = pattern.fullmatch(raw)
        if match:
            groups = match.groupdict()
            name = name.format(what=groups.pop("what", ""))
            return f"airflow_{name}", tuple(sorted(groups.items()))
    return "airflow_" + re.sub(r"[^a-zA-Z0-9_]", "_", raw), ()


def escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        figures: Figures = self.server.figures  # type: ignore[attr-defined]
        for line in self.request[0].decode("utf-8", "replace").splitlines():
            figures.take(line)


def listen(figures: Figures, port: int = 8125) -> socketserver.UDPServer:
    """Take in datagrams in a thread of its own, for as long as the process lives."""
    server = socketserver.UDPServer(("0.0.0.0", port), _Handler)
    server.figures = figures  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
