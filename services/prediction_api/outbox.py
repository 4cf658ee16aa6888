"""Answers on their way out, held back until what they say is in the prediction log.

A write to the log costs more than making a record, so all answers of one call of a graph share one write: what a
caller has been told is recorded, whatever happens to this process next. An answer is encoded after that write and
sent at once, so that clients read the first ones while the last ones are made: those that wait for an answer before
they ask again are back sooner.
"""

from __future__ import annotations

from collections.abc import Callable

from prediction_api.recording import Recorder


class Outbox:
    """The answers of one worker's fast lane.

    Parameters
    ----------
    recorder
        Where they are recorded; ``None`` where nothing is.
    """

    def __init__(self, recorder: Recorder | None) -> None:
        self.recorder = recorder
        self._waiting: list[tuple[Callable[..., None], tuple[object, ...]]] = []

    def send(self, answer: Callable[..., None], *arguments: object) -> None:
        """Call ``answer``, which encodes and sends, once its record is written: by the next :meth:`flush`, in order."""
        if self.recorder is None:
            answer(*arguments)
        else:
            self._waiting.append((answer, arguments))

    def flush(self) -> None:
        """Write the records, and send the answers."""
        if self.recorder is None:
            return
        self.recorder.flush()
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for answer, arguments in waiting:
                answer(*arguments)
