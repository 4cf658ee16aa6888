"""Window columns of tables: events into panes, panes into columns. What they mean: `aforo.contracts.windows`.

Events are staged as rows are (each counted once, however often it comes), and added up part by part. So memory holds
panes, at most one for each key and pane of time, and not the events.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from aforo.contracts.windows import LARGEST_FIXED, CountColumn, EventStream, Measure, WindowColumn
from aforo.data.casting import DTYPES
from aforo.data.checks import violations
from aforo.data.quarantine import Quarantine
from aforo.data.staging import Staging
from aforo.errors import DataError

logger = logging.getLogger(__name__)

_PANE, _COUNT, _BOUNDARY = "(pane)", "(count)", "(boundary)"
"""Columns beside those of a table; no contract's column is called so."""


class EventCollector:
    """Takes events, batch after batch.

    Parameters
    ----------
    folder
        For the events until they are added up.
    refuses
        Whether an event that breaks the contract is refused, or left out and counted, as where its row is quarantined.
    """

    def __init__(self, stream: EventStream, folder: Path, *, refuses: bool = False) -> None:
        self.stream = stream
        self._folder = folder
        self._refuses = refuses
        self._names = [column.name for column in stream.event_columns]
        schema = {column.name: DTYPES[column.type] for column in stream.event_columns}
        self._staging = Staging(folder, schema, stream.identity)
        self.left_out = 0
        """Events that break the contract, as their rows do."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._staging.__exit__(*details)

    def add(self, table: pl.DataFrame, numbers: npt.NDArray[np.int64], file: str) -> None:
        """Take the events of some rows.

        Parameters
        ----------
        table
            (N rows) in the contract's types, with the stream's event columns at least.
        numbers
            (N,) number of each row in ``file``.

        Raises
        ------
        DataError
            A value to be added up is missing, or has more decimals than its window says; or an event breaks the
            contract, and that is refused.
        """
        is_event = table.get_column(self.stream.known_at).is_not_null()
        events, numbers = table.select(self._names).filter(is_event), numbers[is_event.to_numpy()]
        for measure in self.stream.measures:
            self._refuse_missing(events, measure, numbers, file)
        bad = []
        for violation in violations(events, self.stream.event_columns):
            if self._refuses:
                first = numbers[violation.rows.arg_max()]
                raise DataError(
                    f"stream {self.stream.stream!r}: {violation.rows.sum()} event(s) whose {violation.column!r} "
                    f"{violation.reason}, first in row {first} of {file}",
                    hint="mend the events, or leave them out",
                )
            bad.append(violation.rows)
        if bad:
            stays = (
                ~pl.DataFrame({str(place): rows for place, rows in enumerate(bad)})
                .select(pl.any_horizontal(pl.all()))
                .to_series()
            )
            self.left_out += events.height - int(stays.sum())
            events, numbers = events.filter(stays), numbers[stays.to_numpy()]
        for measure in self.stream.measures:
            self._refuse_inexact(events, measure, numbers, file)
        self._staging.add(events, numbers, file)

    def finish(self) -> Panes:
        """Add up the events; of those with one identity the first counts."""
        staged = self._staging.finish(Quarantine(self._folder))
        panes = Panes(self.stream)
        for part in staged.parts:
            panes.add(pl.read_parquet(part.path))
        logger.info(
            "events added up",
            extra={
                "stream": self.stream.stream,
                "events": panes.events,
                "panes": panes.table.height,
                "repeated": staged.same_row + staged.same_key,
                "left_out": self.left_out,
            },
        )
        return panes

    def _refuse_missing(
        self, events: pl.DataFrame, measure: Measure, numbers: npt.NDArray[np.int64], file: str
    ) -> None:
        missing = events.get_column(measure.of).is_null()
        if missing.any():
            raise DataError(
                f"stream {self.stream.stream!r}: {missing.sum()} event(s) without {measure.of!r}, "
                f"first in row {numbers[missing.arg_max()]} of {file or 'the source'}",
                hint=f"let {self.stream.known_at!r} be missing where there is no event",
            )

    def _refuse_inexact(
        self, events: pl.DataFrame, measure: Measure, numbers: npt.NDArray[np.int64], file: str
    ) -> None:
        if measure.at_least is not None:
            return
        # By numpy: Polars divides by a number as it multiplies by the reciprocal, and 23 * (1 / 10) is not 2.3.
        values = events.get_column(measure.of).cast(pl.Float64).to_numpy()
        scale = 10**measure.decimals
        scaled = np.round(values * scale)
        inexact = (scaled / scale != values) | (np.abs(scaled) > LARGEST_FIXED)
        if inexact.any():
            first = inexact.argmax()
            raise DataError(
                f"stream {self.stream.stream!r}: {measure.of!r} is {values[first]} in row {numbers[first]} of "
                f"{file or 'the source'}; expected {measure.decimals} decimals at most, and no more than "
                f"{LARGEST_FIXED / scale:g}",
                hint="raise `decimals` of the window's column, or round the values",
            )


class Panes:
    """What each pane of a stream holds, by key.

    Attributes
    ----------
    events
        How many were added.
    """

    def __init__(self, stream: EventStream) -> None:
        self.stream = stream
        self.events = 0
        self._types = {c.name: DTYPES[c.type] for c in stream.event_columns}
        self._sums = {measure: f"(sum {place})" for place, measure in enumerate(stream.measures)}
        keys = {name: self._types[name] for name in stream.by}
        whole = {name: pl.Int64() for name in (_PANE, _COUNT, *self._sums.values())}
        self._added = [pl.DataFrame(schema={**keys, **whole})]

    @property
    def table(self) -> pl.DataFrame:
        """The columns of ``by``, the number of the pane, the count, and one sum a measure, all whole numbers."""
        if len(self._added) > 1:
            self._added = [pl.concat(self._added).group_by([*self.stream.by, _PANE]).sum()]
        return self._added[0]

    def add(self, events: pl.DataFrame) -> None:
        """Add events; each must come once."""
        moments = pl.col(self.stream.known_at).dt.epoch("us")
        keys = [*self.stream.by, _PANE]
        found = (
            events.with_columns((moments // self.stream.pane_us).alias(_PANE))
            .group_by(keys)
            .agg(pl.len().cast(pl.Int64).alias(_COUNT), *(_sum_of(m).alias(name) for m, name in self._sums.items()))
        )
        self._added.append(found)
        self.events += events.height
        # Put together when they have doubled, so that many parts cost no more than few.
        if sum(each.height for each in self._added) > 2 * self._added[0].height:
            self._added = [self.table]

    def add_columns_to(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return ``rows`` with the stream's columns, in the same order; missing where the time is missing.

        Parameters
        ----------
        rows
            (N rows) with the time of the question and the columns of ``by``, in the contract's types.
        """
        pane = (pl.col(self.stream.asked_at).dt.epoch("us") // self.stream.pane_us).alias(_BOUNDARY)
        keys = [*self.stream.by, _BOUNDARY]
        asked = rows.select(*self.stream.by, pane)
        moments = asked.drop_nulls().unique().sort(_BOUNDARY)
        columns = list(self.stream.columns)
        near = self._near(moments.get_column(_BOUNDARY))
        for minutes in {column.minutes for column in self.stream.columns.values()}:
            named = {name: c for name, c in self.stream.columns.items() if c.minutes == minutes}
            moments = moments.with_columns(self._columns(moments, near, minutes // self.stream.pane_minutes, named))
        found = asked.join(moments, on=keys, how="left", maintain_order="left").select(columns)
        return rows.with_columns(found)

    def refuse_own_events(self, rows: pl.DataFrame, place: str) -> None:
        """Refuse rows whose own event is known before their prediction is asked.

        Raises
        ------
        DataError
            There are such rows: their windows would hold what is to be predicted.
        """
        own, asked = rows.get_column(self.stream.known_at), rows.get_column(self.stream.asked_at)
        leaks = (own < asked).fill_null(False)
        if leaks.any():
            first = rows.row(int(leaks.arg_max() or 0), named=True)
            shown = ", ".join(f"{name} {first[name]}" for name in self.stream.identity[:6])
            raise DataError(
                f"{place}: stream {self.stream.stream!r} leaks: {leaks.sum()} row(s) have an event of their own before "
                f"their prediction is asked, for example {shown}: {self.stream.known_at} "
                f"{first[self.stream.known_at]}, {self.stream.asked_at} {first[self.stream.asked_at]}",
                hint=f"ask earlier, by a change of {self.stream.asked_at!r}, or set such rows aside",
            )

    def _near(self, boundaries: pl.Series) -> pl.DataFrame:
        """The panes that any window of these boundaries can hold: few, where rows come in order of time."""
        if boundaries.is_empty():
            return self.table.clear()
        widest = max(column.minutes for column in self.stream.columns.values()) // self.stream.pane_minutes
        return self.table.filter(pl.col(_PANE).is_between(boundaries[0] - widest, boundaries[-1]))

    def _columns(
        self, moments: pl.DataFrame, panes: pl.DataFrame, width: int, named: dict[str, WindowColumn]
    ) -> list[pl.Series]:
        """The columns over the ``width`` panes before each boundary."""
        by_key = self._between(moments, panes, list(self.stream.by), width)
        every = panes.group_by(_PANE).agg(pl.col(_COUNT).sum())
        is_known = self._between(moments, every, [], width).get_column(_COUNT) > 0
        count = by_key.get_column(_COUNT)
        columns = []
        for name, column in named.items():
            if isinstance(column, CountColumn):
                values = count.cast(pl.Float64)
            else:
                measure = column.measure
                if measure is None:
                    raise AssertionError(f"{name} is computed from a sum")
                divisor = (count * 10**measure.decimals).cast(pl.Float64)
                values = by_key.get_column(self._sums[measure]).cast(pl.Float64) / divisor
                values = values.set(count == 0, None)
            columns.append(values.set(~is_known, None).alias(name))
        return columns

    def _between(self, moments: pl.DataFrame, panes: pl.DataFrame, by: Sequence[str], width: int) -> pl.DataFrame:
        """Counts and sums of the panes from ``width`` before each boundary up to it: (N rows), whole numbers."""
        names = [name for name in panes.columns if name not in (*by, _PANE)]
        running = panes.sort(_PANE).with_columns(
            pl.col(name).cum_sum().over(by) if by else pl.col(name).cum_sum() for name in names
        )
        ends = []
        for back in (0, width):
            at = moments.select(*by, (pl.col(_BOUNDARY) - back).alias(_BOUNDARY))
            ends.append(
                at.join_asof(
                    running,
                    left_on=_BOUNDARY,
                    right_on=_PANE,
                    by=list(by) or None,
                    allow_exact_matches=False,
                    check_sortedness=False,
                ).select(pl.col(names).fill_null(0))
            )
        return ends[0].select(pl.col(name) - ends[1].get_column(name) for name in names)


def _sum_of(measure: Measure) -> pl.Expr:
    values = pl.col(measure.of).cast(pl.Float64)
    adds = values >= measure.at_least if measure.at_least is not None else (values * 10**measure.decimals).round(0)
    return adds.cast(pl.Int64).sum()
