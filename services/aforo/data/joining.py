"""More columns for each row, looked up in another table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import Field, field_validator, model_validator

from aforo.contracts.specification import Specification
from aforo.contracts.table import TableContract
from aforo.data import expressions
from aforo.data.casting import cast, normalise
from aforo.data.sources import Source
from aforo.data.sources.reader import Reader, require_columns
from aforo.errors import DataError, UseCaseError
from aforo.settings import Settings


class Join(Specification):
    """Columns of another table: one of its rows, or none, for each row. It is held in memory.

    Attributes
    ----------
    on
        The columns that must be equal: a list of contract columns, or contract column to column of the other
        table. A missing value equals nothing.
    columns
        Contract column to column of the other table, or to an SQL expression over its columns. All columns
        of a CSV are text there: write ``CAST(temp AS DOUBLE) * 2``.
    """

    source: Source
    on: Annotated[Mapping[str, str], Field(min_length=1)]
    columns: Annotated[Mapping[str, str], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _on_is_a_word(cls, value: object) -> object:
        # YAML 1.1 reads a bare `on` as true.
        if isinstance(value, dict) and True in value:
            return {("on" if name is True else name): content for name, content in value.items()}
        return value

    @field_validator("on", mode="before")
    @classmethod
    def _list_means_same_names(cls, value: object) -> object:
        return {name: name for name in value} if isinstance(value, (list, tuple)) else value


class Lookup:
    """A joined table, in memory, with one row a key.

    Parameters
    ----------
    place
        What messages call it, for example ``data.joins[0] (nycflights13/planes.csv)``.

    Raises
    ------
    DataError
        Two of its rows have the same key, or a key is not of its column's type.
    """

    def __init__(self, join: Join, table: TableContract, folder: Path, settings: Settings) -> None:
        self._place = f"the joined table {join.source.name}"
        self._left_on = list(join.on)
        raw = self._read(join, join.source.open(folder, settings))
        keys = [self._key(raw.get_column(right), left, table) for left, right in join.on.items()]
        values = [raw.get_column(f"value:{name}").alias(name) for name in join.columns]
        self._rows = pl.DataFrame([*keys, *values]).drop_nulls(self._left_on)
        self._refuse_duplicates()

    def add_to(self, table: pl.DataFrame) -> pl.DataFrame:
        """Return ``table`` with the columns of the lookup, in the same order of rows."""
        return table.join(self._rows, on=self._left_on, how="left", maintain_order="left")

    def _read(self, join: Join, reader: Reader) -> pl.DataFrame:
        """Read what is needed: the key columns as they are, each value column as ``value:<name>``."""
        known = set(reader.columns)
        values, needed = [], set(join.on.values())
        for name, text in join.columns.items():
            if text in known:
                values.append(pl.col(text).alias(f"value:{name}"))
                needed.add(text)
            else:
                expression = expressions.parse(text, f"{self._place}, column {name!r}")
                values.append(expression.alias(f"value:{name}"))
                needed.update(expression.meta.root_names())
        wanted = sorted(needed)
        require_columns(self._place, wanted, reader.columns)
        frames = []
        for batch in reader.batches(wanted):
            if batch.broken:
                raise DataError(
                    f"{self._place}: row {batch.broken[0].number} of {batch.file}: {batch.broken[0].reason}",
                    hint="mend the row; a joined table has no quarantine",
                )
            frames.append(batch.table)
        if not frames:
            raise DataError(f"{self._place} has no rows", hint="check the path, or leave the join out")
        raw = pl.concat(frames, how="vertical_relaxed", rechunk=True)
        try:
            return raw.with_columns(values)
        except pl.exceptions.PolarsError as error:
            raise UseCaseError(
                f"{self._place}: its columns cannot be computed: {str(error).partition(chr(10))[0]}",
                hint="the columns of a CSV are text: CAST them first",
            ) from error

    def _key(self, values: pl.Series, left: str, table: TableContract) -> pl.Series:
        values = normalise(values)
        key = cast(values, table[left].type)
        if key.null_count() > values.null_count():
            bad = values.filter(key.is_null() & values.is_not_null())
            raise DataError(
                f"{self._place}: key column {values.name!r} has {bad[0]!r}; expected {table[left].type}, like {left!r}",
                hint="correct the value, or join on another column",
            )
        return normalise(key).alias(left)

    def _refuse_duplicates(self) -> None:
        repeated = self._rows.filter(self._rows.select(self._left_on).is_duplicated()).select(self._left_on)
        if repeated.height:
            some = repeated.unique(maintain_order=True)
            shown = "; ".join(", ".join(f"{k}={v}" for k, v in row.items()) for row in some.head(3).to_dicts())
            raise DataError(
                f"{self._place} has several rows for {some.height} key(s), for example {shown}",
                hint="join on more columns, or keep one row a key in the source",
            )
