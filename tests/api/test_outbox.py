"""No answer leaves before it is recorded, and all answers of one turn share a write."""

import asyncio

from prediction_api.outbox import Outbox


class Told:
    """A recorder and transports that tell, in order, what was done to them."""

    def __init__(self):
        self.said = []

    def flush(self):
        self.said.append("recorded")

    def transport(self, name, *, is_gone=False):
        return Transport(name, self.said, is_gone)


class Transport:
    def __init__(self, name, said, is_gone):
        self.name, self.said, self.is_gone = name, said, is_gone

    def is_closing(self):
        return self.is_gone

    def write(self, data):
        self.said.append(f"{self.name}: {data.decode()}")

    def close(self):
        self.said.append(f"{self.name} closed")


def test_the_answers_of_one_turn_are_sent_in_order_after_one_write():
    told = Told()

    async def turn():
        outbox = Outbox(told)
        first, second = told.transport("first"), told.transport("second")
        outbox.send(first, b"1", closes=False)
        outbox.send(second, b"2", closes=True)
        assert told.said == []
        await asyncio.sleep(0)
        outbox.send(first, b"3", closes=False)
        await asyncio.sleep(0)

    asyncio.run(turn())

    assert told.said == ["recorded", "first: 1", "second: 2", "second closed", "recorded", "first: 3"]


def test_who_is_gone_is_sent_nothing_and_nothing_waits_where_nothing_is_recorded():
    told = Told()
    outbox = Outbox(None)
    outbox.send(told.transport("here"), b"1", closes=False)
    outbox.send(told.transport("gone", is_gone=True), b"2", closes=True)

    assert told.said == ["here: 1"]
