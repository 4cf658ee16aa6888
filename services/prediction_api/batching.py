"""Scores together what waits together.

All requests that reach a version in one turn of the event loop are scored in one call of the graph. Nothing waits
for company: a lone request is scored in the turn in which it came, or at once. Long requests are scored in slices, and
between two slices whatever else has come is served, so they cannot block short ones.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from prediction_api.answers import Prediction
from prediction_api.explaining import Row
from prediction_api.problems import Problem

Done = Callable[[list[Prediction] | None, Exception | None], None]
"""Told the predictions, or what went wrong."""


@dataclass(slots=True)
class _Waiting:
    rows: Sequence[Row]
    deadline: float
    done: Done
    is_gone: Callable[[], bool]
    so_far: list[Prediction] = field(default_factory=list)


class RowBudget:
    """How many rows may wait in one worker, over all its versions.

    Parameters
    ----------
    max_rows
        Rows beyond this are refused, so that a worker that cannot keep up says so at once.
    """

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.waiting = 0

    def take(self, rows: int) -> None:
        """Count ``rows`` in.

        Raises
        ------
        Problem
            ``overloaded``: too many wait already. A request that finds nobody waiting is always taken.
        """
        if self.waiting and self.waiting + rows > self.max_rows:
            raise Problem(
                "overloaded",
                f"{self.waiting:,} rows wait already; expected {self.max_rows:,} at most",
                headers={"Retry-After": "1"},
            )
        self.waiting += rows

    def give_back(self, rows: int) -> None:
        self.waiting -= rows


class Batcher:
    """The queue of one version within one worker.

    Parameters
    ----------
    score
        From rows to predictions; called in the event loop's own thread.
    budget
        Shared by the versions of this worker.
    slice_rows
        Largest number of rows scored in one call, but for a single short request.
    observe
        Told the size of each batch.
    on_told
        Called when all whose rows were scored together have been told, and before any others are.
    """

    def __init__(
        self,
        score: Callable[[Sequence[Row]], list[Prediction]],
        budget: RowBudget,
        *,
        slice_rows: int,
        observe: Callable[[int], None],
        on_told: Callable[[], None] = lambda: None,
    ) -> None:
        self._score = score
        self._budget = budget
        self._observe = observe
        self._on_told = on_told
        self.slice_rows = slice_rows
        self._short: list[_Waiting] = []
        self._long: deque[_Waiting] = deque()
        self._is_scheduled = False

    async def submit(self, rows: Sequence[Row], deadline: float) -> list[Prediction]:
        """Return the predictions of ``rows``.

        Parameters
        ----------
        deadline
            In seconds of ``time.perf_counter``.

        Raises
        ------
        Problem
            ``overloaded``, or ``deadline_exceeded``.
        """
        answer: asyncio.Future[list[Prediction]] = asyncio.get_running_loop().create_future()

        def done(predictions: list[Prediction] | None, error: Exception | None) -> None:
            if answer.cancelled():
                return
            if predictions is None:
                answer.set_exception(error or AssertionError("neither predictions nor an error"))
            else:
                answer.set_result(predictions)

        self.enqueue(rows, deadline, done, is_gone=answer.cancelled)
        return await answer

    def enqueue(self, rows: Sequence[Row], deadline: float, done: Done, *, is_gone: Callable[[], bool]) -> None:
        """Let ``rows`` be scored with whatever else waits, and ``done`` be told.

        Parameters
        ----------
        is_gone
            Whether nobody waits for the answer any more; the rows are then not scored.

        Raises
        ------
        Problem
            ``overloaded``.
        """
        self._budget.take(len(rows))
        waiting = _Waiting(rows, deadline, done, is_gone)
        if len(rows) <= self.slice_rows:
            self._short.append(waiting)
        else:
            self._long.append(waiting)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def flush(self) -> None:
        """Score the short requests that wait now, rather than at the end of this turn."""
        short, self._short = self._short, []
        now = time.perf_counter()
        batch: list[_Waiting] = []
        rows = 0
        for waiting in short:
            if waiting.is_gone():
                self._budget.give_back(len(waiting.rows))
            elif waiting.deadline < now:
                self._finish(waiting, None, _late())
            else:
                if rows and rows + len(waiting.rows) > self.slice_rows:
                    self._score_batch(batch)
                    batch, rows = [], 0
                batch.append(waiting)
                rows += len(waiting.rows)
        if batch:
            self._score_batch(batch)

    def _turn(self) -> None:
        """Score all short requests that wait, then one slice of the first long one."""
        try:
            self.flush()
            if self._long:
                self._score_slice()
        finally:  # whatever became of these, those behind them are scored
            if self._short or self._long:
                asyncio.get_running_loop().call_soon(self._turn)
            else:
                self._is_scheduled = False

    def score_now(self, rows: Sequence[Row], done: Done) -> None:
        """Score ``rows``, no more than a slice, ahead of whatever waits, and tell ``done``."""
        try:
            predictions = self._score(rows)
        except Exception as error:
            done(None, error)
        else:
            self._observe(len(rows))
            done(predictions, None)
        self._on_told()

    def _score_batch(self, batch: list[_Waiting]) -> None:
        def share(predictions: list[Prediction] | None, error: Exception | None) -> None:
            start = 0
            for waiting in batch:  # each learns of an error, and logs it with its own id
                end = start + len(waiting.rows)
                self._finish(waiting, None if predictions is None else predictions[start:end], error)
                start = end

        self.score_now(batch[0].rows if len(batch) == 1 else list(chain.from_iterable([w.rows for w in batch])), share)

    def _score_slice(self) -> None:
        waiting = self._long.popleft()
        if waiting.is_gone():
            self._budget.give_back(len(waiting.rows))
            return
        if waiting.deadline < time.perf_counter():
            self._finish(waiting, None, _late())
            return
        start = len(waiting.so_far)
        rows = waiting.rows[start : start + self.slice_rows]
        try:
            waiting.so_far.extend(self._score(rows))
        except Exception as error:
            self._finish(waiting, None, error)
            self._on_told()
            return
        self._observe(len(rows))
        if len(waiting.so_far) < len(waiting.rows):
            self._long.append(waiting)  # long requests take turns among themselves
        else:
            self._finish(waiting, waiting.so_far, None)
            self._on_told()

    def _finish(self, waiting: _Waiting, predictions: list[Prediction] | None, error: Exception | None) -> None:
        self._budget.give_back(len(waiting.rows))
        waiting.done(predictions, error)


def _late() -> Problem:
    return Problem("deadline_exceeded", "the rows waited longer than the deadline", headers={"Retry-After": "1"})
