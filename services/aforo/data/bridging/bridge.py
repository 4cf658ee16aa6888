"""The bridge: what new rows say about the values that old rows do not tell apart, or lack."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aforo.data.splits.days import day_of
from aforo.data.splits.keytext import fingerprint, key_text
from aforo.data.splits.new_rows import NewRowsSplit
from aforo.data.splits.strategy import SplitStrategy
from aforo.errors import DataError

Method = Literal["static", "probabilistic"]
Fill = Literal["mean", "median"]

Mixtures = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Column to old value ("" for a missing one) to the share (0-1) of each new value that it stands for."""


@dataclass(frozen=True, eq=False)
class Bridged:
    """Training rows of both schemas, the old ones made to fit the new.

    Attributes
    ----------
    table
        All training rows (N), in the order they came in.
    age
        (N,) -1 for a new row; 0, 1, 2, ... for the old ones, from the newest to the oldest.
    mixtures
        What the values that are still old stand for.
    old_rows
        Numbers of old rows to try, each once.
    """

    table: pl.DataFrame
    age: NDArray[np.int64]
    mixtures: Mixtures
    old_rows: tuple[int, ...]

    def with_old_rows(self, count: int) -> pl.DataFrame:
        """Return the new rows and the newest ``count`` of the old ones."""
        return self.table.filter(pl.Series(self.age < count))


class Bridge:
    """Carries training rows from before a change of schema over to the new one.

    A category that became finer: an old row says ``card``, a new one ``gift``, ``debit`` or ``credit``. The static
    method keeps ``card``, and features make it the vector of the shares that the three have among new rows; the
    exported graph does so too, so a client who still says ``card`` gets an answer. The probabilistic method draws one
    of the three for each old row. A column that was added is filled with the new rows' mean or median, or drawn.

    Use it while new rows are few. The price: an old row's category is an average, so the more of them there are, the
    less the model learns of how the new categories differ; that is why their number is chosen on new rows.

    Parameters
    ----------
    time
        Column whose day says whether a row is old: before ``since``.
    key
        Columns that identify a row: what is drawn for it follows from them alone, whatever other rows there are.
    groups, added, method, fill, old_rows
        As in :class:`BridgeSpec`.
    private
        Columns whose values must not be in messages.

    References
    ----------
    Lakshmanan, Robinson, Munn: Machine Learning Design Patterns, 2020, "Bridged Schema".
    """

    def __init__(
        self,
        *,
        time: str,
        since: dt.date,
        key: tuple[str, ...],
        groups: Mapping[str, Mapping[str, tuple[str, ...]]],
        added: tuple[str, ...] = (),
        method: Method = "static",
        fill: Fill = "median",
        old_rows: Sequence[float] = (0.0, 1.0),
        private: frozenset[str] = frozenset(),
    ) -> None:
        self.time = time
        self.since = since
        self.key = key
        self.groups = groups
        self.added = added
        self.method = method
        self.fill = fill
        self.old_rows = tuple(old_rows)
        self.private = private

    def over(self, strategy: SplitStrategy) -> SplitStrategy:
        """Return the split that leaves old rows out of every part but train."""
        return NewRowsSplit(strategy, column=self.time, since=self.since)

    def refuse_old_values(self, table: pl.DataFrame) -> None:
        """Refuse new rows that hold what only old rows may.

        Raises
        ------
        DataError
            A row since the change holds an old value, or lacks a text that was added.
        """
        new = table.filter(~self._is_old(table))
        for column, groups in self.groups.items():
            values = new.get_column(column)
            found = values.filter(values.is_in(list(groups)))
            if len(found):
                raise DataError(
                    f"bridge: {len(found)} rows of {self.since} or later have {column!r} = {found[0]!r}; "
                    f"expected one of {', '.join(groups[found[0]])}, or another new value",
                    hint="move `since` to the first day without old values, or set such rows aside",
                )
        for column in self.added:
            if new.schema[column] == pl.String and (lacking := _missing(new.get_column(column)).sum()):
                raise DataError(
                    f"bridge: {lacking} rows of {self.since} or later have no {column!r}, as rows had before it was "
                    "added: the two cannot be told apart",
                    hint="give such rows a value of their own, for example by COALESCE in an expression",
                )

    def learn(self, train: pl.DataFrame) -> Bridged:
        """Carry the old rows of the training part over, by what its new rows say.

        Raises
        ------
        DataError
            There are no new rows, no new value of a group is among them, or an old row holds a value of no group.
        """
        is_old = self._is_old(train)
        new, old = train.filter(~is_old), train.filter(is_old)
        if not new.height:
            raise DataError(
                f"bridge: none of {train.height} training rows is of {self.since} or later, so nothing says what old "
                "values stand for",
                hint="move `since`, or split so that new rows are in the train part",
            )
        self.refuse_old_values(new)
        known = {(column, value): self._stands_for(new, column, value) for column, value in self._old_values()}
        for column in self.groups:
            self._refuse_unlisted(old.get_column(column), new.get_column(column))
        mixtures: dict[str, dict[str, dict[str, float]]] = {}
        for (column, value), values in known.items():
            if values.dtype == pl.String:
                mixtures.setdefault(column, {})[value] = _shares(values)
            if values.dtype != pl.String or self.method == "probabilistic":
                old = old.with_columns(self._carried(old, column, value, values))
        rows = old.height
        age = np.full(train.height, -1, dtype=np.int64)
        age[is_old.to_numpy()] = self._age(old)
        return Bridged(
            table=_in_place(train, is_old, new, old),
            age=age,
            mixtures=mixtures,
            old_rows=tuple(dict.fromkeys(round(share * rows) for share in self.old_rows)),
        )

    def _is_old(self, table: pl.DataFrame) -> pl.Series:
        return table.select(day_of(self.time, table.schema[self.time]) < self.since).to_series()

    def _old_values(self) -> list[tuple[str, str]]:
        """Each bridged column with each value that stands for others; a missing one is ""."""
        return [(column, old) for column, groups in self.groups.items() for old in groups] + [
            (column, "") for column in self.added
        ]

    def _stands_for(self, new: pl.DataFrame, column: str, value: str) -> pl.Series:
        """The values of the new rows among which an old value is shared out, in order."""
        values = new.get_column(column).drop_nulls()
        if column in self.groups:
            members = self.groups[column][value]
            values = values.filter(values.is_in(list(members)))
            if not len(values):
                raise DataError(
                    f"bridge: no new training row has {column!r} = {' or '.join(map(repr, members))}, so nothing says "
                    f"how {value!r} is shared out",
                    hint="wait for such rows, or split so that some are in the train part",
                )
        elif not len(values):
            raise DataError(
                f"bridge: column {column!r} has no value in any new training row",
                hint="leave it out of `added` and of the features until it has some",
            )
        return values.sort()

    def _refuse_unlisted(self, old: pl.Series, new: pl.Series) -> None:
        groups = self.groups[old.name]
        valid = {*groups, *(value for values in groups.values() for value in values), *new.unique()}
        strange = old.filter(~old.is_in(list(valid - {None}))).drop_nulls()
        if len(strange):
            value = "a value" if old.name in self.private else repr(strange[0])
            raise DataError(
                f"bridge: {len(strange)} rows before {self.since} have {old.name!r} = {value}, which "
                f"bridge.groups.{old.name} does not list and no new training row has",
                hint=f"list it with the new values that it stood for; listed are: {', '.join(groups)}",
            )

    def _carried(self, old: pl.DataFrame, column: str, value: str, values: pl.Series) -> pl.Series:
        """The column of the old rows with ``value`` replaced by new values."""
        given = old.get_column(column)
        where = (given == value).fill_null(False) if value else _missing(given)
        if self.method == "probabilistic":
            place = (self._uniform(old, column) * len(values)).astype(np.int64)
            return given.zip_with(~where, values.gather(np.minimum(place, len(values) - 1)).alias(column))
        middle = values.cast(pl.Float64).mean() if self.fill == "mean" else values.cast(pl.Float64).median()
        return given.cast(pl.Float64).zip_with(~where, pl.Series(column, [middle], dtype=pl.Float64))

    def _uniform(self, rows: pl.DataFrame, salt: str) -> NDArray[np.float64]:
        """A number in [0, 1] for each row, from its key alone."""
        texts = [key_text(name, rows.schema[name]) for name in self.key]
        text = pl.concat_str([pl.lit(salt), *texts], separator="\x1f")
        # Two steps: in one, the text would be put together each time that the hash looks at it.
        hashed = rows.select(text=text).select(fingerprint(pl.col("text"))).to_series()
        return hashed.to_numpy().astype(np.float64) / 2.0**64

    def _age(self, old: pl.DataFrame) -> NDArray[np.int64]:
        """How many old rows are newer than each; rows of one moment are in the order of their keys' hashes."""
        moment = old.get_column(self.time).cast(pl.Int64).to_numpy()
        newest_first = np.lexsort((self._uniform(old, "age"), -moment))
        age = np.empty(old.height, dtype=np.int64)
        age[newest_first] = np.arange(old.height)
        return age


def _missing(values: pl.Series) -> pl.Series:
    return values.is_null() | (values == "").fill_null(False) if values.dtype == pl.String else values.is_null()


def _shares(values: pl.Series) -> dict[str, float]:
    counts = values.value_counts().sort(values.name)
    return {value: count / len(values) for value, count in counts.iter_rows()}


def _in_place(train: pl.DataFrame, is_old: pl.Series, new: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """New and old rows, each where it was in the training part."""
    order = np.concatenate([np.flatnonzero(~is_old.to_numpy()), np.flatnonzero(is_old.to_numpy())])
    return pl.concat([new, old], how="vertical_relaxed").select(train.columns)[np.argsort(order)]
