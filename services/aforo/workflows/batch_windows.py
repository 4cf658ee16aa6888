"""Windows of bulk prediction: from files of events to the columns that the rows of a table leave out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import polars as pl

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.windows import EventStream
from aforo.data.casting import FAULTS, cast, normalise
from aforo.data.sources.csv import CsvReader
from aforo.data.sources.locations import Location, locate
from aforo.data.sources.parquet import ParquetReader
from aforo.data.sources.reader import require_columns
from aforo.data.windows import EventCollector, Panes
from aforo.errors import DataError
from aforo.settings import Settings
from aforo.workflows.answering import PROBLEM

Open = Callable[[Location], CsvReader | ParquetReader]


def files_of_events(
    asked: Sequence[str], contract: PredictionContract, settings: Settings
) -> Mapping[str, list[Location]]:
    """Return stream to its files.

    Parameters
    ----------
    asked
        ``path`` where the model has one stream, else ``stream=path`` each: path, glob or ``s3://`` URL.

    Raises
    ------
    DataError
        The model has no such stream.
    SourceError
        There is no such file.
    """
    streams = [stream.stream for stream in contract.windows]
    found: dict[str, list[Location]] = {}
    for text in asked:
        name, sign, path = text.partition("=")
        if not sign and len(streams) == 1:
            name, path = streams[0], text
        if name not in streams or name in found:
            known = " or ".join(f"{stream}=PATH" for stream in streams)
            raise DataError(
                f"--events {text!r}: expected {known or 'none, for the model has no windows'}, each once",
                hint="the model's streams are under `windows` in its contract",
            )
        found[name] = locate(path, Path.cwd(), settings)
    return found


class BatchWindows:
    """Fills in the window columns of tables; without a stream's events, that stream's are left as they are."""

    def __init__(self, panes: Sequence[Panes]) -> None:
        self._panes = panes

    @classmethod
    def of(cls, files: Mapping[str, list[Location]], contract: PredictionContract, open_: Open, folder: Path) -> Self:
        """Read the events.

        Parameters
        ----------
        folder
            For the events until they are added up.

        Raises
        ------
        DataError
            An event breaks the contract; the message names its row.
        """
        read = []
        for stream in contract.windows:
            if stream.stream in files:
                with EventCollector(stream, folder / stream.stream, refuses=True) as collector:
                    for file in files[stream.stream]:
                        _collect(open_(file), file.path, collector)
                    read.append(collector.finish())
        return cls(read)

    @property
    def columns(self) -> tuple[str, ...]:
        """What is filled in."""
        return tuple(name for panes in self._panes for name in panes.stream.columns)

    @property
    def asked(self) -> tuple[str, ...]:
        """What is needed of a table for that."""
        return tuple(dict.fromkeys(c.name for panes in self._panes for c in panes.stream.request_columns))

    def fill(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Return the table with the window columns, where it does not give them itself.

        Parameters
        ----------
        batch
            (N rows) as read, with `PROBLEM`: a time that is none, or has no key beside it, becomes the row's problem.
        """
        for panes in self._panes:
            asked = pl.DataFrame([_typed(batch, c.name, c.type) for c in panes.stream.request_columns])
            batch = batch.with_columns(_problems(batch, asked, panes.stream).alias(PROBLEM))
            found = panes.add_columns_to(asked)
            batch = batch.with_columns(
                _typed(batch, name, "number").fill_null(found.get_column(name))
                if name in batch.columns
                else found.get_column(name)
                for name in panes.stream.columns
            )
        return batch


def _collect(reader: CsvReader | ParquetReader, place: str, collector: EventCollector) -> None:
    columns = collector.stream.event_columns
    names = [column.name for column in columns]
    require_columns(place, names, reader.columns)
    for batch in reader.batches(names):
        if batch.broken:
            raise DataError(f"{place}: row {batch.broken[0].number}: {batch.broken[0].reason}", hint="mend the row")
        typed = []
        for column in columns:
            given = normalise(batch.table.get_column(column.name))
            values = cast(given, column.type)
            wrong = values.is_null() & given.is_not_null()
            if wrong.any():
                number = batch.numbers[wrong.arg_max()]
                raise DataError(f"{place}: row {number}: {column.name} {FAULTS[column.type]}", hint="mend the row")
            typed.append(normalise(values))
        collector.add(pl.DataFrame(typed), batch.numbers, place)


def _typed(batch: pl.DataFrame, name: str, kind: str) -> pl.Series:
    return normalise(cast(normalise(batch.get_column(name)), kind))  # type: ignore[arg-type]


def _problems(batch: pl.DataFrame, asked: pl.DataFrame, stream: EventStream) -> pl.Series:
    """(N,) what is wrong with each row's time and key, after what is known already."""
    given = normalise(batch.get_column(stream.asked_at))
    is_time = asked.get_column(stream.asked_at).is_not_null()
    claims = {f"{stream.asked_at} {FAULTS['timestamp']}": given.is_not_null() & ~is_time}
    claims |= {f"{name} is missing": is_time & asked.get_column(name).is_null() for name in stream.by}
    flags = pl.DataFrame([batch.get_column(PROBLEM), *(rows.alias(text) for text, rows in claims.items())])
    texts = [pl.when(pl.col(text)).then(pl.lit(text)) for text in claims]
    joined = flags.select(pl.concat_str(PROBLEM, *texts, separator="; ", ignore_nulls=True)).to_series()
    return joined.set(joined == "", None)
