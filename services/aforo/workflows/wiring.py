"""The real parts, put together once: where things are stored, and how progress is shown."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from aforo.data.snapshots import Snapshots
from aforo.registry.ledger import Ledger
from aforo.registry.signing import signing_key
from aforo.registry.tracking import Tracker
from aforo.registry.versions import Versions
from aforo.settings import Settings
from aforo.storage import ObjectStore, open_store
from aforo.workflows.runs import Runs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Platform:
    """What every step needs. Connections are made when they are first used."""

    settings: Settings
    store: ObjectStore

    @classmethod
    def of(cls, settings: Settings) -> Platform:
        """Return the platform that the settings describe."""
        return cls(settings=settings, store=open_store(settings))

    @cached_property
    def runs(self) -> Runs:
        return Runs(self.store)

    @cached_property
    def snapshots(self) -> Snapshots:
        return Snapshots(self.store)

    @cached_property
    def tracker(self) -> Tracker:
        return Tracker(self.settings)

    @cached_property
    def versions(self) -> Versions:
        return Versions(self.settings)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.settings.ledger_url)

    @cached_property
    def signing_key(self) -> bytes:
        """The key that signs bundles: made on first use in the embedded default, a given secret on the platform."""
        return signing_key(self.settings.signing_key_file, create=self.settings.is_embedded)

    @contextmanager
    def progress(self, what: str, *, unit: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Show how far ``what`` is: a bar on a terminal, a log line every ten seconds elsewhere.

        Yields a function that takes how much was done since its last call.
        """
        if sys.stderr.isatty():
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bars:
                bar = bars.add_task(f"{what} ({unit})", total=total)
                yield lambda count: bars.advance(bar, count)
            return
        done, spoken = 0, time.monotonic()

        def advance(count: int) -> None:
            nonlocal done, spoken
            done += count
            if time.monotonic() - spoken >= 10:
                spoken = time.monotonic()
                logger.info(what, extra={"done": done, "of": total, "unit": unit})

        yield advance
