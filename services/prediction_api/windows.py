"""Window columns of requests: panes in the worker's memory, kept up with the store, and filled into rows.

A row that gives the time of its question (and the key) gets the columns over windows that it leaves out; a value that
the caller gives is taken as it is. Without the time they are missing. What the columns mean, and why they are those
of the training table bit for bit: :mod:`aforo.contracts.windows`.

A window is missing as a whole where it cannot be known: it holds no event at all, it begins before what is kept, or
the panes in memory are older than ``stale_s`` because the store does not answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import NamedTuple

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.windows import EventStream, Measure
from prediction_api.explaining import Row, Value
from prediction_api.metrics import Metrics
from prediction_api.problems import Fault, Problem, pointer

Key = tuple[Value, ...]

DAY_US = 86_400_000_000
_MOST_KNOWN = 4_096
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Pane(NamedTuple):
    """One pane of one key, as it was at a revision of its stream."""

    key: Key
    pane: int
    revision: int
    events: int
    sums: tuple[int, ...]


class StreamPanes:
    """The panes of one stream of one model, as one worker holds them.

    Parameters
    ----------
    now
        Seconds of a steady clock.

    Attributes
    ----------
    newest_us
        The newest event's time, in microseconds since 1970; ``None`` before the first.
    revision
        That of the store up to which all panes are here.
    """

    def __init__(
        self, model: str, stream: EventStream, *, stale_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.model = model
        self.stream = stream
        self.name = f"{model}/{stream.stream}@{stream.digest}"
        self.newest_us: int | None = None
        self.revision = 0
        self._stale_s = stale_s
        self._now = now
        self._read_at: float | None = None
        self._panes: dict[Key, dict[int, Pane]] = {}
        self._every: dict[int, int] = {}
        """Events of all keys in a pane."""
        self._known: dict[tuple[Key, int], tuple[float | None, ...] | None] = {}
        """Columns of a key and a pane, until an event comes."""
        self._widths = sorted({column.minutes // stream.pane_minutes for column in stream.columns.values()})
        self._columns = [
            (name, self._widths.index(column.minutes // stream.pane_minutes)) for name, column in stream.columns.items()
        ]

    @property
    def age_s(self) -> float | None:
        """Since the panes were last as they are in the store; ``None`` if they never were."""
        return None if self._read_at is None else self._now() - self._read_at

    @property
    def oldest_pane(self) -> int:
        """The first pane that is kept."""
        return 0 if self.newest_us is None else self.stream.pane(self.newest_us - self.stream.keep_days * DAY_US)

    def apply(self, panes: Sequence[Pane], newest_us: int | None) -> None:
        """Take over panes that are newer than those here, and forget those that are no longer kept."""
        if not panes and newest_us == self.newest_us:
            return
        for pane in panes:
            own = self._panes.setdefault(pane.key, {})
            before = own.get(pane.pane)
            if before is None or before.revision < pane.revision:
                own[pane.pane] = pane
                self._every[pane.pane] = self._every.get(pane.pane, 0) + pane.events - (before.events if before else 0)
        if newest_us is not None and (self.newest_us is None or newest_us > self.newest_us):
            before_pane, self.newest_us = self.oldest_pane, newest_us
            if self.oldest_pane > before_pane:
                self._forget()
        # Another object: who computes from the panes of before, in another thread, keeps it in what is gone.
        self._known = {}

    def read_until(self, revision: int, at: float) -> None:
        """Take note that the store was read at ``at``, and had come to ``revision``."""
        self.revision = max(self.revision, revision)
        self._read_at = at

    def columns(self, key: Key, asked_us: int) -> tuple[float | None, ...] | None:
        """Return the stream's columns for a question; ``None`` where the window cannot be known."""
        age_s = self.age_s
        if age_s is None or age_s > self._stale_s:
            return None
        end = self.stream.pane(asked_us)
        known = self._known
        if (key, end) not in known:
            columns = self._columns_before(key, end)
            if len(known) < _MOST_KNOWN:
                known[key, end] = columns
            return columns
        return known[key, end]

    def _columns_before(self, key: Key, end: int) -> tuple[float | None, ...] | None:
        if end - self._widths[-1] < self.oldest_pane:
            return None
        own = self._panes.get(key, {})
        windows = [self._window(own, end, width) for width in self._widths]
        return tuple(
            None if (held := windows[place]) is None else self.stream.features(name, *held)
            for name, place in self._columns
        )

    def _window(self, own: dict[int, Pane], end: int, width: int) -> tuple[int, dict[Measure, int]] | None:
        """Count and sums of the ``width`` panes before ``end``; ``None`` if they hold no event of any key."""
        if not any(self._every.get(pane) for pane in range(end - width, end)):
            return None
        held = [pane for place in range(end - width, end) if (pane := own.get(place)) is not None]
        sums = [sum(column) for column in zip(*(pane.sums for pane in held), strict=True)]
        measures = self.stream.measures
        return sum(pane.events for pane in held), dict(zip(measures, sums or [0] * len(measures), strict=True))

    def _forget(self) -> None:
        oldest = self.oldest_pane
        self._every = {pane: count for pane, count in self._every.items() if pane >= oldest}
        kept = ((key, {p: held for p, held in own.items() if p >= oldest}) for key, own in self._panes.items())
        self._panes = {key: own for key, own in kept if own}


class WindowPanes:
    """The panes of all streams that served versions are computed from. Versions of one definition share them.

    Parameters
    ----------
    stale_s
        Panes that were not read from the store for longer are not used.

    Attributes
    ----------
    read_first
        Reads new panes from the store; ``None`` until the worker has a connection, which reads all of them.
    """

    def __init__(self, metrics: Metrics, *, stale_s: float) -> None:
        self.streams: dict[str, StreamPanes] = {}
        self.read_first: Callable[[StreamPanes], None] | None = None
        self._metrics = metrics
        self._stale_s = stale_s

    def of(self, model: str, stream: EventStream) -> StreamPanes:
        """Return the panes of one definition; new ones are read first, so that no version answers before."""
        fresh = StreamPanes(model, stream, stale_s=self._stale_s)
        if fresh.name not in self.streams and self.read_first is not None:
            self.read_first(fresh)
        return self.streams.setdefault(fresh.name, fresh)

    def filler(self, contract: PredictionContract) -> WindowFiller | None:
        """Return what fills in the contract's windows; ``None`` if it has none."""
        if not contract.windows:
            return None
        held = [self.of(contract.use_case, stream) for stream in contract.windows]
        return WindowFiller(contract, held, self._metrics)


class WindowFiller:
    """Turns rows as requested into rows as the model takes them."""

    def __init__(self, contract: PredictionContract, held: Sequence[StreamPanes], metrics: Metrics) -> None:
        self._inputs = itemgetter(slice(len(contract.inputs)))
        self._streams = [_StreamPlaces(contract, panes, metrics) for panes in held]

    def fill(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows in the order of the contract's inputs.

        Parameters
        ----------
        rows
            In the order of the contract's request columns.

        Raises
        ------
        Problem
            ``invalid_rows``: a row gives the time, and not the key.
        """
        filled: list[Row] = list(map(self._inputs, rows))
        for places in self._streams:
            at = places.asked
            without = [row[at] for row in rows].count(None)
            if without < len(rows):
                for number, row in enumerate(rows):
                    if isinstance(moment := row[at], datetime):
                        filled[number] = self._filled(filled[number], row, moment, places, number)
            places.no_time.value += without
        return filled

    def _filled(self, values: Row, row: Row, moment: datetime, places: _StreamPlaces, number: int) -> Row:
        """Return ``values`` with the columns of one stream, where they do not hold them yet."""
        key = tuple(row[place] for place in places.by)
        if None in key:
            raise _no_key(places.held.stream, key, number)
        columns = places.held.columns(key, microseconds(moment))
        if columns is None:
            places.unknown.value += 1
            return values
        places.filled.value += 1
        completed = list(values)
        for place, value in zip(places.columns, columns, strict=True):
            if place is not None and completed[place] is None:
                completed[place] = value
        return tuple(completed)


class _StreamPlaces:
    """Where in a row the time, the key and the columns of a stream are; ``None`` for a column the model leaves out.

    And the counters of what became of rows.
    """

    def __init__(self, contract: PredictionContract, held: StreamPanes, metrics: Metrics) -> None:
        names = [column.name for column in contract.request_columns]
        inputs = {column.name: place for place, column in enumerate(contract.inputs)}
        self.held = held
        self.asked = names.index(held.stream.asked_at)
        self.by = [names.index(name) for name in held.stream.by]
        self.columns = [inputs.get(name) for name in held.stream.columns]
        self.no_time, self.unknown, self.filled = (
            metrics.counter("aforo_window_rows_total", held.model, held.stream.stream, outcome)
            for outcome in ("no_time", "unknown", "filled")
        )


def microseconds(moment: datetime) -> int:
    """Return a moment as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def _no_key(stream: EventStream, key: Key, number: int) -> Problem:
    missing = [name for name, value in zip(stream.by, key, strict=True) if value is None]
    faults = tuple(
        Fault(pointer("rows", number, name), "missing_field", f"needed where {stream.asked_at} is given")
        for name in missing
    )
    return Problem("invalid_rows", f"row {number}: {faults[0].pointer}: {faults[0].message}", faults=faults)
