"""Events on their way into panes: checked as the contract says, stored, and in this worker's memory when answered for.

The other workers see them within ``refresh_s``. A request's events are taken together or not at all; those that were
there already, contradict one that was, or are older than what is kept, change nothing, and the answer counts them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

from aforo.contracts.windows import EventStream
from aforo.errors import StoreUnavailable
from prediction_api.explaining import Faults, Value, check_value, expected, kind_of, parse
from prediction_api.metrics import Metrics
from prediction_api.pane_store import OUTCOMES, Event, PaneStore, event_of
from prediction_api.problems import Problem, pointer
from prediction_api.served_models import ServedModels
from prediction_api.windows import StreamPanes, WindowPanes, microseconds

logger = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_EVENTS = 10_000
_FIELDS = ("model", "stream", "events")
_CLOCK_TOLERANCE_S = 60.0
"""How far another machine's clock may be ahead of ours."""


class Events:
    """What one worker does for events.

    Parameters
    ----------
    refresh_s
        How often the panes are read from the store.
    now
        Seconds since 1970.
    """

    def __init__(
        self,
        models: ServedModels,
        windows: WindowPanes,
        store: PaneStore,
        metrics: Metrics,
        *,
        refresh_s: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._models = models
        self._windows = windows
        self._store = store
        self._metrics = metrics
        self._refresh_s = refresh_s
        self._now = now
        self._thread: ThreadPoolExecutor | None = None  # threads do not survive the fork
        self._is_away = False

    async def take(self, body: bytes) -> dict[str, object]:
        """Take the events of a request, and return how many became what.

        Raises
        ------
        Problem
            The request is not what the contract says, the model or stream is not served, or the database does not
            answer; nothing was taken.
        """
        model, stream, rows = _read(body)
        held = await self._streams(model, stream)
        checked = self._checked(model, stream, rows, [panes.stream for panes in held])
        counts: Counter[str] = Counter()
        for panes, events in zip(held, checked, strict=True):
            try:
                written = await self._beside(self._store.add, panes.name, panes.stream, events)
            except StoreUnavailable as error:
                logger.error("events not taken", extra={"model": model, "stream": stream, "reason": error.message})
                detail = "events cannot be stored now; send them again: what was stored all the same is recognised"
                raise Problem("not_ready", detail, headers={"Retry-After": "1"}) from error
            panes.apply(written.panes, written.newest_us)
            counts = Counter(written.outcomes)
        for outcome, count in counts.items():
            self._metrics.count("aforo_events_total", model, stream, outcome, by=count)
        return {"model": model, "stream": stream, **{outcome: counts[outcome] for outcome in OUTCOMES}}

    async def refresh(self) -> None:
        """Read what is new in the store; where it does not answer, what is here grows old."""
        for panes in tuple(self._windows.streams.values()):
            started = time.monotonic()
            try:
                found = await self._beside(self._store.read, panes.name, panes.revision)
            except StoreUnavailable as error:
                if not self._is_away:
                    logger.error("panes not read", extra={"stream": panes.name, "reason": error.message})
                self._is_away = True
                return
            panes.apply(found.panes, found.newest_us)
            panes.read_until(found.revision, started)
        if self._is_away:
            logger.info("panes are read again")
            self._is_away = False

    async def watch(self, worker: int) -> None:
        """Keep the panes fresh until cancelled."""
        self._windows.read_first = self._read_first
        while True:
            await self.refresh()
            for panes in self._windows.streams.values():
                name = panes.stream.stream
                if panes.age_s is not None:
                    self._metrics.gauge("aforo_window_panes_age_seconds", panes.age_s, str(worker), panes.model, name)
                if panes.newest_us is not None:
                    self._metrics.gauge("aforo_events_newest_seconds", panes.newest_us / 1e6, panes.model, name)
            await asyncio.sleep(self._refresh_s)

    def close(self) -> None:
        """Close the connection, after what is being written."""
        if self._thread is not None:
            self._thread.submit(self._store.close)
            self._thread.shutdown()

    def _read_first(self, panes: StreamPanes) -> None:
        """Read the panes of a definition that has just arrived; called in the thread that loads its version."""
        started = time.monotonic()
        try:
            found = self._database().submit(self._store.read, panes.name, 0).result()
        except StoreUnavailable as error:
            logger.error("panes not read", extra={"stream": panes.name, "reason": error.message})
            return
        panes.apply(found.panes, found.newest_us)
        panes.read_until(found.revision, started)

    async def _streams(self, model: str, stream: str) -> list[StreamPanes]:
        """Return the panes of each definition of a stream that a version in memory has; the champion's last."""
        if model not in self._models.models:
            await self._models.obtain(model, None, None)
        served = self._models.models[model]
        champion = self._models.find(model, None, None)
        versions = sorted(served.loaded.values(), key=lambda version: version is champion)
        known = {each.stream: None for version in versions for each in version.contract.windows}
        found = {
            panes.name: panes
            for version in versions
            for each in version.contract.windows
            if each.stream == stream
            for panes in [self._windows.of(model, each)]
        }
        if not found:
            raise Problem(
                "stream_not_found", f"{model} has no event stream {stream!r}; it has: {', '.join(known) or 'none'}"
            )
        return list(found.values())

    def _checked(
        self, model: str, stream: str, rows: Sequence[object], definitions: Sequence[EventStream]
    ) -> list[list[Event]]:
        """Return the events of each definition."""
        faults, why = Faults(), Counter[str]()
        names = {column.name for definition in definitions for column in definition.event_columns}
        checked: list[list[Event]] = [[] for _ in definitions]
        for number, row in enumerate(rows):
            if not isinstance(row, dict):
                faults.add(pointer("events", number), "wrong_type", f"expected an object, got {kind_of(row)}")
                why["invalid"] += 1
                continue
            before = faults.count
            for name in row.keys() - names:
                faults.add(pointer("events", number, name), "unknown_field", f"an event has {', '.join(sorted(names))}")
            for place, definition in enumerate(definitions):
                event = self._event(row, definition, number, faults)
                if isinstance(event, Event):
                    checked[place].append(event)
                else:
                    why[event] += 1
                    break
            else:
                why["invalid"] += faults.count > before
        for reason, count in why.items():
            if count:
                self._metrics.count("aforo_events_total", model, stream, reason, by=count)
        faults.raise_if_any("invalid_events")
        return checked

    def _event(self, row: Mapping[str, object], stream: EventStream, number: int, faults: Faults) -> Event | str:
        """Return the event, or in one word why it is none."""
        values: dict[str, Value] = {}
        wrong = []
        for column in stream.event_columns:
            before, place = faults.count, pointer("events", number, column.name)
            if column.name in row:
                values[column.name] = check_value(row[column.name], column, place, faults)
            else:
                faults.add(place, "missing_field", f"expected {expected(column)}")
            if faults.count > before:
                wrong.append(column.name)
        if wrong:
            keyless = any(name in stream.by and row.get(name) in (None, "") for name in wrong)
            return "missing_key" if keyless else "invalid"
        known_at = values[stream.known_at]
        if not isinstance(known_at, datetime):
            raise AssertionError(f"{stream.known_at} is a timestamp")
        if known_at.timestamp() > self._now() + _CLOCK_TOLERANCE_S:
            place = pointer("events", number, stream.known_at)
            faults.add(
                place, "in_the_future", f"{known_at.isoformat()} is yet to come; an event is sent once it is known"
            )
            return "future"
        adds = []
        for measure in stream.measures:
            value = values[measure.of]
            if not isinstance(value, int | float):
                raise AssertionError(f"{measure.of} is a number")
            added = measure.of_value(value)
            if added is None:
                place = pointer("events", number, measure.of)
                faults.add(place, "inexact", f"expected {measure.decimals} decimals at most, got {value!r}")
                return "invalid"
            adds.append(added)
        return event_of(values, stream, tuple(adds), microseconds(known_at))

    async def _beside(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._database(), work, *arguments)

    def _database(self) -> ThreadPoolExecutor:
        """Return the one thread that has the connection."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="events")
        return self._thread


def _read(body: bytes) -> tuple[str, str, list[object]]:
    """Return model, stream and events of a request."""
    document = parse(body)
    faults = Faults()
    if not isinstance(document, dict):
        faults.add("", "wrong_type", f"expected an object with {', '.join(_FIELDS)}, got {kind_of(document)}")
        faults.raise_if_any("invalid_events")
    for name in document.keys() - set(_FIELDS):
        faults.add(pointer(name), "unknown_field", f"expected {', '.join(_FIELDS)}")
    for name in ("model", "stream"):
        if not isinstance(document.get(name), str):
            faults.add(pointer(name), "wrong_type", f"expected its name, got {kind_of(document.get(name))}")
    events = document.get("events")
    if not isinstance(events, list) or not events:
        faults.add(pointer("events"), "wrong_type", "expected an array of one event or more")
    elif len(events) > _MOST_EVENTS:
        detail = f"{len(events):,} events in one request; expected {_MOST_EVENTS:,} or fewer"
        raise Problem("too_many_rows", detail)
    faults.raise_if_any("invalid_events")
    return document["model"], document["stream"], document["events"]
