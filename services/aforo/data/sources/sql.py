"""A query against a database."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import sqlalchemy
from sqlalchemy.engine import URL, CursorResult, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from aforo.data.sources.reader import Batch, SourceSpec, require_columns
from aforo.errors import SettingsError, SourceError, StoreUnavailable
from aforo.settings import Settings

_BATCH_ROWS = 1 << 15
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class SqlSource(SourceSpec):
    """Rows of a query, in the order the database gives them.

    Attributes
    ----------
    url
        SQLAlchemy URL. ``${NAME}`` is replaced by the environment variable, so that no password is written here.
    query
        A SELECT. Give it an ORDER BY: without one the same table may come in another order, and become
        another snapshot.
    """

    kind: Literal["sql"] = "sql"
    url: str
    query: str

    @property
    def name(self) -> str:
        return " ".join(self.query.split())

    def open(self, folder: Path, settings: Settings) -> SqlReader:  # noqa: ARG002
        return SqlReader(expand_url(self.url, os.environ), self.query)


def expand_url(text: str, environ: Mapping[str, str]) -> URL:
    """Return the URL with its variables filled in, and with the driver that is installed.

    Raises
    ------
    SettingsError
        A variable is not set.
    SourceError
        What results is no URL. The message never shows the values of variables.
    """
    missing = [name for name in _VARIABLE.findall(text) if name not in environ]
    if missing:
        raise SettingsError(f"{text}: {', '.join(missing)} is not set", hint=f"set it: export {missing[0]}=...")
    try:
        url = make_url(_VARIABLE.sub(lambda match: environ[match[1]], text))
    except ArgumentError as error:
        raise SourceError(f"{text!r} is no database URL", hint="write dialect://user:password@host/database") from error
    # SQLAlchemy 2.1 takes a bare postgresql:// for another driver than the one that is installed here.
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg2")
    return url


class SqlReader:
    """Reads through a cursor of the server, so that the result is never in memory as a whole."""

    def __init__(self, url: URL, query: str) -> None:
        self._place = url.render_as_string(hide_password=True)
        self._query = query
        try:
            self._engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            raise SourceError(
                f"{self._place}: no driver for {url.drivername!r}: {error}", hint="install it, or name another dialect"
            ) from error
        self.columns = self._names()

    def batches(self, wanted: Sequence[str]) -> Iterator[Batch]:
        require_columns(f"the query on {self._place}", wanted, self.columns)
        first = 1
        with self._result(self._query, stream_results=True, max_row_buffer=_BATCH_ROWS) as result:
            names = list(result.keys())
            for rows in result.partitions(_BATCH_ROWS):
                numbers = np.arange(first, first + len(rows), dtype=np.int64)
                first += len(rows)
                columns = dict(zip(names, zip(*rows, strict=True), strict=True))
                yield Batch(pl.DataFrame([_series(name, columns[name]) for name in wanted]), numbers, "")

    def _names(self) -> tuple[str, ...]:
        query = self._query.strip().rstrip(";")
        with self._result(f"SELECT * FROM ({query}) AS asked WHERE 1 = 0") as result:  # noqa: S608
            return tuple(result.keys())

    @contextmanager
    def _result(self, query: str, **options: Any) -> Iterator[CursorResult[Any]]:
        try:
            connection = self._engine.connect()
        except SQLAlchemyError as error:
            raise self._unavailable(error) from error
        with connection:
            try:
                yield connection.execution_options(**options).execute(sqlalchemy.text(query))
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise self._unavailable(error) from error
                raise SourceError(
                    f"{self._place} refuses the query: {_first_line(error)}", hint="run the query in a database client"
                ) from error

    def _unavailable(self, error: SQLAlchemyError) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self._place} does not answer: {_first_line(error)}",
            hint="check that the server runs, the address, the user and the password",
        )


def _first_line(error: SQLAlchemyError) -> str:
    """The driver's own words: SQLAlchemy's repeat the query and its values."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]


def _series(name: str, values: Sequence[object]) -> pl.Series:
    try:
        return pl.Series(name, values)
    except (TypeError, pl.exceptions.PolarsError):
        # SQLite columns may hold several types: as text, each value can be judged by the contract.
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
