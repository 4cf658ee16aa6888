"""Columns over windows of events: the hand's figures, nothing from the future, and leaks refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aforo.contracts.windows import EventStream
from aforo.data.ingestion import DataSpec, Ingested
from aforo.data.snapshots import Snapshots
from aforo.data.windows import Panes
from aforo.errors import DataError
from aforo.storage import LocalStore

Ingest = Callable[..., Ingested]

NOON = datetime(2013, 7, 4, 12, tzinfo=UTC)
WINDOW: dict[str, Any] = {
    "stream": "departures",
    "known_at": "left",
    "asked_at": "asked",
    "by": ["city"],
    "pane_minutes": 10,
    "columns": {
        "left_1h": {"kind": "count", "minutes": 60},
        "delay_1h": {"kind": "mean", "of": "delay", "minutes": 60},
        "late_1h": {"kind": "share", "of": "delay", "at_least": 15, "minutes": 60},
    },
}
COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "integer", "role": "key"},
    {"name": "city", "type": "string", "role": "feature", "categories": ["Oslo", "Lima"]},
    {"name": "asked", "type": "timestamp", "role": "info"},
    {"name": "left", "type": "timestamp", "role": "leak", "nullable": True},
    {"name": "delay", "type": "number", "role": "leak", "known_at": "left", "nullable": True, "maximum": 500},
    {"name": "left_1h", "type": "integer", "role": "feature", "nullable": True},
    {"name": "delay_1h", "type": "number", "role": "feature", "nullable": True},
    {"name": "late_1h", "type": "number", "role": "feature", "nullable": True},
    {"name": "late", "type": "boolean", "role": "target", "expression": "delay >= 15"},
]
NAMES = ["left_1h", "delay_1h", "late_1h"]


def spec(window: dict[str, Any] | None = None, **changes: dict[str, Any]) -> DataSpec:
    """The contract above, with changes by column."""
    columns = [{**column, **changes.get(column["name"], {})} for column in COLUMNS]
    source = {"kind": "csv", "path": "table.csv"}
    return DataSpec.model_validate({"source": source, "columns": columns, "windows": [{**WINDOW, **(window or {})}]})


def stream() -> EventStream:
    return spec().streams[0]


def at(minutes: float) -> str:
    """A moment, in minutes after noon."""
    return (NOON + timedelta(minutes=minutes)).isoformat()


def write(folder: Path, *rows: tuple[int, str, float | None, float | None, float | None]) -> None:
    """Write rows of id, city, asked and left in minutes after noon, and delay."""
    lines = ["id,city,asked,left,delay"]
    for number, city, asked, left, delay in rows:
        lines.append(
            f"{number},{city},{'' if asked is None else at(asked)},{'' if left is None else at(left)},"
            f"{'' if delay is None else delay}"
        )
    (folder / "table.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def windowed(tmp_path: Path, store: LocalStore, run_ingest: Ingest) -> Callable[..., dict[int, tuple[Any, ...]]]:
    """Ingest rows, and give the window's columns of each by its id."""

    def run(*rows: Any, **document: Any) -> dict[int, tuple[Any, ...]]:
        write(tmp_path, *rows)
        ingested = run_ingest(**{"columns": COLUMNS, "windows": [WINDOW], **document})
        table = Snapshots(store).load(ingested.snapshot_id)
        assert table.columns == [column["name"] for column in COLUMNS]
        return {row[0]: row[1:] for row in table.select("id", *NAMES).rows()}

    return run


def test_the_columns_are_those_of_a_hand_calculation(windowed: Callable[..., Any]) -> None:
    found = windowed(
        (1, "Oslo", -200, -70, 40),  # before the window of 6
        (2, "Oslo", -200, -60, 30),  # 11:00, where the window of 6 begins: in it
        (3, "Oslo", -200, -1, -6),
        (4, "Oslo", -200, 0, 500),  # at the very moment that 6 is asked: not in it
        (5, "Lima", -200, -5, 16),
        (6, "Oslo", 0, 120, 0),
        (7, "Oslo", 9, 120, 0),  # the pane from 12:00 on is not over: as for 6
        (8, "Oslo", 10, 120, 0),  # that of 11:00 is out, that of 12:00 in
        (9, "Lima", 0, 120, 0),
        (10, "Lima", 30, 120, 0),
        (11, "Lima", 60, 120, 0),  # events of others, none of its own
        (12, "Lima", 90, 120, 0),  # no event of anybody
    )

    assert found[6] == found[7] == (2, 12.0, 0.5)
    assert found[8] == (2, 247.0, 0.5)
    assert found[9] == found[10] == (1, 16.0, 1.0)
    assert found[11] == (0, None, None)
    assert found[12] == found[1] == (None, None, None)


def test_the_event_of_a_row_that_is_set_aside_has_happened_all_the_same(windowed: Callable[..., Any]) -> None:
    rows = ((1, "Oslo", -200, -30, 40), (2, "Oslo", 0, 120, 0))

    aside = [{"reason": "diverted", "where": "id = 1"}]

    assert windowed(*rows, set_aside=aside) == {2: (1, 40.0, 1.0)}


def test_an_event_counts_once_however_often_it_comes(windowed: Callable[..., Any]) -> None:
    event = (1, "Oslo", -200, -30, 40)

    assert windowed(event, (2, "Oslo", 0, 120, 0), event)[2] == (1, 40.0, 1.0)


def test_a_row_without_a_moment_is_no_event(windowed: Callable[..., Any]) -> None:
    found = windowed((1, "Oslo", -200, None, 7), (2, "Lima", -90, -30, 3), (3, "Oslo", 0, 120, 0))

    assert found[3] == (0, None, None)


def test_an_event_that_breaks_the_contract_is_none_as_its_row_is_none(windowed: Callable[..., Any]) -> None:
    found = windowed(
        (1, "Oslo", -200, -30, 501), (2, "Rome", -200, -30, 2), (3, "Oslo", -200, -30, 4), (4, "Oslo", 0, 120, 0),
        max_bad_rows=2,
    )  # fmt: skip

    assert found[4] == (1, 4.0, 0.0)


def test_the_order_of_rows_changes_nothing(windowed: Callable[..., Any]) -> None:
    order = random.Random(1)
    rows = [(n, order.choice(["Oslo", "Lima"]), m := order.randint(-500, 500), m + 70, n % 90) for n in range(300)]

    before = windowed(*rows)
    order.shuffle(rows)

    assert windowed(*rows) == before


def test_a_row_whose_own_event_is_known_before_its_question_is_refused(windowed: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"leaks: 1 row\(s\) have an event of their own before .* id 2: left .*11:59"):
        windowed((1, "Oslo", 0, 0, 40), (2, "Oslo", 0, -1, 40))


def test_an_event_without_its_value_is_refused_with_its_row(windowed: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"1 event\(s\) without 'delay', first in row 2 of table\.csv"):
        windowed((1, "Oslo", 0, 1, 4), (2, "Oslo", 0, 1, None))


def test_a_value_with_more_decimals_than_said_is_refused(windowed: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"'delay' is 0\.25 in row 1 of table\.csv; expected 0 decimals at most"):
        windowed((1, "Oslo", 0, 1, 0.25))


def test_decimals_add_up_without_rounding(windowed: Callable[..., Any]) -> None:
    tenths = {**WINDOW, "columns": {**WINDOW["columns"], "delay_1h": {**WINDOW["columns"]["delay_1h"], "decimals": 1}}}
    rows = [(n, "Oslo", -200, -30, 0.1) for n in range(10)]

    found = windowed(*rows, (10, "Oslo", 0, 120, 0), windows=[tenths])

    # Ten times 0.1, added up as float64, is 0.9999999999999999.
    assert found[10] == (10, 0.1, 0.0)


def test_every_value_with_as_many_decimals_as_said_is_taken(windowed: Callable[..., Any]) -> None:
    tenths = {**WINDOW, "columns": {**WINDOW["columns"], "delay_1h": {**WINDOW["columns"]["delay_1h"], "decimals": 1}}}
    delays = [number / 10 for number in range(-500, 500)]
    rows = [(place, "Oslo", -200, -30, delay) for place, delay in enumerate(delays)]

    found = windowed(*rows, (1000, "Oslo", 0, 120, 0), windows=[tenths])

    assert found[1000] == (1000, -0.05, 0.35)  # the sum is -500 tenths; 350 delays are 15 or more


def test_a_window_column_outside_its_bounds_is_a_mistake_of_the_contract(windowed: Callable[..., Any]) -> None:
    columns = [{**column, "maximum": 10} if column["name"] == "delay_1h" else column for column in COLUMNS]

    with pytest.raises(DataError, match=r"the window column 'delay_1h' is above 10 in 1 row"):
        windowed((1, "Oslo", -200, -30, 40), (2, "Oslo", 0, 120, 0), columns=columns)


@given(
    events=st.lists(st.tuples(st.sampled_from(["Oslo", "Lima"]), st.integers(-90, 90), st.integers(-999, 999))),
    asked=st.integers(-90, 90),
)
def test_columns_are_those_of_plain_arithmetic(events: list[tuple[str, int, int]], asked: int) -> None:
    """Beside exact fractions, event by event, from the definition's own words."""
    panes = Panes(stream())
    table = pl.DataFrame(
        {
            "id": range(len(events)),
            "city": [city for city, _, _ in events],
            "left": [NOON + timedelta(minutes=left) for _, left, _ in events],
            "delay": [float(delay) for _, _, delay in events],
        },
        schema={"id": pl.Int64, "city": pl.String, "left": pl.Datetime("us", "UTC"), "delay": pl.Float64},
    )
    for some in table.iter_slices(3):
        panes.add(some)
    rows = pl.DataFrame({"city": ["Oslo"], "asked": [NOON + timedelta(minutes=asked)]})

    found = panes.add_columns_to(rows).select(NAMES).row(0)

    end = asked // 10 * 10
    inside = [(city, delay) for city, left, delay in events if end - 60 <= left < end]
    own = [delay for city, delay in inside if city == "Oslo"]
    mean = float(Fraction(sum(own), len(own))) if own else None
    share = float(Fraction(sum(delay >= 15 for delay in own), len(own))) if own else None
    assert found == ((len(own), mean, share) if inside else (None, None, None))


@pytest.mark.parametrize(
    ("window", "columns", "message"),
    [
        ({"known_at": "asked"}, {}, r"leaks: known_at 'asked' does not have the role 'leak'"),
        ({"asked_at": "left"}, {}, r"leaks: asked_at 'left' is known only after the moment of prediction"),
        ({}, {"delay": {"known_at": None}}, r"leaks: 'delay' does not say when it is known"),
        ({}, {"delay": {"known_at": "asked"}}, r"leaks: 'delay' is known at 'asked', and its events .* 'left'"),
        ({}, {"delay": {"known_at": "nowhere"}}, r"known_at is 'nowhere', which is no timestamp column"),
        ({"by": ["late"]}, {}, r"by 'late' must be a .* known beforehand"),
        ({"by": ["town"]}, {}, r"windows\[0\] names 'town', which is not in columns"),
        ({"by": []}, {}, r"at least 1 item"),
        ({"pane_minutes": 7}, {}, r"'left_1h' is over 60 minutes, which are no whole panes of 7"),
        ({"columns": {"nothing": {"kind": "count", "minutes": 60}}}, {}, r"names 'nothing', which is not in columns"),
        ({"columns": {"left_1h": {"kind": "mean", "of": "delay", "minutes": 60}}}, {}, r"its type is integer"),
        ({"columns": {"left_1h": {"kind": "median", "minutes": 60}}}, {}, r"'count', 'mean', 'share'"),
        ({"columns": {"left_1h": {"kind": "count", "minutes": 20_000, "of": "id"}}}, {}, r"Extra inputs"),
        ({"pane_minutes": 1, "columns": {"left_1h": {"kind": "count", "minutes": 20_000}}}, {}, r"kept are 7 days"),
        ({}, {"left_1h": {"nullable": False}}, r"gives 'left_1h'; expected a number .* `nullable: true`"),
        ({}, {"left_1h": {"expression": "id"}}, r"'left_1h' comes from two places"),
        ({}, {"left": {"type": "integer"}}, r"'left' is a integer; expected a timestamp|no timestamp column"),
    ],
)
def test_a_window_that_leaks_or_cannot_be_is_refused(
    window: dict[str, Any], columns: dict[str, dict[str, Any]], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(window, **columns)


def test_two_windows_are_not_over_streams_of_one_name() -> None:
    document = {"source": {"kind": "csv", "path": "t.csv"}, "columns": COLUMNS, "windows": [WINDOW, WINDOW]}

    with pytest.raises(ValidationError, match="two windows are over streams of one name"):
        DataSpec.model_validate(document)


def test_panes_of_another_definition_have_another_digest() -> None:
    digests = {
        spec(window).streams[0].digest
        for window in (
            {},
            {"pane_minutes": 20},
            {"stream": "arrivals"},
            {"columns": {"delay_1h": {"kind": "mean", "of": "delay", "minutes": 60, "decimals": 1}}},
        )
    }

    # How long a window is, and how long panes are kept, changes nothing in a pane.
    longer = {name: {**column, "minutes": 120} for name, column in WINDOW["columns"].items()}
    assert len(digests) == 4
    assert spec({"columns": longer, "keep_days": 9}).streams[0].digest in digests
