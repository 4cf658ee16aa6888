"""Carries complete segments from the spool to the store: ``python -m aforo.monitoring.shipping``, a process of its own.

The service starts it beside its workers; where the service's container is to hold neither a key of the store nor a
data engine, another container runs it over the same folder (``AFORO_SERVE_LOG_SHIP=off`` for the first). It is of the
lowest priority: under full load the spool grows, and shrinks again afterwards.

A segment is removed when all that was in it is in the store. With the store stopped it stays, and is tried again with
pauses of up to 30 s.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from aforo import logs
from aforo.errors import AforoError, DataError, SettingsError
from aforo.monitoring.prediction_log import PredictionLog
from aforo.monitoring.segments import read_segment
from aforo.monitoring.spool import DAMAGED, SpoolOptions, claimed, segments_in
from aforo.settings import Settings
from aforo.storage import open_store

logger = logging.getLogger("aforo.monitoring.shipping")

STATUS = "shipping.json"

_LOOK_S = 1.0
_LONGEST_PAUSE_S = 30.0
_PRUNE_S = 3600.0
_LOWEST_PRIORITY = 19


class Shipper:
    """Ships one spool.

    Parameters
    ----------
    folder
        The spool.
    """

    def __init__(self, folder: Path, log: PredictionLog) -> None:
        self._folder = folder
        self._log = log

    def ship(self, *, until: Callable[[], bool] = lambda: False) -> int:
        """Ship every complete segment, and return how many were shipped.

        Parameters
        ----------
        until
            Asked between two segments whether to stop.

        Raises
        ------
        AforoError
            The store does not answer or refuses; segments not shipped stay.
        """
        shipped = 0
        for path in segments_in(self._folder):
            if until():
                break
            shipped += self._ship(path)
        return shipped

    def _ship(self, path: Path) -> bool:
        with claimed(path) as file:
            if file is None:
                return False
            try:
                segment = read_segment(path, file.read())
            except DataError as error:
                damaged = self._folder / DAMAGED
                damaged.mkdir(exist_ok=True)
                path.rename(damaged / path.name)
                logger.error("segment set aside; it counts towards the budget", extra={"reason": error.message})
                return False
            rows = self._log.add(segment)
            path.unlink()
        logger.info("segment shipped", extra={"segment": segment.name, "rows": rows})
        return True


def main(options: SpoolOptions) -> None:
    """Ship until SIGTERM or until the parent process is gone, and then once more what is complete by then."""
    settings = Settings.from_environment()
    logs.configure(settings.log_format)
    os.nice(_LOWEST_PRIORITY)
    # The records of a segment are some 100,000 objects without a cycle among them. To look for one every 700 objects
    # would take a third of the time.
    gc.set_threshold(1_000_000)
    stops, parent = False, os.getppid()

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stops
        stops = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    log = PredictionLog(open_store(settings))
    shipper = Shipper(options.folder, log)
    pause_s, pruned_at, trouble = _LOOK_S, -_PRUNE_S, ""

    def is_over() -> bool:
        _tell(options.folder, trouble)
        return stops or os.getppid() != parent

    while not is_over():
        try:
            shipper.ship(until=is_over)
            if time.monotonic() - pruned_at >= _PRUNE_S:
                log.prune(options.keep_days)
                pruned_at = time.monotonic()
            if trouble:
                logger.info("predictions are shipped again")
            pause_s, trouble = _LOOK_S, ""
        except AforoError as error:
            if error.message != trouble:
                logger.warning("predictions wait in the spool", extra={"reason": error.message})
            pause_s, trouble = min(_LONGEST_PAUSE_S, pause_s * 2), error.message
        end = time.monotonic() + pause_s
        while not stops and time.monotonic() < end and os.getppid() == parent:
            time.sleep(0.1)
    try:
        shipper.ship()
    except AforoError as error:
        logger.warning("predictions wait in the spool until the next start", extra={"reason": error.message})


def _tell(folder: Path, trouble: str) -> None:
    """Leave word, for the metrics page and for people."""
    partial = folder / f".{STATUS}"
    try:
        partial.write_text(json.dumps({"at": time.time(), "error": trouble or None}), encoding="utf-8")
        partial.replace(folder / STATUS)
    except OSError as error:
        logger.warning("the shipper's status cannot be written", extra={"reason": error.strerror})


def _options() -> SpoolOptions:
    """Return what the service that started this process says, or else the environment."""
    if len(sys.argv) > 1:
        order = json.loads(sys.argv[1])
        return SpoolOptions(**{**order, "folder": Path(order["folder"])})
    options = SpoolOptions.from_environment(os.environ, Settings.from_environment().home)
    if options is None:
        raise SettingsError("AFORO_SERVE_LOG is off, so there is nothing to ship", hint="set it to on")
    return options


if __name__ == "__main__":
    try:
        main(_options())
    except AforoError as _error:
        sys.stderr.write(f"aforo: {_error}\n")
        sys.exit(_error.exit_code)
