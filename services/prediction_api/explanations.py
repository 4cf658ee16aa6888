"""Explanations on request, beside the event loop: one thread of lower priority, one row at a time.

Rows of several requests take turns, and requests that want no explanation go first. How many permutations a row gets
depends on the time there is; the answer says how many they were.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from aforo.contracts.explanation import Explanation, ExplanationMethod
from aforo.errors import ExplanationTooSlow
from prediction_api.explaining import Row
from prediction_api.metrics import Metrics
from prediction_api.options import Limits
from prediction_api.problems import Problem
from prediction_api.served_models import yield_to_requests
from prediction_api.served_version import ServedVersion


class Explanations:
    """Makes the explanations of one worker."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._thread: ThreadPoolExecutor | None = None  # threads do not survive the fork
        self._waiting_rows = 0

    def admit(self, served: ServedVersion, rows: int) -> None:
        """Refuse what will not be explained, before it is predicted.

        Raises
        ------
        Problem
            ``not_explainable``, ``too_many_rows`` or ``overloaded``.
        """
        limits = self._limits
        if served.explainer is None:
            raise Problem(
                "not_explainable",
                f"version {served.version} of {served.model} has no background to compare a row with: it was made "
                "before there were explanations; evaluate and promote a new one",
            )
        if rows > limits.max_explained_rows:
            raise Problem(
                "too_many_rows",
                f"{rows:,} rows to explain in one request; expected {limits.max_explained_rows:,} or fewer. "
                "`aforo predict --explain` takes any number",
            )
        if self._waiting_rows + rows > limits.max_waiting_explanations:
            raise Problem(
                "overloaded",
                f"{self._waiting_rows:,} rows wait to be explained; expected {limits.max_waiting_explanations:,} at "
                "most",
                headers={"Retry-After": "1"},
            )

    async def explain(
        self, served: ServedVersion, rows: Sequence[Row], method: ExplanationMethod, started: float
    ) -> list[Explanation | None]:
        """Return an explanation a row; ``None`` for a row whose answer is not finite.

        Parameters
        ----------
        started
            When the request came, in seconds of ``time.perf_counter``.

        Raises
        ------
        Problem
            ``deadline_exceeded``.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="explainer", initializer=yield_to_requests)
        loop = asyncio.get_running_loop()
        seconds = self._metrics.histogram("aforo_explanation_seconds", served.model, method)
        found: list[Explanation | None] = []
        self._waiting_rows += len(rows)
        try:
            for number, row in enumerate(rows, 1):
                # A row that takes less than its share leaves the rest to those after it.
                soft_deadline = started + self._limits.explanation_s * number / len(rows)
                began = time.perf_counter()
                found.append(
                    await loop.run_in_executor(
                        self._thread, served.explain, row, method, soft_deadline, started + self._limits.deadline_s
                    )
                )
                seconds.observe(time.perf_counter() - began)
        except ExplanationTooSlow as error:
            raise Problem(
                "deadline_exceeded", f"{error.message}; {error.hint}", headers={"Retry-After": "1"}
            ) from error
        finally:
            self._waiting_rows -= len(rows)
        self._metrics.count("aforo_explained_rows_total", served.model, served.version, method, by=len(rows))
        return found
