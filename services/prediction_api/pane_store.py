"""Panes of events in a database: PostgreSQL on the platform, SQLite where everything is in one folder.

A worker keeps nothing that is not here: a request's events are in the database, in one transaction, before they are
answered for. Writers of one stream come one after the other, so its revision rises in the order of commits, and a
reader that asks for what is newer than the last revision misses nothing.

Plain DB-API: the service is to start without an object mapper's 20 MB.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from aforo.contracts.windows import EventStream
from aforo.errors import SettingsError, StoreUnavailable
from prediction_api.explaining import Value
from prediction_api.windows import DAY_US, Key, Pane, microseconds

Outcome = Literal["accepted", "out_of_order", "late", "duplicate", "contradiction", "expired"]
OUTCOMES: tuple[Outcome, ...] = ("accepted", "out_of_order", "late", "duplicate", "contradiction", "expired")

_ROWS_AT_ONCE = 200
# How long to wait for whoever writes.
_SQLITE_S = 30
_TABLES = (
    "CREATE TABLE IF NOT EXISTS window_streams (name TEXT PRIMARY KEY, revision BIGINT NOT NULL, newest BIGINT)",
    "CREATE TABLE IF NOT EXISTS window_events (stream TEXT NOT NULL, event TEXT NOT NULL, content TEXT NOT NULL, "
    "known_at BIGINT NOT NULL, PRIMARY KEY (stream, event))",
    "CREATE INDEX IF NOT EXISTS window_events_known_at ON window_events (stream, known_at)",
    "CREATE TABLE IF NOT EXISTS window_panes (stream TEXT NOT NULL, key TEXT NOT NULL, pane BIGINT NOT NULL, "
    "revision BIGINT NOT NULL, count BIGINT NOT NULL, sums TEXT NOT NULL, PRIMARY KEY (stream, key, pane))",
    "CREATE INDEX IF NOT EXISTS window_panes_revision ON window_panes (stream, revision)",
)


class Event(NamedTuple):
    """One event, checked.

    Attributes
    ----------
    identity, content
        SHA-256 of what identifies it, and of all of it.
    adds
        What it adds to each sum of its stream.
    """

    identity: str
    content: str
    known_at_us: int
    key: Key
    adds: tuple[int, ...]


class Written(NamedTuple):
    """What became of events, and the panes that changed."""

    outcomes: list[Outcome]
    panes: list[Pane]
    newest_us: int | None


class Read(NamedTuple):
    """What changed since a revision."""

    revision: int
    newest_us: int | None
    panes: list[Pane]


class PaneStore:
    """The panes in the database of ``url``. Used by one thread; the connection is made when it is first needed.

    Parameters
    ----------
    url
        ``sqlite:////folder/file.db`` or ``postgresql://user@host/database`` (``postgresql+psycopg2://`` as well), with
        the parameters of libpq.

    Raises
    ------
    SettingsError
        The URL is of no such database.
    """

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        self._connection: Any = None
        self._failures: tuple[type[Exception], ...]
        if scheme == "sqlite" and rest.startswith("/"):
            self._mark = "?"
            self._open: Callable[[], Any] = lambda: _open_sqlite(Path(rest[1:]))
            self._begin = "BEGIN IMMEDIATE"
            self._failures = (sqlite3.Error,)
        elif scheme.partition("+")[0] == "postgresql":
            # Imported here, so that a service whose models have no windows does without.
            import psycopg2

            self._mark = "%s"
            self._open = lambda: _open_postgres(f"postgresql://{rest}")
            self._begin = "BEGIN"
            self._failures = (psycopg2.Error,)
        else:
            raise SettingsError(
                f"AFORO_EVENTS_URL begins with {scheme!r}; expected sqlite:////folder/file.db or postgresql://...",
                hint="unset it to keep events beside the models",
            )

    def add(self, name: str, stream: EventStream, events: Sequence[Event]) -> Written:
        """Add events to the panes of ``name``, each once; they are kept when this returns.

        Raises
        ------
        StoreUnavailable
            The database does not answer; nothing was added.
        """
        with self._transaction() as run:
            run("INSERT INTO window_streams VALUES (?, 0, NULL) ON CONFLICT (name) DO NOTHING", [name])
            # From here on other writers of the stream wait.
            taken = "UPDATE window_streams SET revision = revision + 1 WHERE name = ? RETURNING revision, newest"
            revision, newest = run(taken, [name])[0]
            known: dict[str, str] = {}
            for some in _in_pieces([event.identity for event in events]):
                marks = ", ".join("?" * len(some))
                found = f"SELECT event, content FROM window_events WHERE stream = ? AND event IN ({marks})"  # noqa: S608
                known.update(run(found, [name, *some]))
            outcomes: list[Outcome] = []
            new: list[Event] = []
            before = newest
            for event in events:
                outcome = _outcome(event, stream, known, newest)
                outcomes.append(outcome)
                if outcome in ("accepted", "out_of_order", "late"):
                    known[event.identity] = event.content
                    new.append(event)
                    newest = event.known_at_us if newest is None else max(newest, event.known_at_us)
            panes = self._add_up(run, name, stream, new, revision)
            _insert(
                run,
                "window_events",
                [(name, event.identity, event.content, event.known_at_us) for event in new],
                "",
            )
            if newest != before:
                run("UPDATE window_streams SET newest = ? WHERE name = ?", [newest, name])
                self._prune(run, name, stream, before, newest)
            return Written(outcomes, panes, newest)

    def read(self, name: str, since: int) -> Read:
        """Return the panes of ``name`` that changed after a revision.

        Raises
        ------
        StoreUnavailable
            The database does not answer.
        """
        with self._transaction(reads=True) as run:
            found = run("SELECT revision, newest FROM window_streams WHERE name = ?", [name])
            if not found:
                return Read(0, None, [])
            revision, newest = found[0]
            if revision == since:
                return Read(revision, newest, [])
            changed = "SELECT key, pane, revision, count, sums FROM window_panes WHERE stream = ? AND revision > ?"
            rows = run(changed, [name, since])
            return Read(revision, newest, [_pane(row) for row in rows])

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(*self._failures):
                self._connection.close()
            self._connection = None

    def _add_up(self, run: Run, name: str, stream: EventStream, events: Sequence[Event], revision: int) -> list[Pane]:
        """Add events to their panes, and return those."""
        touched = {(event.key, stream.pane(event.known_at_us)) for event in events}
        held: dict[tuple[Key, int], Pane] = {}
        for some in _in_pieces(sorted({pane for _, pane in touched})):
            marks = ", ".join("?" * len(some))
            found = (
                "SELECT key, pane, revision, count, sums FROM window_panes "  # noqa: S608
                f"WHERE stream = ? AND pane IN ({marks})"
            )
            for row in run(found, [name, *some]):
                pane = _pane(row)
                held[pane.key, pane.pane] = pane
        for event in events:
            place = (event.key, stream.pane(event.known_at_us))
            before = held.get(place)
            count, sums = (before.events, before.sums) if before else (0, (0,) * len(event.adds))
            added = tuple(total + more for total, more in zip(sums, event.adds, strict=True))
            held[place] = Pane(*place, revision, count + 1, added)
        panes = [held[place] for place in touched]
        rows = [(name, json.dumps(p.key), p.pane, p.revision, p.events, json.dumps(p.sums)) for p in panes]
        over = "revision = excluded.revision, count = excluded.count, sums = excluded.sums"
        _insert(run, "window_panes", rows, f"ON CONFLICT (stream, key, pane) DO UPDATE SET {over}")
        return panes

    def _prune(self, run: Run, name: str, stream: EventStream, before: int | None, newest: int | None) -> None:
        """Delete what is no longer kept, once a pane."""
        if before is None or newest is None:
            return
        oldest = stream.pane(newest - stream.keep_days * DAY_US)
        if oldest > stream.pane(before - stream.keep_days * DAY_US):
            run("DELETE FROM window_panes WHERE stream = ? AND pane < ?", [name, oldest])
            run("DELETE FROM window_events WHERE stream = ? AND known_at < ?", [name, oldest * stream.pane_us])

    @contextmanager
    def _transaction(self, *, reads: bool = False) -> Iterator[Run]:
        try:
            if self._connection is None:
                self._connection = self._open()
            cursor = self._connection.cursor()
            cursor.execute("BEGIN" if reads and self._mark == "?" else self._begin)

            def run(statement: str, values: Sequence[object]) -> list[Any]:
                cursor.execute(statement.replace("?", self._mark), values)
                return list(cursor.fetchall()) if cursor.description else []

            yield run
            cursor.execute("COMMIT")
        except self._failures as error:
            self.close()  # which ends the transaction, and makes the next one begin anew
            raise StoreUnavailable(f"the database of events does not answer: {str(error).strip()}") from error
        except BaseException:
            self.close()
            raise


Run = Callable[[str, Sequence[object]], list[Any]]


def event_of(values: dict[str, Value], stream: EventStream, adds: tuple[int, ...], known_at_us: int) -> Event:
    """Return an event with its identity, from the values of its columns."""
    identity = [_plain(values[name]) for name in stream.identity]
    content = [_plain(values[column.name]) for column in stream.event_columns]
    key = tuple(_plain(values[name]) for name in stream.by)
    return Event(_digest(identity), _digest(content), known_at_us, key, adds)


def _outcome(event: Event, stream: EventStream, known: dict[str, str], newest: int | None) -> Outcome:
    if newest is not None and stream.pane(event.known_at_us) < stream.pane(newest - stream.keep_days * DAY_US):
        return "expired"
    if event.identity in known:
        return "duplicate" if known[event.identity] == event.content else "contradiction"
    if newest is None or event.known_at_us >= newest:
        return "accepted"
    return "late" if stream.pane(event.known_at_us) < stream.pane(newest) else "out_of_order"


def _plain(value: Value) -> str | float | bool | None:
    """One form for values that are equal: 5.0 is 5, a moment is the same wherever its clock hangs."""
    if isinstance(value, datetime):
        return microseconds(value)
    if isinstance(value, date):
        return value.isoformat()
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _digest(values: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]


def _pane(row: Sequence[Any]) -> Pane:
    key, pane, revision, count, sums = row
    return Pane(tuple(json.loads(key)), pane, revision, count, tuple(json.loads(sums)))


def _in_pieces(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _ROWS_AT_ONCE):
        yield values[start : start + _ROWS_AT_ONCE]


def _insert(run: Run, table: str, rows: Sequence[tuple[object, ...]], ending: str) -> None:
    for some in _in_pieces(rows):
        marks = ", ".join(["(" + ", ".join("?" * len(some[0])) + ")"] * len(some))
        run(f"INSERT INTO {table} VALUES {marks} {ending}", [value for row in some for value in row])  # noqa: S608


def _open_sqlite(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=_SQLITE_S, isolation_level=None)
    _use_write_ahead_log(connection)
    for statement in _TABLES:
        connection.execute(statement)
    return connection


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch a new database over. For that alone SQLite does not wait for others by itself."""
    until = time.monotonic() + _SQLITE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.005)


def _open_postgres(url: str) -> Any:
    import psycopg2

    connection = psycopg2.connect(url, connect_timeout=5, options="-c statement_timeout=10000")
    connection.autocommit = True  # transactions are begun and ended by us
    with connection.cursor() as cursor:
        if not _has_tables(cursor):
            # Workers that start together would each make the tables, and stand in the way of who uses them already.
            cursor.execute("BEGIN")
            cursor.execute("SELECT pg_advisory_xact_lock(7308332182964)")
            if not _has_tables(cursor):
                for statement in _TABLES:
                    cursor.execute(statement)
            cursor.execute("COMMIT")
    return connection


def _has_tables(cursor: Any) -> bool:
    # Not to_regclass: it answers from a cache that waiting for an advisory lock does not bring up to date.
    cursor.execute("SELECT 1 FROM pg_class WHERE relname = 'window_panes' AND pg_table_is_visible(oid)")
    return cursor.fetchone() is not None
