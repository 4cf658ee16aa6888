"""Counts and times of one worker, and the page that adds up all workers for Prometheus.

Counting must cost less than a microsecond a request, so a worker counts in plain Python and leaves a snapshot in
the run folder once a second (:mod:`prediction_api.worker_state`). Whichever worker is asked for
``/metrics`` adds up the snapshots; those of a worker that died still count, so no counter ever falls.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

Labels = tuple[str, ...]

_HELP = {
    "aforo_requests_total": (
        "counter",
        "Requests answered, by protocol, model, version and status.",
        ("protocol", "model", "version", "status"),
    ),
    "aforo_rows_total": ("counter", "Rows predicted.", ("model", "version")),
    "aforo_phase_rows_total": (
        "counter",
        "Rows predicted in two phases, by the phase that spoke.",
        ("model", "version", "phase"),
    ),
    "aforo_refusals_total": ("counter", "Requests refused, by problem code.", ("code",)),
    "aforo_versions_refused_total": ("counter", "Versions that failed a check when loaded.", ("model", "version")),
    "aforo_request_seconds": ("histogram", "From the request's headers to its answer.", ("protocol", "model")),
    "aforo_batch_rows": ("histogram", "Rows scored in one call of a graph.", ("model",)),
    "aforo_explained_rows_total": ("counter", "Rows explained.", ("model", "version", "method")),
    "aforo_explanation_seconds": (
        "histogram",
        "To explain one row, and to wait for it.",
        ("model", "method"),
    ),
    "aforo_log_dropped_total": ("counter", "Answered requests that are not in the prediction log.", ("reason",)),
    "aforo_log_spool_bytes": ("gauge", "What the prediction log's spool takes on disk.", ()),
    "aforo_log_spool_segments": ("gauge", "Segments of the prediction log that are not in the store yet.", ()),
    "aforo_challenger_failures_total": (
        "counter",
        "Requests that a challenger on trial failed at.",
        ("model", "version"),
    ),
    "aforo_challenger_slowdown": ("gauge", "How many times as long as the champion a challenger takes.", ("model",)),
    "aforo_trial_call_seconds": ("gauge", "What each side of a trial takes for the same rows.", ("model", "version")),
    "aforo_trials_stopped_total": ("counter", "Trials that a worker has stopped.", ("model", "version")),
    "aforo_shadow_rows_total": ("counter", "Rows that a shadow has predicted.", ("model", "version")),
    "aforo_shadow_disagreements_total": (
        "counter",
        "Rows with another label than the champion's, or a value outside its interval.",
        ("model", "version"),
    ),
    "aforo_shadow_difference": (
        "histogram",
        "Largest difference of a probability or a value from the champion's.",
        ("model", "version"),
    ),
    "aforo_shadow_dropped_total": ("counter", "Requests that were not copied, the queue being full.", ("model",)),
    "aforo_events_total": (
        "counter",
        "Events received, by what became of each; future, missing_key and invalid ones refuse their request.",
        ("model", "stream", "outcome"),
    ),
    "aforo_events_newest_seconds": ("gauge", "Time of the newest event, since 1970.", ("model", "stream")),
    "aforo_window_rows_total": (
        "counter",
        "Rows whose windows were filled in, could not be known, or were not asked for (no_time).",
        ("model", "stream", "outcome"),
    ),
    "aforo_window_panes_age_seconds": (
        "gauge",
        "Since a worker's panes were last as they are in the database.",
        ("worker", "model", "stream"),
    ),
    "aforo_worker_up": ("gauge", "Whether a worker is alive.", ("worker",)),
    "aforo_model_ready": ("gauge", "Whether the model's champion answers.", ("worker", "model")),
    "aforo_waiting_rows": ("gauge", "Rows that wait for a model.", ("worker",)),
    "aforo_open_connections": ("gauge", "Connections a worker holds.", ("worker",)),
    "aforo_local_copy_age_seconds": ("gauge", "Since the registry last answered.", ()),
}


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Histogram:
    """Counts of values in fixed buckets."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Metrics:
    """What one worker has counted."""

    def __init__(self) -> None:
        self.counters: dict[tuple[str, Labels], Counter] = {}
        self.histograms: dict[tuple[str, Labels], Histogram] = {}
        self.gauges: dict[tuple[str, Labels], float] = {}

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        self.counter(name, *labels).value += by

    def counter(self, name: str, *labels: str) -> Counter:
        """Return the counter, made on first use; keep it to count without a look-up."""
        key = (name, labels)
        found = self.counters.get(key)
        if found is None:
            found = self.counters[key] = Counter()
        return found

    def histogram(self, name: str, *labels: str) -> Histogram:
        """Return the histogram, made on first use; keep it to observe without a look-up."""
        key = (name, labels)
        found = self.histograms.get(key)
        if found is None:
            bounds = BATCH_BUCKETS if name == "aforo_batch_rows" else LATENCY_BUCKETS_S
            found = self.histograms[key] = Histogram(bounds)
        return found

    def gauge(self, name: str, value: float, *labels: str) -> None:
        self.gauges[(name, labels)] = value

    def snapshot(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            "counters": [[name, labels, counter.value] for (name, labels), counter in self.counters.items()],
            "histograms": [[name, labels, h.counts, h.total] for (name, labels), h in self.histograms.items()],
            "gauges": [[name, labels, value] for (name, labels), value in self.gauges.items()],
        }

    def resume(self, snapshot: Mapping[str, Any]) -> None:
        """Go on counting from where a worker that died had come to."""
        for name, labels, value in snapshot["counters"]:
            self.count(name, *labels, by=value)
        for name, labels, counts, total in snapshot["histograms"]:
            histogram = self.histogram(name, *labels)
            if len(counts) == len(histogram.counts):
                histogram.counts = [a + b for a, b in zip(histogram.counts, counts, strict=True)]
                histogram.total += total


def exposition(snapshots: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the sum of all workers' snapshots in Prometheus' text format, version 0.0.4."""
    total = Metrics()
    for snapshot in snapshots:
        total.resume(snapshot)
        for name, labels, value in snapshot["gauges"]:
            total.gauge(name, value, *labels)
    counted = {key: counter.value for key, counter in total.counters.items()}
    lines: list[str] = []
    for name, (kind, text, label_names) in _HELP.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        if kind == "histogram":
            for (own, labels), histogram in sorted(total.histograms.items(), key=lambda item: item[0]):
                if own == name:
                    lines += _histogram_lines(name, label_names, labels, histogram)
        else:
            values = counted if kind == "counter" else total.gauges
            lines += [
                f"{name}{_labels(label_names, labels)} {_number(value)}"
                for (own, labels), value in sorted(values.items())
                if own == name
            ]
    return ("\n".join(lines) + "\n").encode()


def _histogram_lines(name: str, label_names: Labels, labels: Labels, histogram: Histogram) -> list[str]:
    lines = []
    running = 0
    bounds = [*(_number(bound) for bound in histogram.bounds), "+Inf"]
    for text, count in zip(bounds, histogram.counts, strict=True):
        running += count
        lines.append(f"{name}_bucket{_labels((*label_names, 'le'), (*labels, text))} {running}")
    lines.append(f"{name}_sum{_labels(label_names, labels)} {_number(histogram.total)}")
    lines.append(f"{name}_count{_labels(label_names, labels)} {running}")
    return lines


def _labels(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for value in values)
    return "{" + ",".join(f'{name}="{value}"' for name, value in zip(names, escaped, strict=True)) + "}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
