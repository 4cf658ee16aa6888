"""What one worker does for the challengers on trial: who answers, what is copied, and when it is enough.

A canary's request that the challenger fails at is answered by the champion, so a trial costs no caller an answer.
Copies for a shadow wait in a bounded queue, and are predicted a few rows at a time between requests: about 0.1 % of
the worker's time while others ask, half of it while nobody does. What does not fit in the queue is counted and left
out.

Slowness is judged on equal terms: twice a second both versions predict the same rows, and the times are compared. So
neither the load of the machine nor the size of requests makes a challenger look slow.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from statistics import median
from typing import Protocol

from prediction_api.answers import Prediction
from prediction_api.explaining import Row
from prediction_api.metrics import Metrics
from prediction_api.problems import Problem
from prediction_api.recording import SHADOW, Answered, Recorder
from prediction_api.served_models import CHAMPION, ServedModels
from prediction_api.served_version import ServedVersion
from prediction_api.trials import Trial, TrialFile, TrialFiles, misfit, place_of

logger = logging.getLogger(__name__)

_RECENT_REQUESTS = 1_000
_LEAST_FAILURES = 3
_PROBE_S = 0.5
_PROBES = 5
_PROBE_ROWS = 8
_PROBE_REPEATS = 3
_SLICE_ROWS = 4
_MOST_COPIES = 1_024
_MOST_COPIED_ROWS = 16_384
_PAUSE_BUSY, _PAUSE_IDLE = 1_000.0, 1.0
"""Pause after a slice, in times of what it took. Of requests one after another, one meets the slice and the rest come
in the pause: about 1,000, so that the 99th percentile stays. After 250 it would be what the 99.4th was before."""
_SHORTEST_PAUSE_S = 0.001


class Request(Answered, Protocol):
    """What is looked at to decide who answers."""

    served: ServedVersion | None
    champion: ServedVersion | None


class RunningTrial:
    """A trial in one worker, from its begin to its stop or to another version of either side.

    Parameters
    ----------
    on_stop
        Told the reason, once.

    Attributes
    ----------
    has_canary
        Whether the challenger answers anybody, so that it has to be asked whom.
    """

    def __init__(
        self,
        model: str,
        trial: Trial,
        champion: ServedVersion,
        challenger: ServedVersion,
        *,
        metrics: Metrics,
        recorder: Recorder | None,
        on_stop: Callable[[str], None],
    ) -> None:
        self.model = model
        self.trial = trial
        self.champion = champion
        self.challenger = challenger
        self._metrics = metrics
        self._recorder = recorder
        self._on_stop = on_stop
        self.has_canary = trial.canary_percent > 0
        self._is_full = False
        self._is_stopped = False
        self._failures: deque[bool] = deque(maxlen=_RECENT_REQUESTS)
        self._slowdowns: deque[float] = deque(maxlen=_PROBES)
        self._rows: Sequence[Row] = ()
        self._copies: deque[tuple[Answered, Sequence[Row], Sequence[Prediction]]] = deque()
        self._copied_rows = 0
        self._not_copied = 0
        self._answered = 0

    def choose(self, request: Request) -> ServedVersion:
        """Return who answers: the challenger for its share of the callers, else the champion."""
        if self._is_stopped:
            return self.champion
        caller_id = request.headers.get(b"x-caller-id", b"")
        if place_of(self.model, request.caller, caller_id) >= self.trial.canary_percent:
            return self.champion
        request.champion = self.champion
        return self.challenger

    def answered(self, request: Request, rows: Sequence[Row], predictions: Sequence[Prediction]) -> None:
        """Take note of an answer; keep a copy for the shadow if the champion gave it."""
        self._answered += 1
        if self._is_full and request.champion is None:  # where most requests under load end
            self._not_copied += 1
            return
        self._rows = rows
        if request.served is self.challenger:
            self._failures.append(False)
        elif self.trial.shadow and request.champion is None and not self._is_stopped:
            if len(self._copies) >= _MOST_COPIES or self._copied_rows + len(rows) > _MOST_COPIED_ROWS:
                self._not_copied += 1
                self._is_full = True
            else:
                self._copies.append((request, rows, predictions))
                self._copied_rows += len(rows)

    def failed(self, error: Exception) -> None:
        """Take note of a request that the challenger failed at."""
        self._metrics.count("aforo_challenger_failures_total", self.model, self.challenger.version)
        self._failures.append(True)
        failures = sum(self._failures)
        if failures >= _LEAST_FAILURES and failures > self.trial.max_error_share * len(self._failures):
            self._stop(
                f"it failed at {failures} of its last {len(self._failures):,} requests; the last time: {error!r}"
            )

    async def probe(self) -> None:
        """Let both versions predict the same rows, and compare the times; between two goes requests have their turn."""
        rows = list(self._rows[:_PROBE_ROWS]) or self.challenger.golden_rows(_PROBE_ROWS)
        seconds = {self.champion: float("inf"), self.challenger: float("inf")}
        for _ in range(_PROBE_REPEATS):
            await asyncio.sleep(0)
            for served in seconds:
                started = time.perf_counter()
                try:
                    served.outputs(rows)
                except Exception as error:  # whatever the runtime raises is the challenger's failure, or a request's
                    if served is self.challenger:
                        self.failed(error)
                    return
                seconds[served] = min(seconds[served], time.perf_counter() - started)
        for served, least in seconds.items():
            self._metrics.gauge("aforo_trial_call_seconds", least, self.model, served.version)
        self._slowdowns.append(seconds[self.challenger] / seconds[self.champion])
        slowdown = median(self._slowdowns)
        self._metrics.gauge("aforo_challenger_slowdown", slowdown, self.model)
        if len(self._slowdowns) == _PROBES and slowdown > self.trial.max_slowdown:
            self._stop(
                f"it takes {slowdown:.1f} times as long as the champion for the same rows, "
                f"which is more than {self.trial.max_slowdown:g} times"
            )

    async def shadow(self) -> None:
        """Predict the copies, a few at a time, until cancelled."""
        try:
            while True:
                seen = self._answered
                spent_s = self._predict_some_copies()
                self._count_not_copied()
                await asyncio.sleep(_SHORTEST_PAUSE_S)
                busy = self._answered != seen
                await asyncio.sleep(max(_SHORTEST_PAUSE_S, spent_s * (_PAUSE_BUSY if busy else _PAUSE_IDLE)))
        finally:
            self._count_not_copied()

    def _count_not_copied(self) -> None:
        if self._not_copied:
            self._metrics.count("aforo_shadow_dropped_total", self.model, by=self._not_copied)
            self._not_copied = 0

    def _predict_some_copies(self) -> float:
        """Predict copies of a few rows in all, at least one; return the seconds it took."""
        started = time.perf_counter()
        copies = []
        rows: list[Row] = []
        while self._copies and (not rows or len(rows) + len(self._copies[0][1]) <= _SLICE_ROWS):
            copies.append(self._copies.popleft())
            rows += copies[-1][1]
        if not copies or self._is_stopped:
            return 0.0
        self._copied_rows -= len(rows)
        self._is_full = False
        try:
            predictions = []
            for start in range(0, len(rows), self.challenger.batcher.slice_rows):
                predictions += self.challenger.score(rows[start : start + self.challenger.batcher.slice_rows])
        except Exception as error:  # its failure, and the reason to stop it
            self.failed(error)
            return time.perf_counter() - started
        self._failures.append(False)
        place = 0
        for request, own, champions in copies:
            theirs = predictions[place : place + len(own)]
            place += len(own)
            self._compare(champions, theirs)
            if self._recorder is not None:
                self._recorder.record(request, self.challenger, own, theirs, role=SHADOW)
        if self._recorder is not None:
            self._recorder.flush()
        return time.perf_counter() - started

    def _compare(self, champions: Sequence[Prediction], challengers: Sequence[Prediction]) -> None:
        labels = (self.model, self.challenger.version)
        difference = self._metrics.histogram("aforo_shadow_difference", *labels)
        disagreements = 0
        for ours, theirs in zip(champions, challengers, strict=True):
            own, other = numbers_of(ours), numbers_of(theirs)
            if self.champion.contract.task == "regression":
                disagreements += not (own and other and own[1] <= other[0] <= own[2])
            else:
                disagreements += ours.label != theirs.label
            if own and other:
                difference.observe(max(abs(a - b) for a, b in zip(own, other, strict=True)))
        self._metrics.count("aforo_shadow_rows_total", *labels, by=len(champions))
        self._metrics.count("aforo_shadow_disagreements_total", *labels, by=disagreements)

    def _stop(self, reason: str) -> None:
        if not self._is_stopped:
            self._is_stopped = True
            self._is_full = False
            self._copies.clear()
            self._on_stop(reason)


class Challenging:
    """All trials, as one worker runs them.

    Attributes
    ----------
    running
        Model to its trial.
    waiting
        Model to why its trial is not running although nothing stopped it.
    """

    def __init__(self, files: TrialFiles, models: ServedModels, metrics: Metrics, recorder: Recorder | None) -> None:
        self.files = files
        self.running: dict[str, RunningTrial] = {}
        self.waiting: dict[str, str] = {}
        self._models = models
        self._metrics = metrics
        self._recorder = recorder
        self._stamp: object = None
        self._shadows: dict[str, asyncio.Task[None]] = {}

    async def watch(self, look_s: float) -> None:
        """Follow the files and the models, and probe the challengers, until cancelled."""
        probed = 0.0
        try:
            while True:
                self.refresh()
                if time.monotonic() - probed >= _PROBE_S:
                    probed = time.monotonic()
                    for trial in tuple(self.running.values()):
                        await trial.probe()
                await asyncio.sleep(look_s)
        finally:
            for task in self._shadows.values():
                task.cancel()

    def refresh(self) -> None:
        """Run the trials that the files ask for, between the versions that answer now."""
        stamp = (self.files.stamp(), self._models.generation)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        names = [name for name, _, _ in stamp[0] if name in self._models.models]
        for name in (self.running.keys() | self.waiting.keys()) - set(names):
            self._drop(name)
        for name in names:
            try:
                found = self.files.read(name)
            except (Problem, OSError) as error:
                logger.error("trial not run", extra={"model": name, "reason": str(error)})
                found = None
            if found is None or found.stopped is not None:
                self._drop(name)
            else:
                self._run(name, found)

    def _run(self, name: str, file: TrialFile) -> None:
        live = self._models.models[name].live
        champion, challenger = live.get(CHAMPION), live.get(file.trial.alias)
        reason = why_not(champion, challenger, file.trial.alias)
        before = self.running.get(name)
        if reason is not None or champion is None or challenger is None:
            self._drop(name)
            self.waiting[name] = reason or ""
            return
        self.waiting.pop(name, None)
        if before and (before.trial, before.champion, before.challenger) == (file.trial, champion, challenger):
            return
        self._drop(name)

        def stop(why: str) -> None:
            self._metrics.count("aforo_trials_stopped_total", name, challenger.version)
            extra = {"model": name, "model_version": challenger.version, "reason": why}
            try:
                if self.files.stop(name, file.since, challenger.version, why):
                    logger.error("trial stopped", extra=extra)
            except OSError:  # no request may fail because its folder cannot be written
                logger.exception("trial stopped in this worker alone", extra=extra)

        trial = RunningTrial(
            name, file.trial, champion, challenger, metrics=self._metrics, recorder=self._recorder, on_stop=stop
        )
        self.running = {**self.running, name: trial}
        if file.trial.shadow:
            self._shadows[name] = asyncio.get_running_loop().create_task(trial.shadow())
        logger.info("trial runs", extra={"model": name, "model_version": challenger.version})

    def _drop(self, name: str) -> None:
        self.running = {model: trial for model, trial in self.running.items() if model != name}
        self.waiting.pop(name, None)
        task = self._shadows.pop(name, None)
        if task is not None:
            task.cancel()


def why_not(champion: ServedVersion | None, challenger: ServedVersion | None, alias: str) -> str | None:
    """Return why a trial cannot run between two versions, ``None`` if it can."""
    if champion is None:
        return "no champion answers"
    if challenger is None:
        return f"the version that {alias} points at does not answer"
    if challenger.version == champion.version:
        return f"{alias} is version {champion.version}, which is the champion"
    return misfit(champion.contract, challenger.contract)


def numbers_of(prediction: Prediction) -> tuple[float, ...]:
    """Return a prediction's numbers in the contract's order; none where the model gave none."""
    if hasattr(prediction, "probabilities"):
        return () if prediction.probabilities is None else _tuple(prediction.probabilities)
    return () if prediction.value is None else (prediction.value, *_tuple(prediction.interval))


def _tuple(numbers: object) -> tuple[float, ...]:
    return tuple(getattr(numbers, name) for name in numbers.__struct_fields__)  # type: ignore[attr-defined]
