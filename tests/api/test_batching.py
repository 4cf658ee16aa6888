"""What waits together is scored together; long requests do not block short ones; too much is refused."""

from __future__ import annotations

import asyncio
import time

import pytest

from prediction_api.batching import Batcher, RowBudget
from prediction_api.problems import Problem


class Scorer:
    """Answers each row with itself, and remembers the sizes of the batches."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.sizes: list[int] = []
        self.seconds = seconds

    def __call__(self, rows):
        self.sizes.append(len(rows))
        time.sleep(self.seconds)
        return list(rows)


def batcher_of(scorer, *, max_rows=10_000, slice_rows=100, observe=lambda *_: None, on_told=lambda: None):
    return Batcher(scorer, RowBudget(max_rows), slice_rows=slice_rows, observe=observe, on_told=on_told)


def soon():
    return time.perf_counter() + 10


def test_requests_of_one_turn_are_scored_in_one_call_and_get_their_own_rows():
    async def run():
        scorer = Scorer()
        batcher = batcher_of(scorer)
        answers = await asyncio.gather(*(batcher.submit([(i,), (-i,)], soon()) for i in range(20)))
        return scorer.sizes, answers

    sizes, answers = asyncio.run(run())

    assert sizes == [40]
    assert answers == [[(i,), (-i,)] for i in range(20)]


def test_a_lone_request_waits_for_nobody():
    async def run():
        scorer = Scorer()
        batcher = batcher_of(scorer)
        await batcher.submit([(1,)], soon())
        await batcher.submit([(2,)], soon())
        return scorer.sizes

    assert asyncio.run(run()) == [1, 1]


def test_a_batch_is_no_larger_than_a_slice():
    async def run():
        scorer = Scorer()
        batcher = batcher_of(scorer)  # 100 rows a slice
        await asyncio.gather(*(batcher.submit([(i,)] * 60, soon()) for i in range(5)))
        return scorer.sizes

    assert asyncio.run(run()) == [60] * 5


@pytest.mark.parametrize("fails", [False, True])
def test_those_who_were_scored_together_have_all_been_told_before_others_are(fails):
    said = []

    def score(rows):
        if fails:
            raise ValueError
        return list(rows)

    async def run():
        batcher = batcher_of(score, on_told=lambda: said.append("told"))
        for name, rows in (("long", 250), ("first", 60), ("second", 40), ("third", 1)):
            batcher.enqueue([(0,)] * rows, soon(), lambda *_, name=name: said.append(name), is_gone=lambda: False)
        while batcher._is_scheduled:
            await asyncio.sleep(0)

    asyncio.run(run())

    assert said == ["first", "second", "told", "third", "told", "long", "told"]


def test_rows_that_are_scored_now_wait_for_nobody():
    said = []
    scorer = Scorer()

    async def run():
        batcher = batcher_of(scorer, on_told=lambda: said.append("told"))
        batcher.enqueue([(1,), (2,)], soon(), lambda *_: said.append("waited"), is_gone=lambda: False)
        batcher.score_now([(3,)], lambda predictions, error: said.append((predictions, error)))
        await asyncio.sleep(0)

    asyncio.run(run())

    assert said == [([(3,)], None), "told", "waited", "told"]
    assert scorer.sizes == [1, 2]


def test_rows_that_are_scored_now_and_fail_tell_so_and_leave_the_others_be():
    said = []

    def score(rows):
        if (0,) in rows:
            raise ValueError("a zero")
        return list(rows)

    async def run():
        batcher = batcher_of(score, on_told=lambda: said.append("told"))
        answer = asyncio.ensure_future(batcher.submit([(1,)], soon()))
        await asyncio.sleep(0)
        batcher.score_now([(0,)], lambda predictions, error: said.append((predictions, str(error))))
        return await answer

    assert asyncio.run(run()) == [(1,)]
    assert said == [(None, "a zero"), "told", "told"]


def test_whoever_fails_at_being_told_does_not_hold_up_those_behind():
    async def run():
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        numbers = iter([0, 1])
        batcher = batcher_of(Scorer(), on_told=lambda: 1 / next(numbers))
        batcher.enqueue([(0,)], soon(), lambda *_: None, is_gone=lambda: False)
        await asyncio.sleep(0)
        return await asyncio.wait_for(batcher.submit([(1,)], soon()), timeout=5)

    assert asyncio.run(run()) == [(1,)]


def test_a_short_request_is_answered_before_a_long_one_that_came_first():
    async def run():
        scorer = Scorer(seconds=0.001)
        batcher = batcher_of(scorer)
        finished = []

        async def ask(name, rows):
            answer = await batcher.submit(rows, soon())
            finished.append(name)
            return answer

        long = asyncio.create_task(ask("long", [(i,) for i in range(2_000)]))
        await asyncio.sleep(0.005)
        short = asyncio.create_task(ask("short", [(-1,)]))
        return await long, await short, finished

    long, short, finished = asyncio.run(run())

    assert finished == ["short", "long"]
    assert long == [(i,) for i in range(2_000)]
    assert short == [(-1,)]


def test_two_long_requests_take_turns():
    async def run():
        scorer = Scorer()
        batcher = batcher_of(scorer)
        served = []
        score = scorer.__call__
        batcher._score = lambda rows: served.append(rows[0][0]) or score(rows)
        await asyncio.gather(batcher.submit([("a",)] * 300, soon()), batcher.submit([("b",)] * 300, soon()))
        return served

    assert asyncio.run(run()) == ["a", "b", "a", "b", "a", "b"]


def test_rows_beyond_the_budget_are_refused_with_retry_after():
    async def run():
        batcher = batcher_of(Scorer(), max_rows=100)
        return await asyncio.gather(*(batcher.submit([(i,)] * 60, soon()) for i in range(2)), return_exceptions=True)

    taken, refused = asyncio.run(run())

    assert len(taken) == 60
    assert isinstance(refused, Problem)
    assert (refused.code, refused.headers) == ("overloaded", {"Retry-After": "1"})


def test_the_budget_is_given_back_whatever_happened():
    def fail(rows):
        raise RuntimeError("the graph failed")

    async def run():
        batcher = batcher_of(fail, max_rows=100)
        with pytest.raises(RuntimeError):
            await batcher.submit([(1,)] * 60, soon())
        gone = asyncio.create_task(batcher.submit([(1,)] * 60, soon()))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        await asyncio.sleep(0)
        return batcher._budget.waiting

    assert asyncio.run(run()) == 0


def test_a_failure_reaches_every_request_of_the_batch_and_the_next_batch_is_served():
    calls = []

    def fail_once(rows):
        calls.append(len(rows))
        if len(calls) == 1:
            raise RuntimeError("the graph failed")
        return list(rows)

    async def run():
        batcher = batcher_of(fail_once)
        failed = await asyncio.gather(*(batcher.submit([(i,)], soon()) for i in range(3)), return_exceptions=True)
        return failed, await batcher.submit([(9,)], soon())

    failed, after = asyncio.run(run())

    assert [type(error) for error in failed] == [RuntimeError] * 3
    assert after == [(9,)]


@pytest.mark.parametrize("count", [1, 1_000])
def test_a_request_past_its_deadline_is_refused_instead_of_scored(count):
    async def run():
        scorer = Scorer()
        batcher = batcher_of(scorer)
        with pytest.raises(Problem) as refusal:
            await batcher.submit([(1,)] * count, time.perf_counter() - 1)
        return scorer.sizes, refusal.value.code

    assert asyncio.run(run()) == ([], "deadline_exceeded")


def test_a_request_whose_client_has_gone_is_not_scored():
    async def run():
        scorer = Scorer()
        batcher = batcher_of(scorer)
        gone = asyncio.create_task(batcher.submit([(1,)], soon()))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        kept = await batcher.submit([(2,)], soon())
        return scorer.sizes, kept

    assert asyncio.run(run()) == ([1], [(2,)])
