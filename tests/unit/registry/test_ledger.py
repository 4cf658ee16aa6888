from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from aforo.errors import LedgerError, SettingsError, StoreUnavailable
from aforo.registry.ledger import GENESIS, Ledger, Promotion


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/home/ledger.db"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    ledger = Ledger(url, now=lambda: datetime(2026, 1, 31, 12, tzinfo=UTC))
    yield ledger
    ledger.close()


def promote(ledger: Ledger, version: str, *, use_case: str = "flight_delay", once: bool = True) -> Promotion:
    return ledger.append(
        use_case=use_case,
        action="promote",
        version=version,
        actor="airflow",
        reason="the gate said so: 100 % sure",
        run_key=f"run-{version}",
        snapshot_id="a" * 64,
        report="runs/flight_delay/report.json",
        report_digest="b" * 64,
        once=once,
    )


def execute(url: str, statement: str) -> None:
    """Run a statement as someone who holds the database's own keys."""
    address = sa.make_url(url)
    if address.get_backend_name() == "postgresql":
        address = address.set(drivername="postgresql+psycopg2")
    engine = sa.create_engine(address, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


def without_guards(url: str, statement: str) -> None:
    """Change the table as someone who may take its triggers away."""
    if url.startswith("sqlite"):
        execute(url, "DROP TRIGGER promotions_no_update")
        execute(url, "DROP TRIGGER promotions_no_delete")
    else:
        execute(url, "DROP TRIGGER promotions_append_only ON promotions")
    execute(url, statement)


def test_each_row_follows_the_one_before(ledger: Ledger):
    first, second = promote(ledger, "1"), promote(ledger, "2")

    assert (first.id, first.previous_version, first.previous_hash) == (1, None, GENESIS)
    assert (second.id, second.previous_version, second.previous_hash) == (2, "1", first.hash)
    assert first.at == "2026-01-31T12:00:00.000000+00:00"
    assert ledger.verify() == 2
    assert ledger.history() == [first, second]
    assert ledger.champion("flight_delay") == second


def test_use_cases_share_the_chain_and_nothing_else(ledger: Ledger):
    flights, digits = promote(ledger, "1"), promote(ledger, "1", use_case="digits")

    assert digits.previous_hash == flights.hash
    assert digits.previous_version is None
    assert ledger.history("digits") == [digits]
    assert ledger.champion("newborn_weight") is None


def test_a_step_that_is_tried_again_adds_nothing(ledger: Ledger):
    first = promote(ledger, "1")
    promote(ledger, "2")

    assert promote(ledger, "1") == first
    assert len(ledger.history()) == 2


def test_a_person_may_decide_the_same_again(ledger: Ledger):
    promote(ledger, "1")
    promote(ledger, "2")

    again = promote(ledger, "1", once=False)

    assert again.id == 3
    assert ledger.champion("flight_delay") == again


def test_a_second_ledger_on_the_same_database_goes_on_with_the_chain(ledger: Ledger, url: str):
    first = promote(ledger, "1")
    other = Ledger(url)

    assert promote(other, "2").previous_hash == first.hash
    other.close()


@pytest.mark.parametrize("statement", ["UPDATE promotions SET actor = 'nobody'", "DELETE FROM promotions"])
def test_the_database_refuses_to_change_a_row(ledger: Ledger, url: str, statement: str):
    promote(ledger, "1")

    with pytest.raises(sa.exc.DBAPIError, match="the ledger is append-only"):
        execute(url, statement)
    assert ledger.verify() == 1


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE promotions SET actor = 'nobody' WHERE id = 2", "row 2 .* was changed after it was written"),
        ("DELETE FROM promotions WHERE id = 2", "row 3 does not follow the row before it"),
        ("DELETE FROM promotions WHERE id = 1", "row 2 does not follow the row before it"),
        ("UPDATE promotions SET id = 9 WHERE id = 3", "row 9 does not follow the row before it"),
    ],
)
def test_tampering_is_found_and_the_row_named(ledger: Ledger, url: str, statement: str, message: str):
    for version in ("1", "2", "3"):
        promote(ledger, version)
    without_guards(url, statement)

    with pytest.raises(LedgerError, match=message):
        ledger.verify()


def test_writers_at_the_same_time_make_one_chain(url: str):
    ledgers = [Ledger(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        rows = list(threads.map(lambda number: promote(ledgers[number % 4], str(number)), range(24)))

    assert sorted(row.id for row in rows) == list(range(1, 25))
    assert ledgers[0].verify() == 24
    for ledger in ledgers:
        ledger.close()


def test_a_writer_that_breaks_off_leaves_nothing(ledger: Ledger, url: str, monkeypatch: pytest.MonkeyPatch):
    promote(ledger, "1")
    broken = Ledger(url, now=lambda: datetime.fromisoformat("not a time"))

    with pytest.raises(ValueError, match="Invalid isoformat"):
        promote(broken, "2")
    broken.close()

    assert promote(ledger, "3").id == 2


def test_a_role_that_may_only_add_rows_is_enough(postgres_url: str):
    promote(Ledger(postgres_url), "1")
    for statement in (
        "DROP ROLE IF EXISTS ledger_writer",
        "CREATE ROLE ledger_writer LOGIN",
        "GRANT SELECT, INSERT ON promotions TO ledger_writer",
    ):
        execute(postgres_url, statement)
    writer_url = sa.make_url(postgres_url).set(username="ledger_writer").render_as_string(hide_password=False)
    writer = Ledger(writer_url)

    assert promote(writer, "2").id == 2
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        execute(writer_url, "DELETE FROM promotions")
    writer.close()
    execute(postgres_url, "DROP OWNED BY ledger_writer")
    execute(postgres_url, "DROP ROLE ledger_writer")


def test_a_database_that_does_not_answer_may_be_tried_again_later():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        ledger = Ledger(f"postgresql+psycopg2://aforo:hunter2@127.0.0.1:{port}/ledger")

        with pytest.raises(StoreUnavailable) as caught:
            ledger.history()

    assert caught.value.exit_code == 75
    assert "hunter2" not in str(caught.value)


def test_a_locked_file_is_waited_for(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    promote(Ledger(url), "1")
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(promote, Ledger(url), "2")
        assert not waiting.done()
        other.execute("ROLLBACK")
        assert waiting.result(timeout=10).id == 2
    other.close()


@pytest.mark.parametrize("url", ["mysql://host/ledger", "not a url"])
def test_a_url_without_a_ledger_is_refused(url: str):
    with pytest.raises(SettingsError):
        Ledger(url)
