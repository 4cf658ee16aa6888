"""Features over time windows of an event stream: one definition for training, batch and the prediction API.

An event is something that becomes known at a moment: a flight departs, 12 minutes late. Events are counted and summed
in panes, which are aligned at 1970-01-01T00:00Z; a window is a number of panes::

    panes     | 15:00 | 15:10 | 15:20 | ... | 16:50 | 17:00 ...
    window            [ two hours of whole panes     )
                                              asked at 17:04

A window ends where the pane that it is asked in begins. So an event counts if its pane was over when the question was
asked; one that becomes known at the very moment of the question does not count, and nothing later ever does.

Sums are whole numbers (a value times ``10 ** decimals``), so the order of events does not matter, and a mean is one
division of two whole numbers: the same bits whoever computes it. Where a window holds no event of any key, nothing is
known, and all its columns are missing; where it holds some, but none of the row's key, the count is 0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, model_validator

from aforo.contracts.specification import Specification
from aforo.contracts.table import ColumnContract, ColumnType, Role, TableContract

MINUTE_US = 60_000_000
LARGEST_FIXED = 2**40
"""Largest magnitude of a value times ``10 ** decimals``; a window of eight million such values still fits 64 bits."""

_KEY_TYPES: tuple[ColumnType, ...] = ("string", "integer", "boolean")
_COUNTED_TYPES: tuple[ColumnType, ...] = ("integer", "number", "boolean")


class Measure(NamedTuple):
    """One sum that every pane holds beside its count.

    Attributes
    ----------
    at_least
        Count the events whose value is this or more; ``None`` to add up the values themselves.
    """

    of: str
    decimals: int
    at_least: float | None

    def of_value(self, value: float) -> int | None:
        """Return what an event adds to the sum; ``None`` if its value has more decimals, or is too large."""
        if self.at_least is not None:
            return int(value >= self.at_least)
        scale = 10**self.decimals
        scaled = round(value * scale)
        return scaled if scaled / scale == value and abs(scaled) <= LARGEST_FIXED else None


class _Windowed(Specification):
    minutes: Annotated[int, Field(ge=1)]

    @property
    def measure(self) -> Measure | None:
        """The sum that it is computed from, ``None`` if the count is enough."""
        return None


class CountColumn(_Windowed):
    """How many events there were."""

    kind: Literal["count"] = "count"


class MeanColumn(_Windowed):
    """The mean of a column of the events; missing where there was none.

    Attributes
    ----------
    decimals
        How many its values have at most.
    """

    kind: Literal["mean"] = "mean"
    of: str
    decimals: Annotated[int, Field(ge=0, le=6)] = 0

    @property
    def measure(self) -> Measure:
        return Measure(self.of, self.decimals, None)


class ShareColumn(_Windowed):
    """The share (0-1) of events whose value is ``at_least`` or more; missing where there was none."""

    kind: Literal["share"] = "share"
    of: str
    at_least: float

    @property
    def measure(self) -> Measure:
        return Measure(self.of, 0, self.at_least)


WindowColumn = Annotated[CountColumn | MeanColumn | ShareColumn, Field(discriminator="kind")]


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Window(Specification):
    """Columns over windows of one event stream: what training, batch and the prediction API have in common.

    Attributes
    ----------
    stream
        What the events are called in ``POST /events``.
    known_at
        The ``leak`` timestamp from which on an event is known; a row where it is missing is no event.
    asked_at
        The timestamp at which a prediction is asked, known before.
    by
        Only events with the row's values of these columns count.
    keep_days
        For how long, counted back from the newest event, the prediction API holds panes and knows events again.
    columns
        Contract column to what it is.

    References
    ----------
    Lakshmanan, Robinson, Munn: Machine Learning Design Patterns, 2020, "Windowed Inference". Li et al.: No Pane, No
    Gain: Efficient Evaluation of Sliding-Window Aggregates over Data Streams, SIGMOD Record 34, 2005. Akidau et al.:
    The Dataflow Model, VLDB 8, 2015 (event time, lateness).
    """

    stream: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    known_at: str
    asked_at: str
    by: Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    pane_minutes: Annotated[int, Field(ge=1, le=1440)] = 10
    keep_days: Annotated[int, Field(ge=1, le=365)] = 7
    columns: Annotated[Mapping[str, WindowColumn], Field(min_length=1)]

    @property
    def pane_us(self) -> int:
        return self.pane_minutes * MINUTE_US

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What each pane holds beside its count, each once."""
        return tuple(dict.fromkeys(c.measure for c in self.columns.values() if c.measure is not None))

    @model_validator(mode="after")
    def _windows_are_whole_panes(self) -> Self:
        for name, column in self.columns.items():
            if column.minutes % self.pane_minutes:
                raise ValueError(
                    f"column {name!r} is over {column.minutes} minutes, which are no whole panes of {self.pane_minutes}"
                )
            if column.minutes > self.keep_days * 1440:
                raise ValueError(f"column {name!r} is over {column.minutes} minutes; kept are {self.keep_days} days")
        return self


class WindowSpec(Window):
    """A window as a use case declares it. The events of training are the rows of the table, set aside or not.

    A model that always had its windows does not know what to say without them: where they are missing in its training
    rows the night is quiet, and so it takes a service that was told nothing for one. ``hidden`` lets it learn that
    case, too. Rows with windows pay for it, of which fewer are learnt from; where windows are never missing when a
    question is asked, leave it at 0.

    Attributes
    ----------
    hidden
        Share (0-0.5) of the rows of train, validation and calibration whose columns over the window are missing, chosen
        by a hash of the row's key. The test part and what is served are left as they are.

    References
    ----------
    Neverova, Wolf, Taylor, Nebout: ModDrop: Adaptive Multi-Modal Gesture Recognition, TPAMI 38, 2016 (a whole source of
    inputs is dropped at random in training, so that the model works without it). Josse, Prost, Scornet, Varoquaux: On
    the consistency of supervised learning with missing values, arXiv:1902.06931, 2019 (trees that take a missing value
    as it is learn the best answer for each pattern of missing values, if training has it).
    """

    hidden: Annotated[float, Field(ge=0, le=0.5)] = 0.0


class EventStream(Window):
    """A window's definition with the contracts of its columns: all that is needed apart from the table.

    Attributes
    ----------
    identity
        The columns that tell two events apart.
    event_columns
        What an event holds; nothing in it may be missing.
    request_columns
        The time of the question and the key, as a request for a prediction gives them.
    """

    identity: tuple[str, ...]
    event_columns: tuple[ColumnContract, ...]
    request_columns: tuple[ColumnContract, ...]

    @property
    def digest(self) -> str:
        """What panes depend on, as 16 hex digits: those of another digest are no use."""
        content = [self.stream, self.known_at, self.by, self.pane_minutes, self.identity, self.measures]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def pane(self, moment_us: int) -> int:
        """Return the number of the pane that a moment, in microseconds since 1970, lies in."""
        return moment_us // self.pane_us

    def features(self, name: str, count: int, sums: Mapping[Measure, int]) -> float | None:
        """Return one column from what its window holds."""
        column = self.columns[name]
        if isinstance(column, CountColumn):
            return float(count)
        if not count:
            return None
        measure = column.measure
        if measure is None:
            raise AssertionError(f"{name} is computed from a sum")
        return float(sums[measure]) / float(count * 10**measure.decimals)


def event_streams(windows: tuple[WindowSpec, ...], table: TableContract) -> tuple[EventStream, ...]:
    """Return the windows with the contracts of their columns.

    Raises
    ------
    ValueError
        A column does not exist or cannot be what the window takes it for, or the window would see its own row.
    """
    return tuple(_event_stream(window, table, f"windows[{place}]") for place, window in enumerate(windows))


def _event_stream(window: WindowSpec, table: TableContract, place: str) -> EventStream:
    measured = tuple(dict.fromkeys(measure.of for measure in window.measures))
    for name in dict.fromkeys((window.known_at, window.asked_at, *window.by, *measured, *window.columns)):
        if name not in table.names:
            raise ValueError(f"{place} names {name!r}, which is not in columns")
    _refuse_wrong_columns(window, table, place, measured)
    _refuse_hiding_without_key(window, table, place)
    names = {*table.key, *window.by, window.known_at, *measured}
    events = tuple(_never_missing(c) for c in table.columns if c.name in names)
    identity = table.key or tuple(c.name for c in events)
    asked = {window.asked_at, *window.by}
    requests = tuple(_may_be_missing(c) for c in table.columns if c.name in asked)
    return EventStream(**dict(_fields(window)), identity=identity, event_columns=events, request_columns=requests)


def _fields(window: WindowSpec) -> Iterator[tuple[str, Any]]:
    return ((name, getattr(window, name)) for name in Window.model_fields)


def _refuse_wrong_columns(window: WindowSpec, table: TableContract, place: str, measured: tuple[str, ...]) -> None:
    known, asked = table[window.known_at], table[window.asked_at]
    for column in (known, asked):
        if column.type != "timestamp":
            raise ValueError(f"{place}: {column.name!r} is a {column.type}; expected a timestamp")
    if {Role.LEAK, Role.TARGET} & set(asked.role):
        raise ValueError(f"{place} leaks: asked_at {asked.name!r} is known only after the moment of prediction")
    if Role.LEAK not in known.role:
        raise ValueError(
            f"{place} leaks: known_at {known.name!r} does not have the role 'leak', so it is known before the "
            "prediction is asked, and a window would see the event of its own row"
        )
    for name in window.by:
        column = table[name]
        if column.type not in _KEY_TYPES or column.nullable or {Role.LEAK, Role.TARGET} & set(column.role):
            raise ValueError(
                f"{place}: by {name!r} must be a {' or '.join(_KEY_TYPES)} that is never missing and known beforehand"
            )
    for name in measured:
        column = table[name]
        if column.type not in _COUNTED_TYPES or name in window.columns:
            raise ValueError(f"{place}: the window is of {name!r}, which is a {column.type}; expected a number of rows")
        if column.known_at != window.known_at:
            when = "does not say when it is known" if column.known_at is None else f"is known at {column.known_at!r}"
            raise ValueError(
                f"{place} leaks: {name!r} {when}, and its events are taken as known at {window.known_at!r}; "
                f"if it is known then, say so with `known_at: {window.known_at}` on the column"
            )
    for name in window.columns:
        column = table[name]
        if column.type not in ("integer", "number") or Role.FEATURE not in column.role or not column.nullable:
            raise ValueError(f"{place} gives {name!r}; expected a number with the role 'feature' and `nullable: true`")
        if column.type == "integer" and window.columns[name].kind != "count":
            raise ValueError(f"{place} gives {name!r}, a {window.columns[name].kind}; its type is integer, not number")


def _refuse_hiding_without_key(window: WindowSpec, table: TableContract, place: str) -> None:
    if not window.hidden:
        return
    unhashed = [name for name in table.key if table[name].type == "number"]
    if not table.key or unhashed:
        why = f"{', '.join(map(repr, unhashed))} is a number" if unhashed else "no column has the role 'key'"
        raise ValueError(
            f"{place}.hidden chooses rows by a hash of their key, and {why}; give each row a name, or hide 0"
        )


def _never_missing(column: ColumnContract) -> ColumnContract:
    return column.model_copy(update={"nullable": False, "expression": None, "role": (Role.INFO,)})


def _may_be_missing(column: ColumnContract) -> ColumnContract:
    return column.model_copy(update={"nullable": True, "expression": None, "role": (Role.INFO,)})
