"""When a worker looks for the next request without sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from prediction_api.busy_polling import BusyPolling

US = 1e-6
Looks = Callable[..., list[int]]


class Clock:
    """Each look at it takes ten microseconds."""

    def __init__(self) -> None:
        self.s = 1.0
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        self.s += 10 * US
        return self.s


@pytest.fixture
def looks() -> Looks:
    """Takes pairs: how long after an answer the next request comes, and how long it takes to be answered.

    Returns in how many turns of the event loop was looked after each, until it would have slept.
    """

    async def run(longest_s: float, exchanges: tuple[tuple[float, float], ...]) -> list[int]:
        clock = Clock()
        polling = BusyPolling(longest_s, now=clock)
        counts = []
        for after_s, takes_s in exchanges:
            clock.s += after_s
            polling.asked(clock())
            clock.s += takes_s
            polling.answered()
            before = clock.looks
            for _ in range(100):
                await asyncio.sleep(0)
            counts.append(clock.looks - before)
        return counts

    return lambda *exchanges, longest_s=200 * US: asyncio.run(run(longest_s, exchanges))


def test_nobody_is_looked_for_where_requests_are_far_apart(looks: Looks) -> None:
    assert looks((1, 50 * US), (0.002, 50 * US), (0.002, 50 * US)) == [0, 0, 0]


def test_the_next_one_is_looked_for_after_two_in_a_row_and_not_for_ever(looks: Looks) -> None:
    """200 us in steps of ten; at the last of them it sleeps."""
    first, second, third = looks((1, 50 * US), (100 * US, 50 * US), (1, 50 * US))
    assert (first, third) == (0, 0)
    assert second == 19


def test_an_answer_that_takes_long_to_make_is_no_pause(looks: Looks) -> None:
    assert looks((1, 0.001), (50 * US, 0.001))[1] > 0


def test_it_can_be_turned_off(looks: Looks) -> None:
    assert looks((0.0, 0.0), (0.0, 0.0), longest_s=0.0) == [0, 0]
