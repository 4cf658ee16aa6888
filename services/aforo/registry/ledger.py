"""The ledger: who made which version the champion, when, why, and from which report. Rows are added, never changed.

Each row holds the hash of the row before it, so that a changed or missing row shows (:meth:`Ledger.verify`). The
database refuses changes as well: by triggers, and in the platform by the privileges of the role that writes.
One chain runs through all use cases. MLflow's alias ``champion`` is a projection of the ledger, never the reverse.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, RowMapping, make_url

from aforo.contracts.specification import Specification
from aforo.errors import LedgerError, SettingsError, StoreUnavailable

Action = Literal["promote", "rollback"]

# What the first row follows.
GENESIS = "0" * 64

# Any constant will do: it names the one lock under which rows are added.
_POSTGRES_LOCK = 0x61666F726F

METADATA = sa.MetaData()
PROMOTIONS = sa.Table(
    "promotions",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("use_case", sa.String(63), nullable=False, index=True),
    sa.Column("action", sa.String(8), nullable=False),
    sa.Column("version", sa.String(20), nullable=False),
    sa.Column("previous_version", sa.String(20)),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("run_key", sa.String(100), nullable=False),
    sa.Column("snapshot_id", sa.String(64), nullable=False),
    sa.Column("report", sa.Text),
    sa.Column("report_digest", sa.String(64)),
    sa.Column("at", sa.String(32), nullable=False),
    # A row is followed by one row only: two writers cannot make the chain fork.
    sa.Column("previous_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
)

_APPEND_ONLY = {
    "sqlite": tuple(
        f"CREATE TRIGGER promotions_no_{verb} BEFORE {verb.upper()} ON promotions "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        for verb in ("update", "delete")
    ),
    "postgresql": (
        "CREATE FUNCTION promotions_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$",
        "CREATE TRIGGER promotions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON promotions "
        "FOR EACH STATEMENT EXECUTE FUNCTION promotions_append_only()",
    ),
}


class Promotion(Specification):
    """One row: from ``at`` on, ``version`` is the champion of ``use_case``.

    Attributes
    ----------
    previous_version
        The champion until then, ``None`` for the first.
    run_key, snapshot_id
        Of the version that became champion.
    report, report_digest
        Object key and SHA-256 of the gate's report.
    at
        UTC, ISO 8601.
    """

    id: int
    use_case: str
    action: Action
    version: str
    previous_version: str | None
    actor: str
    reason: str
    run_key: str
    snapshot_id: str
    report: str | None
    report_digest: str | None
    at: str
    previous_hash: str
    hash: str

    def computed_hash(self) -> str:
        """Return the SHA-256 of everything in the row but its hash."""
        fields = self.model_dump(exclude={"hash"})
        return hashlib.sha256(json.dumps(fields, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Ledger:
    """The ledger in the database of ``url``; its table is made on first use.

    Parameters
    ----------
    url
        SQLAlchemy URL: ``sqlite:///file`` or ``postgresql+psycopg2://...``.
    now
        The clock.

    Raises
    ------
    SettingsError
        The URL is no database's, or one without a ledger (only SQLite and PostgreSQL have one).
    """

    def __init__(self, url: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._engine = _engine(url)
        self._now = now
        self._is_ready = False

    def append(
        self,
        *,
        use_case: str,
        action: Action,
        version: str,
        actor: str,
        reason: str,
        run_key: str,
        snapshot_id: str,
        report: str | None = None,
        report_digest: str | None = None,
        once: bool = True,
    ) -> Promotion:
        """Add a row, and return it.

        Parameters
        ----------
        once
            Return the row of the same use case, run key, version and action if there is one already: a step
            that is tried again adds nothing, even if another version has become champion since. ``False`` for
            a person who decides anew.

        Raises
        ------
        StoreUnavailable
            The database does not answer; nothing was added.
        """
        with self._connection() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRES_LOCK)))
            if once:
                repeated = connection.execute(
                    sa.select(PROMOTIONS)
                    .where(
                        PROMOTIONS.c.use_case == use_case,
                        PROMOTIONS.c.run_key == run_key,
                        PROMOTIONS.c.version == version,
                        PROMOTIONS.c.action == action,
                    )
                    .order_by(PROMOTIONS.c.id.desc())
                    .limit(1)
                ).mappings()
                for row in repeated:
                    return _promotion(row)
            last = (
                connection.execute(sa.select(PROMOTIONS).order_by(PROMOTIONS.c.id.desc()).limit(1)).mappings().first()
            )
            champion = self._last(connection, use_case)
            fields: dict[str, Any] = {
                "id": last["id"] + 1 if last else 1,
                "use_case": use_case,
                "action": action,
                "version": version,
                "previous_version": champion.version if champion else None,
                "actor": actor,
                "reason": reason,
                "run_key": run_key,
                "snapshot_id": snapshot_id,
                "report": report,
                "report_digest": report_digest,
                "at": self._now().astimezone(UTC).isoformat(timespec="microseconds"),
                "previous_hash": last["hash"] if last else GENESIS,
            }
            fields["hash"] = Promotion(**fields, hash="").computed_hash()
            connection.execute(sa.insert(PROMOTIONS).values(fields))
            return Promotion(**fields)

    def history(self, use_case: str | None = None) -> list[Promotion]:
        """Return the rows of one use case, or of all, oldest first."""
        rows = sa.select(PROMOTIONS).order_by(PROMOTIONS.c.id)
        if use_case is not None:
            rows = rows.where(PROMOTIONS.c.use_case == use_case)
        with self._connection() as connection:
            return [_promotion(row) for row in connection.execute(rows).mappings()]

    def champion(self, use_case: str) -> Promotion | None:
        """Return the row that made the present champion, ``None`` if there never was one."""
        with self._connection() as connection:
            return self._last(connection, use_case)

    def verify(self) -> int:
        """Check the whole chain, and return its number of rows.

        Raises
        ------
        LedgerError
            A row was changed, taken out or put in; the message names the first one that does not fit.
        """
        expected_hash = GENESIS
        rows = self.history()
        for number, row in enumerate(rows, start=1):
            if row.id != number or row.previous_hash != expected_hash:
                raise LedgerError(
                    f"ledger row {row.id} does not follow the row before it: a row is missing or was put in"
                )
            if row.computed_hash() != row.hash:
                raise LedgerError(
                    f"ledger row {row.id} ({row.use_case}, version {row.version}) was changed after it was written"
                )
            expected_hash = row.hash
        return len(rows)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @staticmethod
    def _last(connection: Connection, use_case: str) -> Promotion | None:
        rows = sa.select(PROMOTIONS).where(PROMOTIONS.c.use_case == use_case).order_by(PROMOTIONS.c.id.desc()).limit(1)
        row = connection.execute(rows).mappings().first()
        return _promotion(row) if row else None

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """Yield a connection in one transaction, with the table in place."""
        place = self._engine.url.render_as_string(hide_password=True)
        try:
            if not self._is_ready:
                self._make_table()
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            raise StoreUnavailable(f"the ledger {place} does not answer: {error.orig}") from error
        except sa.exc.DBAPIError as error:
            raise LedgerError(f"the ledger {place} refused: {error.orig}") from error

    def _make_table(self) -> None:
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRES_LOCK)))
            # A role that may only add rows finds the table made by an administrator, and must not try.
            if not sa.inspect(connection).has_table(PROMOTIONS.name):
                METADATA.create_all(connection)
                for statement in _APPEND_ONLY[connection.dialect.name]:
                    connection.exec_driver_sql(statement)
        self._is_ready = True


def _engine(url: str) -> Engine:
    try:
        address = make_url(url)
    except sa.exc.ArgumentError as error:
        raise SettingsError(
            "AFORO_LEDGER_URL is no SQLAlchemy URL", hint="write sqlite:////folder/ledger.db"
        ) from error
    if address.get_backend_name() == "postgresql":
        # `postgresql://` alone would ask for psycopg 3, which is not installed.
        address = address.set(drivername="postgresql+psycopg2")
        return sa.create_engine(address, pool_pre_ping=True, connect_args={"connect_timeout": 5})
    if address.get_backend_name() != "sqlite":
        raise SettingsError(f"the ledger cannot live in {address.get_backend_name()}; expected sqlite or postgresql")
    if address.database:
        Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(address, connect_args={"timeout": 30})

    @sa.event.listens_for(engine, "connect")
    def _leave_transactions_to_us(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def _write_lock_first(connection: Connection) -> None:
        # A deferred transaction would read the last row, and only then find that another writer was faster.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _promotion(row: RowMapping) -> Promotion:
    return Promotion(**dict(row))
