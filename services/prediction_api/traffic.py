"""The traffic of the last hour, by minute, for people who look at the page; Prometheus keeps its own.

Worker 0 adds up what all workers have counted, once a minute, and leaves the sums of the last hour in the run folder,
so that whichever worker is asked can answer, and a worker that takes its place goes on.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from prediction_api.metrics import LATENCY_BUCKETS_S
from prediction_api.worker_state import WorkerStates

_MINUTES = 60

Totals = dict[str, dict[str, Any]]
"""Model to ``requests``, ``errors`` and ``latencies`` (counts of the latency histogram's buckets) since the start."""


class Minute(BaseModel):
    """What was answered in one minute, which ended at ``at`` (seconds since the epoch)."""

    at: int
    requests: int
    errors: int


class ModelTraffic(BaseModel):
    """One model's last hour, or as much of it as the service runs.

    Attributes
    ----------
    errors
        Answers with a status of 500 or more.
    p50_s, p99_s
        Upper bound of the histogram's bucket in which that request lies; ``None`` without requests, or beyond the last
        bound.
    """

    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    p50_s: float | None = None
    p99_s: float | None = None
    minutes: list[Minute] = []


class Traffic:
    """Keeps the sums, and tells what lies between them.

    Parameters
    ----------
    folder
        The run folder.
    now
        Seconds since the epoch.
    """

    def __init__(self, folder: Path, states: WorkerStates, *, now: Callable[[], float] = time.time) -> None:
        self._path = folder / "traffic.json"
        self._states = states
        self._now = now
        self._began = int(now())
        self._minute = 0

    def tend(self) -> None:
        """Note the sums if a minute is over; called about once a second by worker 0."""
        minute = int(self._now() // 60)
        if minute == self._minute:
            return
        self._minute = minute
        kept = self._kept()
        if self._path.exists():
            kept = [*kept, [int(self._now()), self._totals()]][-_MINUTES:]
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(kept), encoding="utf-8")
        partial.replace(self._path)

    def last_hour(self, model: str) -> ModelTraffic:
        """Return what was answered between the oldest sums and now."""
        points = [*self._kept(), [int(self._now()), self._totals()]]
        nothing = {"requests": 0, "errors": 0, "latencies": [0] * (len(LATENCY_BUCKETS_S) + 1)}
        sums = [(at, totals.get(model, nothing)) for at, totals in points]
        (began, first), (ended, last) = sums[0], sums[-1]
        counts = [b - a for a, b in zip(first["latencies"], last["latencies"], strict=True)]
        return ModelTraffic(
            requests=last["requests"] - first["requests"],
            errors=last["errors"] - first["errors"],
            seconds=ended - began,
            p50_s=percentile(counts, 50),
            p99_s=percentile(counts, 99),
            minutes=[
                Minute(at=at, requests=new["requests"] - old["requests"], errors=new["errors"] - old["errors"])
                for (_, old), (at, new) in pairwise(sums)
            ],
        )

    def _kept(self) -> list[Any]:
        try:
            kept: list[Any] = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            # Nothing was answered when the service began, whichever worker was the first to answer since.
            return [[self._began, {}]]
        return kept

    def _totals(self) -> Totals:
        totals: Totals = {}
        for state in self._states.read():
            metrics = state["metrics"]
            for name, labels, value in metrics["counters"]:
                if name == "aforo_requests_total" and labels[1]:
                    own = _of(totals, labels[1])
                    own["requests"] += int(value)
                    own["errors"] += int(value) * (labels[3] >= "500")
            for name, labels, counts, _ in metrics["histograms"]:
                if name == "aforo_request_seconds" and labels[1]:
                    own = _of(totals, labels[1])
                    own["latencies"] = [a + b for a, b in zip(own["latencies"], counts, strict=True)]
        return totals


def percentile(counts: list[int], percent: float) -> float | None:
    """Return the upper bound of the bucket in which the request at ``percent`` lies; ``None`` if there is none."""
    total = sum(counts)
    place = bisect_left(list(accumulate(counts)), total * percent / 100)
    return LATENCY_BUCKETS_S[place] if total and place < len(LATENCY_BUCKETS_S) else None


def _of(totals: Totals, model: str) -> dict[str, Any]:
    return totals.setdefault(model, {"requests": 0, "errors": 0, "latencies": [0] * (len(LATENCY_BUCKETS_S) + 1)})
