"""Sifts batches: the rows that keep the contract, and where each of the others goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from aforo.contracts.table import ColumnContract, TableContract
from aforo.data import expressions
from aforo.data.casting import DTYPES, FAULTS, cast, normalise
from aforo.data.checks import violations
from aforo.data.joining import Join, Lookup
from aforo.data.quarantine import Quarantine
from aforo.data.repeats import do_repeat, once_each
from aforo.data.windows import EventCollector
from aforo.errors import DataError
from aforo.settings import Settings


class Validation:
    """Applies one contract to batch after batch.

    Parameters
    ----------
    collectors
        Take the events of all rows whose values fit their types.

    Attributes
    ----------
    quarantined
        Rows with one problem or more.
    set_aside
        Rows per reason.
    """

    def __init__(
        self,
        table: TableContract,
        joins: Sequence[Join],
        quarantine: Quarantine,
        folder: Path,
        settings: Settings,
        collectors: Sequence[EventCollector] = (),
    ) -> None:
        self._table = table
        self._quarantine = quarantine
        self._collectors = collectors
        self._lookups = [Lookup(join, table, folder, settings) for join in joins]
        joined = {name for join in joins for name in join.columns}
        self._read = [c for c in table.columns if c.expression is None and c.name not in joined]
        self._joined = [c for c in table.columns if c.name in joined]
        self._derived = _parse_derived(table, [c.name for c in (*self._read, *self._joined)])
        self._conditions = _parse_conditions(table)
        self.quarantined = 0
        self.set_aside: Counter[str] = Counter({aside.reason: 0 for aside in table.set_aside})

    def sift(
        self, raw: pl.DataFrame, numbers: npt.NDArray[np.int64], file: str
    ) -> tuple[pl.DataFrame, npt.NDArray[np.int64]]:
        """Return the good rows, in the contract's columns and types, and their numbers.

        Parameters
        ----------
        raw
            (N rows) the columns that are read, as the source types them.
        numbers
            (N,) number of each row in ``file``.
        """
        sieve = _Sieve(raw, numbers, file, self._quarantine)
        sieve.cast(self._read)
        for lookup in self._lookups:
            sieve.table = lookup.add_to(sieve.table)
        if self._joined:
            sieve.cast(self._joined)
        for column, expression in self._derived:
            sieve.table = sieve.table.with_columns(_derive(sieve.table, column.name, expression, file))
            sieve.cast([column])
        # A row that is set aside is no example, and its event has happened all the same.
        for collector in self._collectors:
            collector.add(sieve.table, sieve.numbers, file)
        self.set_aside.update(sieve.set_aside(self._conditions))
        sieve.check(self._table.columns)
        self.quarantined += sieve.quarantined
        return sieve.table.select(self._table.names), sieve.numbers


class _Sieve:
    """One batch on its way through the steps; ``positions`` says where in ``raw`` each row of ``table`` began."""

    def __init__(self, raw: pl.DataFrame, numbers: npt.NDArray[np.int64], file: str, quarantine: Quarantine) -> None:
        self.table = raw
        self.quarantined = 0
        self._raw = raw
        self._all_numbers = numbers
        self._positions: npt.NDArray[np.int64] | None = None
        self._file = file
        self._quarantine = quarantine

    @property
    def numbers(self) -> npt.NDArray[np.int64]:
        return self._all_numbers if self._positions is None else self._all_numbers[self._positions]

    def cast(self, columns: Sequence[ColumnContract]) -> None:
        """Give the columns their types, and quarantine the rows where that fails."""
        typed, bad = [], None
        for column in columns:
            given = normalise(self.table.get_column(column.name))
            values = cast(given, column.type)
            if values.null_count() > given.null_count():
                wrong = values.is_null() & given.is_not_null()
                self._report(wrong, FAULTS[column.type], column.name, given)
                bad = wrong if bad is None else bad | wrong
            # Nothing but a text can turn out to be NaN.
            typed.append(normalise(values) if given.dtype == pl.String and column.type == "number" else values)
        self.table = self.table.with_columns(typed)
        self._drop(bad)

    def set_aside(self, conditions: Sequence[tuple[str, pl.Expr]]) -> dict[str, int]:
        """Take out the rows that meet a condition, and count them; a row counts for the first that it meets."""
        counts = {}
        stays = pl.repeat(True, self.table.height, dtype=pl.Boolean, eager=True)
        for reason, condition in conditions:
            try:
                met = self._meets(condition, reason)
            except DataError:
                # What it cannot be computed for may have been set aside before.
                self._keep(stays)
                met = self._meets(condition, reason)
                stays = pl.repeat(True, self.table.height, dtype=pl.Boolean, eager=True)
            counts[reason] = int((met & stays).sum())
            stays &= ~met
        self._keep(stays)
        return counts

    def _meets(self, condition: pl.Expr, reason: str) -> pl.Series:
        rows = _evaluate(self.table, condition.alias("set aside"), f"set_aside {reason!r}", self._file)
        return rows.get_column("set aside").fill_null(False)

    def check(self, columns: tuple[ColumnContract, ...]) -> None:
        """Quarantine the rows that break the contract."""
        bad = None
        for violation in violations(self.table, columns):
            values = self.table.get_column(violation.column)
            self._report(violation.rows, violation.reason, violation.column, values)
            bad = violation.rows if bad is None else bad | violation.rows
        self._drop(bad)

    def _report(self, rows: pl.Series, reason: str, column: str, values: pl.Series) -> None:
        where = rows.to_numpy()
        positions = np.flatnonzero(where) if self._positions is None else self._positions[where]
        self._quarantine.add(
            self._file, self._all_numbers[positions], self._raw[positions], reason, column, values.filter(rows)
        )

    def _drop(self, bad: pl.Series | None) -> None:
        if bad is not None:
            self.quarantined += int(bad.sum())
            self._keep(~bad)

    def _keep(self, stays: pl.Series) -> None:
        # Once for all reasons: it copies every column.
        if stays.all():
            return
        self.table = self.table.filter(stays)
        where = stays.to_numpy()
        self._positions = np.flatnonzero(where) if self._positions is None else self._positions[where]


def _parse_derived(table: TableContract, known: list[str]) -> list[tuple[ColumnContract, pl.Expr]]:
    """The expressions in order, each tried on an empty table of the columns above it."""
    derived = []
    schema = {name: DTYPES[table[name].type] for name in known}
    for column in table.columns:
        if column.expression is not None:
            place = f"the expression of column {column.name!r}"
            dtype = expressions.result_type(column.expression, place, schema)
            cast(pl.Series(column.name, [], dtype=dtype), column.type)
            schema[column.name] = DTYPES[column.type]
            derived.append((column, expressions.parse(column.expression, place)))
    return derived


def _parse_conditions(table: TableContract) -> list[tuple[str, pl.Expr]]:
    schema = {column.name: DTYPES[column.type] for column in table.columns}
    conditions = []
    for aside in table.set_aside:
        place = f"the condition of set_aside {aside.reason!r}"
        expressions.require_condition(aside.where, place, schema)
        conditions.append((aside.reason, expressions.parse(aside.where, place)))
    return conditions


def _derive(table: pl.DataFrame, name: str, expression: pl.Expr, file: str) -> pl.Series:
    """The column of an expression; one that reads dates from texts is worked out once for each different row."""

    def work(rows: pl.DataFrame) -> pl.Series:
        return _evaluate(rows, expression.alias(name), f"column {name!r}", file).get_column(name)

    if ".str.strptime(" in str(expression):
        inputs = table.select(list(dict.fromkeys(expression.meta.root_names())))
        # Equal fractions may have two texts: 0.0 and -0.0.
        if not any(dtype.is_float() for dtype in inputs.dtypes) and do_repeat(inputs):
            return once_each(inputs, work).alias(name)
    return work(table)


def _evaluate(table: pl.DataFrame, expression: pl.Expr, place: str, file: str) -> pl.DataFrame:
    # The columns it reads alone. One that reads none gives a single value, which needs a table to be as long as.
    read = table.select(list(dict.fromkeys(expression.meta.root_names())) or table.columns[:1])
    try:
        return read.with_columns(expression)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{file}: {place} cannot be computed for some rows: {str(error).partition(chr(10))[0]}",
            hint="use TRY_CAST where a value may not convert",
        ) from error
