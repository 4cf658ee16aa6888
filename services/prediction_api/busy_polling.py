"""Staying awake for the next request, where the one before it came at once.

To put a process to sleep and to wake it takes tens of microseconds, more on a virtual machine: a caller who asks again
as soon as it has its answer would wait for that as long as for the prediction. So a worker looks for the next request
without sleeping, for a moment, and only after a request that came within such a moment. That is how Linux polls before
it halts a virtual processor (https://docs.kernel.org/virt/kvm/halt-polling.html).

Between two looks the core is not offered to others: a task of low priority, such as the prediction log's shipper, would
have it for milliseconds. A caller on the same core waits for the end of a moment once, and then none follows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class BusyPolling:
    """One worker's decision.

    Parameters
    ----------
    longest_s
        How long it looks after an answer; 0 for not at all.
    now
        The clock, in seconds, by which :meth:`asked` is told the time.
    """

    def __init__(self, longest_s: float, *, now: Callable[[], float] = time.perf_counter) -> None:
        self._longest_s = longest_s
        self._now = now
        self._answered_at = float("-inf")
        self._pays = False
        self._is_polling = False

    def asked(self, at: float) -> None:
        """Take note of a request that came ``at`` this time."""
        self._pays = at - self._answered_at < self._longest_s

    def answered(self) -> None:
        """Take note that an answer was sent, and look for the next request if that pays."""
        self._answered_at = self._now()
        if self._pays and not self._is_polling:
            self._is_polling = True
            self._look()

    def _look(self) -> None:
        if self._now() - self._answered_at < self._longest_s:
            # With something to call, the event loop asks the kernel what has come, and does not wait for it.
            asyncio.get_running_loop().call_soon(self._look)
        else:
            self._is_polling = False
