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
        self._is_expected = recorder is None

    def expect(self) -> None:
        """Flush in this turn of the event loop, after all that is to be called by now: the scoring of what came."""
        if not self._is_expected:
            self._is_expected = True
            asyncio.get_running_loop().call_soon(self.flush)

    def send(self, transport: asyncio.Transport, answer: bytes, *, closes: bool) -> None:
        """Send an answer once it is recorded, in the order of the calls, and close the connection if it ``closes``."""
        self._waiting.append((transport, answer, closes))
        if self._recorder is None:
            self._send()
        elif not self._is_expected:
            self.expect()

    def flush(self) -> None:
        """Write the records, and send the answers."""
        if self._recorder is not None:
            self._is_expected = False
            self._recorder.flush()
            self._send()

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport, answer, closes in waiting:
            if not transport.is_closing():
                transport.write(answer)
                if closes:
                    transport.close()
