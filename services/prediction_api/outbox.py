"""Answers on their way out, held back until what they say is in the prediction log.

A write to the log costs more than making a record, so all answers of one turn of the event loop share one write: what
a caller has been told is recorded, whatever happens to this process next. An answer is encoded after that write and
sent at once, so that clients read the first ones while the last ones are made: those that wait for an answer before
they ask again are back sooner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from prediction_api.recording import Recorder


class Outbox:
    """The answers of one worker's fast lane.

    Parameters
    ----------
    recorder
        Where they are recorded; ``None`` where nothing is.
    """

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        self._waiting: list[Callable[[], None]] = []
        self._is_expected = False

    def expect(self) -> None:
        """Flush in this turn of the event loop, after all that is to be called by now: the scoring of what came."""
        if self._recorder is not None and not self._is_expected:
            self._is_expected = True
            asyncio.get_running_loop().call_soon(self.flush)

    def send(self, answer: Callable[..., None], *arguments: object) -> None:
        """Call ``answer``, which encodes and sends, once its record is written: in the order of the calls."""
        if self._recorder is None:
            answer(*arguments)
        else:
            self._waiting.append(partial(answer, *arguments))
            self.expect()

    def flush(self) -> None:
        """Write the records, and send the answers."""
        if self._recorder is None:
            return
        self._is_expected = False
        self._recorder.flush()
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            answer()
