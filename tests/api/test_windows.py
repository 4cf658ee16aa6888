"""Windows in a worker's memory and in the store: the training table's bits, kept so long, and not when grown old."""

from __future__ import annotations

import random
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aforo.contracts.table import ColumnContract, Role
from aforo.contracts.windows import EventStream
from aforo.data.windows import Panes
from aforo.errors import SettingsError, StoreUnavailable
from prediction_api.pane_store import PaneStore, event_of
from prediction_api.windows import StreamPanes, microseconds

NOON = datetime(2013, 7, 4, 12, tzinfo=UTC)
MINUTE_US = 60_000_000


def column(name, kind):
    return ColumnContract(name=name, type=kind, role=Role.INFO)


STREAM = EventStream(
    stream="departures",
    known_at="left",
    asked_at="asked",
    by=("city",),
    pane_minutes=10,
    keep_days=1,
    columns={
        "left_1h": {"kind": "count", "minutes": 60},
        "delay_1h": {"kind": "mean", "of": "delay", "minutes": 60, "decimals": 1},
        "late_1h": {"kind": "share", "of": "delay", "at_least": 15, "minutes": 60},
        "delay_30m": {"kind": "mean", "of": "delay", "minutes": 30, "decimals": 1},
    },
    identity=("id",),
    event_columns=(column("id", "integer"), column("city", "string"), column("left", "timestamp"),
                   column("delay", "number")),
    request_columns=(column("city", "string"), column("asked", "timestamp")),
)  # fmt: skip


def event(number, minutes, delay, city="Oslo"):
    values = {"id": number, "city": city, "left": NOON + timedelta(minutes=minutes), "delay": delay}
    adds = tuple(measure.of_value(delay) for measure in STREAM.measures)
    return event_of(values, STREAM, adds, microseconds(values["left"]))


def read_all(panes, store, name="model/departures"):
    found = store.read(name, panes.revision)
    panes.apply(found.panes, found.newest_us)
    panes.read_until(found.revision, panes._now())


def columns(panes, minutes, city="Oslo"):
    return panes.columns((city,), microseconds(NOON) + minutes * MINUTE_US)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'events.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def store(url):
    store = PaneStore(url)
    yield store
    store.close()


@pytest.fixture
def panes():
    return StreamPanes("model", STREAM, stale_s=30, now=lambda: 0.0)


def bits(values):
    return [None if value is None else float(value).hex() for value in values]


@given(
    events=st.lists(
        st.tuples(st.sampled_from(["Oslo", "Lima"]), st.integers(-90, 90), st.integers(-9_999, 9_999)), max_size=40
    ),
    pieces=st.integers(1, 7),
    seed=st.integers(0, 9),
)
@hypothesis_settings(max_examples=40)
def test_any_order_of_events_gives_the_columns_of_the_training_table_bit_for_bit(
    events, pieces, seed, tmp_path_factory
):
    store = PaneStore(f"sqlite:///{tmp_path_factory.mktemp('store') / 'events.db'}")
    panes = StreamPanes("model", STREAM, stale_s=30, now=lambda: 0.0)
    told = [event(number, minutes, tenths / 10, city) for number, (city, minutes, tenths) in enumerate(events)]
    random.Random(seed).shuffle(told)
    for start in range(0, len(told), pieces):
        store.add("model/departures", STREAM, told[start : start + pieces])
    read_all(panes, store)
    store.close()
    table = Panes(STREAM)
    table.add(
        pl.DataFrame(
            {
                "city": [city for city, _, _ in events],
                "left": [NOON + timedelta(minutes=minutes) for _, minutes, _ in events],
                "delay": [tenths / 10 for _, _, tenths in events],
            },
            schema={"city": pl.String, "left": pl.Datetime("us", "UTC"), "delay": pl.Float64},
        )
    )
    asked = range(-100, 160, 7)
    rows = pl.DataFrame({"city": "Oslo", "asked": [NOON + timedelta(minutes=m) for m in asked]})

    trained = table.add_columns_to(rows).select(list(STREAM.columns)).rows()

    served = [columns(panes, minutes) or (None,) * len(STREAM.columns) for minutes in asked]
    assert [bits(row) for row in served] == [bits(row) for row in trained]


def test_each_event_is_told_what_became_of_it(store):
    store.add("model/departures", STREAM, [event(1, 0, 5.0), event(2, 9, 5.0)])

    written = store.add(
        "model/departures",
        STREAM,
        [
            event(3, 12, 1.0),
            event(4, 11, 1.0),
            event(5, 9, 1.0),
            event(1, 0, 5.0),
            event(2, 9, 6.0),
            event(6, 13, 1.0),
            event(6, 13, 1.0),
            event(7, 0 - 1440, 1.0),
        ],
    )

    assert written.outcomes == [
        "accepted", "out_of_order", "late", "duplicate", "contradiction", "accepted", "duplicate", "expired",
    ]  # fmt: skip


def test_a_duplicate_and_a_contradiction_change_nothing(store, panes):
    store.add("model/departures", STREAM, [event(1, -5, 20.0)])
    store.add("model/departures", STREAM, [event(1, -5, 20.0), event(1, -5, 90.0)])

    read_all(panes, store)

    assert columns(panes, 0) == (1.0, 20.0, 1.0, 20.0)


def test_a_reader_learns_of_changed_panes_alone(store):
    store.add("model/departures", STREAM, [event(1, 0, 1.0), event(2, 20, 1.0)])
    first = store.read("model/departures", 0)
    store.add("model/departures", STREAM, [event(3, 21, 1.0)])

    second = store.read("model/departures", first.revision)

    assert [pane.events for pane in first.panes] == [1, 1]
    assert [pane.events for pane in second.panes] == [2]
    assert store.read("model/departures", second.revision).panes == []


def test_another_connection_finds_everything(url, panes):
    writer, reader = PaneStore(url), PaneStore(url)
    writer.add("model/departures", STREAM, [event(1, -5, 20.0)])
    writer.close()

    read_all(panes, reader)
    reader.close()

    assert columns(panes, 0) == (1.0, 20.0, 1.0, 20.0)


def test_workers_that_write_at_once_lose_nothing_and_a_reader_misses_nothing(url, panes):
    def write(worker):
        own = PaneStore(url)
        for number in range(20):
            own.add("model/departures", STREAM, [event(worker * 20 + number, -number, 20.0)])
        own.close()

    reader = PaneStore(url)
    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, worker) for worker in range(3)]
        while not all(writer.done() for writer in writers):
            read_all(panes, reader)
        for writer in writers:
            writer.result()
    read_all(panes, reader)
    reader.close()

    assert columns(panes, 10)[:2] == (60.0, 20.0)


def test_a_new_database_that_somebody_writes_to_is_waited_for(tmp_path, panes):
    """SQLite refuses to switch to its write-ahead log at once while another connection has a lock."""
    path = tmp_path / "events.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE somebody_s (x)")
    other.execute("BEGIN IMMEDIATE")
    store = PaneStore(f"sqlite:///{path}")
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(store.add, "model/departures", STREAM, [event(1, -5, 20.0)])
        time.sleep(0.2)
        assert not written.done()
        other.execute("COMMIT")
        assert written.result(timeout=20).outcomes == ["accepted"]
        pool.submit(store.close).result()
    other.close()


def test_streams_of_other_names_are_apart(store, panes):
    store.add("other/departures", STREAM, [event(1, -5, 20.0)])

    read_all(panes, store)

    assert columns(panes, 0) == (None,) * 4


def test_what_is_no_longer_kept_is_gone_and_not_taken_for_nothing(store, panes):
    store.add("model/departures", STREAM, [event(1, -5, 20.0), event(2, 3, 20.0)])
    read_all(panes, store)
    assert columns(panes, 0) == (1.0, 20.0, 1.0, 20.0)

    store.add("model/departures", STREAM, [event(3, 1440, 20.0)])
    read_all(panes, store)

    # The pane of 12:00 is kept, and the window of 12:30 begins before it.
    assert columns(panes, 30) is None
    assert columns(panes, 60) == (1.0, 20.0, 1.0, None)
    assert {pane.pane for pane in store.read("model/departures", 0).panes} == {
        STREAM.pane(microseconds(NOON)),
        STREAM.pane(microseconds(NOON) + 1440 * MINUTE_US),
    }


def test_an_old_revision_of_a_pane_does_not_replace_a_newer_one(store, panes):
    first = store.add("model/departures", STREAM, [event(1, -5, 20.0)])
    second = store.add("model/departures", STREAM, [event(2, -5, 40.0)])

    for written in (second, first):
        panes.apply(written.panes, written.newest_us)
    panes.read_until(0, 0.0)

    assert columns(panes, 0) == (2.0, 30.0, 1.0, 30.0)


def test_windows_cannot_be_known_before_the_first_look_and_long_after_the_last(store):
    clock = [0.0]
    panes = StreamPanes("model", STREAM, stale_s=30, now=lambda: clock[0])
    store.add("model/departures", STREAM, [event(1, -5, 20.0)])
    before = columns(panes, 0)
    read_all(panes, store)

    seen = []
    for clock[0] in (0.0, 30.0, 30.1):
        seen.append(columns(panes, 0))

    assert before is None
    assert seen == [(1.0, 20.0, 1.0, 20.0), (1.0, 20.0, 1.0, 20.0), None]


def test_a_database_that_is_away_is_said_to_be_so_and_found_again(tmp_path):
    store = PaneStore("postgresql://nobody@127.0.0.1:9/none")

    with pytest.raises(StoreUnavailable, match="the database of events does not answer"):
        store.add("model/departures", STREAM, [event(1, 0, 1.0)])


def test_a_connection_that_was_cut_is_made_anew(postgres_url):
    store, other = PaneStore(postgres_url), PaneStore(postgres_url)
    store.add("model/departures", STREAM, [event(1, -5, 1.0)])
    with other._transaction() as run:
        run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND datname = current_database()", [])  # fmt: skip

    with pytest.raises(StoreUnavailable):
        store.read("model/departures", 0)

    assert [pane.events for pane in store.read("model/departures", 0).panes] == [1]
    store.close()
    other.close()


@pytest.mark.parametrize("url", ["mysql://host/database", "events.db", "sqlite://"])
def test_another_database_is_refused(url):
    with pytest.raises(SettingsError, match="AFORO_EVENTS_URL begins with"):
        PaneStore(url)
