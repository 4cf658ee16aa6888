"""The prediction log in the object store: reading it, keeping it for so long, and forgetting one entity.

::

    predictions/log/<model>/<day>/<segment>.parquet        the answers of one segment on one day (UTC)
    predictions/forgotten/<model>/<digest>-<at>.json       whose records before <at> (µs since the epoch) are to be gone

An object's name tells where its rows came from, so shipping the same segment twice gives the same object. Whoever
ships looks at ``forgotten`` after it has written, and whoever forgets writes there before it reads: whichever comes
first, the records go.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import polars as pl

from aforo.errors import DataError
from aforo.monitoring.segments import Segment
from aforo.storage import ObjectStore

logger = logging.getLogger(__name__)

WHEN_NOTHING_IS_RECORDED = "see AFORO_SERVE_LOG and --since; what was answered a minute ago may still wait in the spool"
"""The hint of those who find no rows in the log."""

_LOG, _FORGOTTEN = "predictions/log", "predictions/forgotten"


class PredictionLog:
    """The log of every model.

    Parameters
    ----------
    store
        Needs a key that reaches the ``predictions`` bucket, and no other.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def add(self, segment: Segment) -> int:
        """Put a segment's rows into the store, once however often it is added, and return how many were put there."""
        model, added = segment.header.model, 0
        day = pl.col("at").dt.date()
        keys: list[str] = []
        for each in segment.table["at"].dt.date().unique().sort():
            key = f"{_LOG}/{model}/{each}/{segment.name}.parquet"
            keys.append(key)
            part = segment.table.filter(day == each)
            if self._store.write(key, _parquet(part), if_absent=True):
                added += len(part)
        for _, digest, until in self._orders(model):
            for key in keys:
                self._remove(key, digest, until)
        return added

    def objects(self, model: str, *, since: date | None = None, until: date | None = None) -> Iterator[str]:
        """Yield the keys of a model's log, the oldest day first.

        Parameters
        ----------
        since, until
            First and last day, in UTC; ``None`` for no bound.
        """
        for key in self._store.list(f"{_LOG}/{model}/"):
            day = date.fromisoformat(key.split("/")[3])
            if (since is None or day >= since) and (until is None or day <= until):
                yield key

    def read(self, key: str) -> pl.DataFrame:
        """Return one object's table; see :mod:`aforo.monitoring.segments` for its columns."""
        try:
            return pl.read_parquet(io.BytesIO(self._store.read(key)))
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{key} is not a table of the prediction log: {error}") from error

    def tables(self, model: str, *, since: date | None = None, until: date | None = None) -> Iterator[pl.DataFrame]:
        """Yield the log in tables that fit in memory, the oldest day first."""
        for key in self.objects(model, since=since, until=until):
            yield self.read(key)

    def models(self) -> list[str]:
        """Return the models that have a log."""
        return sorted({key.split("/")[2] for key in self._store.list(f"{_LOG}/")})

    def forget(self, model: str, digest: str, *, now: datetime | None = None) -> int:
        """Remove one entity's records up to now, also those still to be shipped, and return how many were in the store.

        Parameters
        ----------
        digest
            :func:`~aforo.monitoring.privacy.hashed` of the entity's key.
        """
        until = now or datetime.now(UTC)
        order = {"entity": digest, "until": until.isoformat()}
        # Written first: what is shipped from here on is looked through by who ships it.
        self._store.write(f"{_FORGOTTEN}/{model}/{digest}-{_microseconds(until)}.json", json.dumps(order).encode())
        removed = sum(self._remove(key, digest, until) for key in tuple(self.objects(model)))
        logger.info("entity forgotten", extra={"model": model, "entity": digest, "rows": removed})
        return removed

    def prune(self, keep_days: int, *, now: datetime | None = None) -> int:
        """Remove the days before the last ``keep_days``, of all models, and return how many objects went."""
        first = (now or datetime.now(UTC)).date() - timedelta(days=keep_days)
        old = [key for key in self._store.list(f"{_LOG}/") if date.fromisoformat(key.split("/")[3]) < first]
        for model in {key.split("/")[2] for key in self._store.list(f"{_FORGOTTEN}/")}:
            # An order to forget what is gone is done.
            old += [key for key, _, until in self._orders(model) if until.date() < first]
        for key in old:
            self._store.delete(key)
        return len(old)

    def _orders(self, model: str) -> Iterator[tuple[str, str, datetime]]:
        """Yield what is to be forgotten: the order's key, the entity's digest, and until when."""
        for key in self._store.list(f"{_FORGOTTEN}/{model}/"):
            digest, _, microseconds = key.rpartition("/")[2].removesuffix(".json").partition("-")
            yield key, digest, datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(microseconds))

    def _remove(self, key: str, digest: str, until: datetime) -> int:
        """Write an object anew without an entity's rows; return how many there were."""
        table = self.read(key)
        gone = (pl.col("entity") == digest) & (pl.col("at") <= until)
        kept = table.filter(gone.fill_null(value=False).not_())
        removed = len(table) - len(kept)
        if removed:
            self._store.write(key, _parquet(kept))
        return removed


def _parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer, compression="zstd", statistics=True)
    return buffer.getvalue()


def _microseconds(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
