import pytest

from aforo.cli import patience
from aforo.cli.patience import patiently
from aforo.errors import DataError, StoreUnavailable


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now = 0.0
        self.pauses = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    return clock


def test_a_step_waits_out_an_outage_with_pauses_that_double_up_to_30_s(clock, caplog):
    attempts = iter([StoreUnavailable("the store is away")] * 7)

    def step():
        for fault in attempts:
            raise fault
        return "done"

    assert patiently(step, patience_s=600) == "done"
    assert clock.pauses == [1, 2, 4, 8, 16, 30, 30]
    assert caplog.records[0].reason == "the store is away"
    assert [record.gives_up_in_s for record in caplog.records[:3]] == [600, 599, 597]


@pytest.mark.parametrize(("patience_s", "pauses"), [(0, []), (0.5, []), (6, [1, 2]), (7, [1, 2, 4])])
def test_it_gives_up_with_the_last_reason_before_it_waits_beyond_its_patience(clock, patience_s, pauses):
    def step():
        raise StoreUnavailable(f"away at {clock.now:.0f} s")

    with pytest.raises(StoreUnavailable, match=f"away at {sum(pauses)} s"):
        patiently(step, patience_s)
    assert clock.pauses == pauses


def test_any_other_fault_ends_it_at_once(clock):
    def step():
        raise DataError("no rows")

    with pytest.raises(DataError, match="no rows"):
        patiently(step, patience_s=600)
    assert clock.pauses == []
