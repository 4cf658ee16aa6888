"""What ``use_case.yaml`` says about a change of schema."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from aforo.contracts.specification import Specification
from aforo.contracts.table import ColumnContract, Role, TableContract
from aforo.data.bridging.bridge import Bridge, Fill, Method
from aforo.data.splits.fingerprint import NO_TEXT, TEXT_TYPES

Share = Annotated[float, Field(ge=0, le=1)]
Groups = Annotated[Mapping[str, Annotated[tuple[str, ...], Field(min_length=1)]], Field(min_length=1)]


class BridgeSpec(Specification):
    """Train on rows from before a change of schema as well: a category became finer, or a column was added.

    Old rows are for training alone. Rows of validation, calibration and test are of the new schema, the one that is
    served: a row from before ``since`` that the split puts there is left out.

    Attributes
    ----------
    since
        First day (UTC, of the column with the role ``time``) of the new schema.
    groups
        Column to old value to the new values that it stood for. An old value that is none of these keys must be a new
        value as well.
    added
        Columns that rows before ``since`` lack.
    method
        ``static`` (recommended): an old value becomes the vector of the shares of its new values, a number that is
        missing the ``fill``. ``probabilistic``: it becomes the value of a new row, drawn by the row's key. Both learn
        from the new rows of the training part.
    fill
        What ``static`` puts for the number that an old row lacks: the ``median`` of the new rows, or their ``mean``.
    old_rows
        Shares (0-1) of the old training rows, newest first, that are tried; each candidate keeps the one with the
        lowest validation loss.
    """

    since: dt.date
    groups: Mapping[str, Groups] = {}
    added: tuple[str, ...] = ()
    method: Method = "static"
    fill: Fill = "median"
    old_rows: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.0, 0.25, 0.5, 1.0)

    @model_validator(mode="after")
    def _categories_nest(self) -> Self:
        if not self.groups and not self.added:
            raise ValueError("bridge names no column; expected `groups`, `added` or both")
        for column in self.groups:
            if column in self.added:
                raise ValueError(f"bridge: column {column!r} is in groups and in added; it can be in one of them")
        for column, groups in self.groups.items():
            listed = Counter(new for news in groups.values() for new in news)
            for new, count in listed.items():
                if count > 1:
                    under = [old for old, news in groups.items() if new in news]
                    raise ValueError(
                        f"bridge.groups.{column}: {new!r} is listed {count} times, under "
                        f"{', '.join(map(repr, under))}; expected each new value once, under one old value"
                    )
            for old in groups:
                if old in listed:
                    raise ValueError(
                        f"bridge.groups.{column}: {old!r} is an old value and a new one; give the new one another name"
                    )
        return self

    def refuse_unfit(self, table: TableContract) -> None:
        """Refuse a table that the bridge does not fit.

        Raises
        ------
        ValueError
            It has no time, no key or no such feature, or its contract would quarantine old rows or old values.
        """
        if table.time is None:
            raise ValueError("bridge: nothing says which rows are old; give a column the role `time`")
        if table.time.nullable:
            raise ValueError(
                f"bridge: time column {table.time.name!r} is nullable, so some rows are neither old nor new"
            )
        if not table.key:
            raise ValueError("bridge: old rows are told apart by the key; give a column the role `key`")
        for name in table.key:
            if table[name].type not in TEXT_TYPES:
                raise ValueError(f"bridge: key column {name!r} is a {table[name].type}, {NO_TEXT}")
        for name, groups in self.groups.items():
            column = _feature(table, "groups", name)
            if column.type != "string":
                raise ValueError(f"bridge.groups: column {name!r} is a {column.type}; expected a string")
            for value in (*groups, *(new for news in groups.values() for new in news)):
                if column.categories is not None and value not in column.categories:
                    raise ValueError(
                        f"bridge.groups.{name}: {value!r} is not among the column's categories; "
                        "list the old values and the new ones there, or such rows are refused"
                    )
        for name in self.added:
            if not _feature(table, "added", name).nullable:
                raise ValueError(f"bridge.added: column {name!r} is not nullable, so rows without it are refused")

    def build(self, table: TableContract) -> Bridge:
        """Return the bridge of a table that it fits."""
        assert table.time is not None  # noqa: S101  refuse_unfit has seen to it
        return Bridge(
            time=table.time.name,
            since=self.since,
            key=table.key,
            groups={column: dict(groups) for column, groups in self.groups.items()},
            added=self.added,
            method=self.method,
            fill=self.fill,
            old_rows=self.old_rows,
            private=frozenset(column.name for column in table.columns if column.private),
        )


def _feature(table: TableContract, field: Literal["groups", "added"], name: str) -> ColumnContract:
    features = [column.name for column in table.with_role(Role.FEATURE)]
    if name not in features:
        raise ValueError(f"bridge.{field} names {name!r}, which is no feature; the features are: {', '.join(features)}")
    return table[name]
