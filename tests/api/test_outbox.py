"""No answer leaves before it is recorded, and all that wait share a write."""

from prediction_api.outbox import Outbox


class Told:
    """A recorder and answers that tell, in order, what was done to them."""

    def __init__(self):
        self.said = []

    def flush(self):
        self.said.append("recorded")

    def answer(self, name):
        self.said.append(f"{name} answered")


def test_the_answers_that_wait_are_sent_in_order_after_one_write():
    told = Told()
    outbox = Outbox(told)

    outbox.send(told.answer, "first")
    outbox.send(told.answer, "second")
    assert told.said == []
    outbox.flush()
    outbox.send(told.answer, "third")
    outbox.flush()

    assert told.said == ["recorded", "first answered", "second answered", "recorded", "third answered"]


def test_nothing_waits_where_nothing_is_recorded():
    told = Told()
    outbox = Outbox(None)

    outbox.send(told.answer, "first")
    assert told.said == ["first answered"]
    outbox.flush()

    assert told.said == ["first answered"]
