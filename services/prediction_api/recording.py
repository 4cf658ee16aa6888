"""Records every answered prediction in the spool, before its answer is sent.

What a record holds, and how it reaches the object store: :mod:`aforo.monitoring`. A caller may name what each row is
about in the header ``X-Entity-Key`` (one key a row, with commas between them, percent-encoded), so that labels can be
joined by it and its records deleted. The log holds a keyed hash of it; columns that the contract calls private are
hashed too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import date
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

import msgspec

from aforo.monitoring.privacy import ENTITY, hashed
from aforo.monitoring.records import FORMAT, Record, block
from aforo.monitoring.spool import Spool, SpoolGauge, SpoolOptions
from prediction_api.answers import Prediction
from prediction_api.explaining import Row
from prediction_api.metrics import Metrics
from prediction_api.problems import Problem
from prediction_api.served_version import ServedVersion

ANSWER, SHADOW = "answer", "shadow"


class Answered(Protocol):
    """What a record tells of a request."""

    id: str
    caller: str

    @property
    def headers(self) -> Any: ...


_Taken = tuple[ServedVersion, Answered, list[str] | None, str, Sequence[Row], Sequence[Prediction]]
"""Who answered, a request, the hashes of its entity keys, its role, its rows and what they were answered."""


class Recorder:
    """Records what one worker answers.

    Made before the worker is forked; its spool is opened by the first record.

    Parameters
    ----------
    key
        Of the hashes; see :func:`aforo.monitoring.privacy.log_key`.
    """

    def __init__(self, options: SpoolOptions, *, workers: int, key: bytes, metrics: Metrics) -> None:
        self.options = options
        self.gauge = SpoolGauge(options.folder, budget_bytes=options.budget_bytes, writers=workers)
        self._key = key
        self._metrics = metrics
        self._spool = Spool(options, self.gauge, self._count_dropped)
        self._series: dict[tuple[str, str], _Series] = {}
        self._unwritten: list[_Taken] = []

    def record(
        self,
        request: Answered,
        served: ServedVersion,
        rows: Sequence[Row],
        predictions: Sequence[Prediction],
        *,
        role: str = ANSWER,
    ) -> None:
        """Take note of one request; it never fails because the log does.

        It is in the log after the next :meth:`flush`, which has to come before the answer is sent.

        Raises
        ------
        Problem
            ``invalid_entity_key``: the caller's entity keys do not fit the rows.
        """
        given = request.headers.get(b"x-entity-key")
        entities = None if given is None else self._entities(given, len(rows))
        self._unwritten.append((served, request, entities, role, rows, predictions))

    def flush(self) -> None:
        """Write the records since the last call, as answered now: at once where versions do not take turns."""
        if not self._unwritten:
            return
        unwritten, self._unwritten = self._unwritten, []
        at = time.time_ns() // 1_000
        for served, taken in groupby(unwritten, key=itemgetter(0)):
            series = self._series.get((served.model, served.version)) or self._begin(served)
            show = series.shown
            records = [
                Record(
                    request.id,
                    at,
                    request.caller,
                    entities,
                    role,
                    "full",
                    rows if show is None else [show(row) for row in rows],
                    predictions,
                )
                for _, request, entities, role, rows, predictions in taken
            ]
            self._spool.append(series.name, series.header, block(records), records=len(records))

    def tend(self) -> None:
        """Complete old segments and publish how full the spool is; called about once a second."""
        self.flush()
        self._spool.tend()
        self._metrics.gauge("aforo_log_spool_bytes", self.gauge.used_bytes)
        self._metrics.gauge("aforo_log_spool_segments", self.gauge.segments)

    def close(self) -> None:
        """Complete all segments."""
        self.flush()
        self._spool.close()

    def _count_dropped(self, reason: str, records: int) -> None:
        self._metrics.count("aforo_log_dropped_total", reason, by=records)

    def _begin(self, served: ServedVersion) -> _Series:
        series = self._series[served.model, served.version] = _Series(served, self._key)
        return series

    def _entities(self, given: bytes, rows: int) -> list[str]:
        keys = [unquote_to_bytes(part.strip()) for part in given.split(b",")]
        if len(keys) != rows or not all(keys):
            raise Problem(
                "invalid_entity_key", f"X-Entity-Key has {len(keys)} keys for {rows:,} rows; expected one for each row"
            )
        return [hashed(key.decode("utf-8", "replace"), ENTITY, self._key) for key in keys]


class _Series:
    """What the records of one version have in common."""

    def __init__(self, served: ServedVersion, key: bytes) -> None:
        columns = served.contract.inputs
        self.name = f"{served.model}@{served.version}"
        self.header = b'{"format":%d,"model":%b,"version":%b,"contract":%b}' % (
            FORMAT,
            msgspec.json.encode(served.model),
            msgspec.json.encode(served.version),
            served.contract.model_dump_json().encode(),
        )
        self.shown: Callable[[Row], Sequence[Any]] | None = None
        """Makes of a row what may be recorded of it; ``None`` if that is all of it."""
        private = [(place, column.name) for place, column in enumerate(columns) if column.private]
        if private:

            def without_private_values(row: Row) -> Sequence[Any]:
                values = list(row)
                for place, name in private:
                    value = values[place]
                    if isinstance(value, date):
                        raise AssertionError(f"{name} is an input, and none of them is a date")
                    if value is not None:
                        values[place] = hashed(value, name, key)
                return values

            self.shown = without_private_values
