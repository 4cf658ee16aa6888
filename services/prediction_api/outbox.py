"""Answers on their way out, held back until what they were is in the prediction log.

A write to the log costs more than making a record. All answers of one turn of the event loop share one write, and are
sent right after it: what a caller has been told is recorded, whatever happens to this process next.
"""

from __future__ import annotations

import asyncio

from prediction_api.recording import Recorder


class Outbox:
    """The answers of one worker's fast lane.

    Parameters
    ----------
    recorder
        Where they were recorded; ``None`` where nothing is.
    """

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        self._waiting: list[tuple[asyncio.Transport, bytes, bool]] = []
        self._is_expected = False

    def expect(self) -> None:
        """Flush in this turn of the event loop, after all that is to be called by now: the scoring of what came."""
        if self._recorder is not None and not self._is_expected:
            self._is_expected = True
            asyncio.get_running_loop().call_soon(self.flush)

    def send(self, transport: asyncio.Transport, answer: bytes, *, closes: bool) -> None:
        """Send an answer once it is recorded, in the order of the calls, and close the connection if it ``closes``."""
        if self._recorder is None:
            _send(transport, answer, closes)
            return
        self.expect()
        self._waiting.append((transport, answer, closes))

    def flush(self) -> None:
        """Write the records, and send the answers."""
        self._is_expected = False
        if self._recorder is not None:
            self._recorder.flush()
        waiting, self._waiting = self._waiting, []
        for transport, answer, closes in waiting:
            _send(transport, answer, closes)


def _send(transport: asyncio.Transport, answer: bytes, closes: bool) -> None:
    if transport.is_closing():
        return
    transport.write(answer)
    if closes:
        transport.close()
