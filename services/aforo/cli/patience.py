"""A step waits for a store, database or server that does not answer, and tries again: the steps can be repeated.

Airflow's retries are for faults, of which there are few; an outage lasts as long as it lasts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from aforo.errors import StoreUnavailable

logger = logging.getLogger(__name__)
T = TypeVar("T")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0


def patiently(step: Callable[[], T], patience_s: float) -> T:
    """Return what ``step`` returns; while it ends with ``StoreUnavailable``, try again with pauses of 1 to 30 s.

    Parameters
    ----------
    step
        What can be done again from its beginning without harm.
    patience_s
        For how long to try again, in s; 0 tries once.

    Raises
    ------
    StoreUnavailable
        The last one, as soon as the next pause would end beyond ``patience_s``.
    """
    start, pause = time.monotonic(), _FIRST_PAUSE_S
    while True:
        try:
            return step()
        except StoreUnavailable as error:
            waited = time.monotonic() - start
            if waited + pause > patience_s:
                raise
            left = round(patience_s - waited)
            logger.warning("no answer, tries again", extra={"reason": str(error), "in_s": pause, "gives_up_in_s": left})
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)
