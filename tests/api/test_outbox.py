"""No answer leaves before it is recorded, and all answers of one turn share a write."""

import asyncio

from prediction_api.outbox import Outbox


class Told:
    """A recorder and answers that tell, in order, what was done to them."""

    def __init__(self):
        self.said = []

    def flush(self):
        self.said.append("recorded")

    def answer(self, name):
        return lambda: self.said.append(f"{name} answered")


def test_the_answers_of_one_turn_are_sent_in_order_after_one_write():
    told = Told()

    async def turn():
        outbox = Outbox(told)
        outbox.send(told.answer("first"))
        outbox.send(told.answer("second"))
        assert told.said == []
        await asyncio.sleep(0)
        outbox.send(told.answer("third"))
        await asyncio.sleep(0)

    asyncio.run(turn())

    assert told.said == ["recorded", "first answered", "second answered", "recorded", "third answered"]


def test_nothing_waits_where_nothing_is_recorded():
    told = Told()
    outbox = Outbox(None)

    async def turn():
        outbox.expect()
        outbox.send(told.answer("first"))
        assert told.said == ["first answered"]
        await asyncio.sleep(0)

    asyncio.run(turn())
    outbox.flush()

    assert told.said == ["first answered"]
