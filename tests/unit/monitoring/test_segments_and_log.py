"""From the records of a segment to the tables of the log: exact, once, and without what is to be forgotten."""

from __future__ import annotations

import json
import struct
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aforo.contracts.prediction import PredictionContract, TwoPhase
from aforo.contracts.table import ColumnContract
from aforo.errors import DataError, StoreUnavailable
from aforo.monitoring.prediction_log import PredictionLog
from aforo.monitoring.privacy import hashed, log_key
from aforo.monitoring.records import Record, block
from aforo.monitoring.segments import read_segment, table_schema
from aforo.monitoring.shipping import Shipper

CONTRACT = PredictionContract(
    use_case="flight_delay",
    task="binary",
    target="late",
    classes=("no", "yes"),
    inputs=(
        ColumnContract(name="origin", type="string", role="feature", nullable=True),
        ColumnContract(name="distance", type="number", role="feature"),
        ColumnContract(name="seats", type="integer", role="feature", nullable=True),
        ColumnContract(name="is_holiday", type="boolean", role="feature"),
        ColumnContract(name="passenger", type="integer", role="feature", private=True),
    ),
)
REGRESSION = PredictionContract(
    use_case="minutes",
    task="regression",
    target="delay",
    coverage=0.9,
    inputs=(ColumnContract(name="distance", type="number", role="feature"),),
)
ROW = {"origin": "JFK", "distance": 0.1, "seats": 10, "is_holiday": True, "passenger": "ab" * 16}
MORNING = datetime(2026, 11, 21, 7, 0, 0, 123456, tzinfo=UTC)
NAME = "flight_delay@7@20261121T070000000000-00c0ffee.segment"


def microseconds(moment):
    return int(moment.timestamp()) * 10**6 + moment.microsecond


def prediction(yes=0.25):
    return {
        "probabilities": {"no": 1 - yes, "yes": yes},
        "label": "no",
        "confidence": 1 - yes,
        "abstained": False,
        "abstain_reason": None,
    }


def record(*request_ids, at=MORNING, rows=(ROW,), predictions=None, entities=None, **changes):
    """Return a block of one record for each request."""
    fields = {
        "at": microseconds(at),
        "caller": "web shop",
        "entities": entities,
        "role": "answer",
        "phase": "full",
        "rows": [tuple(row.values()) for row in rows],
        "predictions": predictions or [prediction() for _ in rows],
    }
    return block([Record(request_id=name, **fields | changes) for name in request_ids or ["r-1"]])


def data_of(*blocks, contract=CONTRACT, version="7"):
    header = {"format": 2, "model": contract.use_case, "version": version, "contract": contract.model_dump(mode="json")}
    return json.dumps(header).encode() + b"\n" + b"".join(blocks)


def segment_of(*blocks, name=NAME, **changes):
    return read_segment(Path(name), data_of(*blocks, **changes))


def test_each_predicted_row_becomes_a_row():
    table = segment_of(record("a", rows=[ROW, {**ROW, "origin": "LGA"}]), record("b")).table

    assert table.select("request_id", "row").rows() == [("a", 0), ("a", 1), ("b", 0)]
    assert table["features"].struct.field("origin").to_list() == ["JFK", "LGA", "JFK"]
    assert table["at"].to_list() == [MORNING] * 3
    assert table.select("caller", "model", "version", "role", "phase").row(0) == (
        "web shop",
        "flight_delay",
        "7",
        "answer",
        "full",
    )
    assert table["outputs"][0] == prediction()


def test_two_phases_are_told_row_by_row():
    contract = CONTRACT.model_copy(update={"two_phase": TwoPhase(confidence=0.9)})
    spoke = [{**prediction(), "phase": phase} for phase in ("small", "full", "small")]

    table = segment_of(record(rows=[ROW] * 3, predictions=spoke), contract=contract).table

    assert table["phase"].to_list() == ["small", "full", "small"]
    assert table["outputs"].to_list() == spoke
    assert table.schema == pl.Schema(table_schema(contract))


def test_missing_values_are_null_whichever_way_they_came():
    table = segment_of(record(rows=[{**ROW, "origin": "", "seats": None}, {**ROW, "origin": None}])).table

    assert table["features"].struct.field("origin").null_count() == 2
    assert table["features"].struct.field("seats").to_list() == [None, 10]


def test_whole_numbers_are_the_same_whether_a_protocol_gave_10_or_10_0():
    table = segment_of(record(rows=[{**ROW, "seats": 10}, {**ROW, "seats": 10.0}])).table

    assert table["features"].struct.field("seats").to_list() == [10, 10]
    assert table["features"].struct.field("seats").dtype == pl.Int64


@given(bits=st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=50))
def test_every_number_is_in_the_log_bit_for_bit(bits):
    numbers = [number for (number,) in map(struct.Struct("d").unpack, bits) if abs(number) < float("inf")]
    if not numbers:
        return
    table = segment_of(
        record(rows=[{**ROW, "distance": x} for x in numbers], predictions=[prediction(x) for x in numbers])
    ).table

    features = table["features"].struct.field("distance").to_list()
    outputs = table["outputs"].struct.field("probabilities").struct.field("yes").to_list()
    assert [struct.pack("d", x) for x in features] == [struct.pack("d", x) for x in numbers]
    assert [struct.pack("d", x) for x in outputs] == [struct.pack("d", x) for x in numbers]


def test_a_regression_is_recorded_with_its_interval():
    outputs = {"value": 3.2, "interval": {"lower": 2.9, "upper": 3.5}, "abstained": False, "abstain_reason": None}
    table = segment_of(record(rows=[{"distance": 1.0}], predictions=[outputs]), contract=REGRESSION).table

    assert table["outputs"].to_list() == [outputs]


def test_the_bound_that_an_abstaining_version_repeats_is_its_contracts_and_not_stored_with_each_row():
    repeated = {**prediction(), "abstain_below": 0.8}
    abstains = CONTRACT.model_copy(update={"abstain_below": 0.8})
    segment = segment_of(record(rows=[ROW], predictions=[repeated]), contract=abstains)

    assert segment.table["outputs"].to_list() == [prediction()]
    assert segment.header.contract.abstain_below == 0.8


def test_entities_stand_beside_their_rows_and_are_null_without():
    table = segment_of(record("a", rows=[ROW, ROW], entities=["e1", "e2"]), record("b")).table

    assert table["entity"].to_list() == ["e1", "e2", None]


@pytest.mark.parametrize("kept", [1, 3, 4, 5, 100])
def test_half_a_block_at_the_end_is_left_out(kept):
    table = segment_of(record("a"), record("b")[:kept]).table

    assert table["request_id"].to_list() == ["a"]


def test_records_that_shared_a_write_are_kept_in_order():
    assert segment_of(record("a", "b", "c"), record("d")).table["request_id"].to_list() == ["a", "b", "c", "d"]


# How many elements each of a list's three signs can tell: https://github.com/msgpack/msgpack/blob/master/spec.md.
@pytest.mark.parametrize(
    ("count", "sign"), [(1, b"\x91"), (15, b"\x9f"), (16, b"\xdc\x00\x10"), (2**16, b"\xdd\0\1\0\0")]
)
def test_a_block_begins_with_its_length_and_holds_any_number_of_records(count, sign):
    data = record(*["r"] * count)

    assert data[:4] == (len(data) - 4).to_bytes(4, "little")
    assert data[4:].startswith(sign)
    assert len(segment_of(data).table) == count


def test_a_segment_with_a_header_alone_has_no_rows():
    assert segment_of().table.schema == pl.Schema(table_schema(CONTRACT))
    assert len(segment_of(record()[:-1]).table) == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "header"),
        (b'{"format":1}\n', "header"),
        (data_of().replace(b'"format": 2', b'"format": 1'), "header is not one"),
        (data_of(b"\x09\0\0\0{]"), "block at byte 0 does not hold records: it is no list"),
        (data_of(record(), b"\x09\0\0\0\xdd\0\0\0\x01\xc0\0\0\0"), r"block at byte \d+ does not hold records"),
        (data_of(record(rows=[{**ROW, "distance": "far"}])), "records are not those"),
        (data_of(record(rows=[{**ROW, "more": 1}])), "a row has not 5 values"),
        (data_of(record(rows=[])), "records are not those"),
        (data_of(record(None)), "does not hold records"),
        (data_of(record(rows=[ROW, ROW], predictions=[prediction()])), "has 1 predictions for its rows"),
        (data_of(version="../../etc"), "header is not one"),
    ],
    ids=[
        "empty",
        "no contract",
        "earlier format",
        "no list",
        "no record",
        "wrong type",
        "too many values",
        "no rows",
        "no id",
        "lost prediction",
        "path in version",
    ],
)
def test_what_is_not_a_segment_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        read_segment(Path(NAME), data)


def test_a_private_value_is_hashed_with_the_key_and_its_column():
    key = log_key(b"k" * 32)

    assert hashed(42, "passenger", key) == hashed(42.0, "passenger", key)
    assert len({hashed(42, "passenger", key), hashed(42, "seats", key), hashed(43, "passenger", key)}) == 3
    assert hashed(42, "passenger", key) != hashed(42, "passenger", log_key(b"l" * 32))
    # `b2sum -l 128` has no key; this is `hashlib.blake2b(b"name\\0Ada", key=b"0" * 32, digest_size=16)` of Python 3.11.
    assert hashed("Ada", "name", b"0" * 32) == "a818a7cee047e24b6367265d1a5faa96"


@pytest.fixture
def log(store):
    return PredictionLog(store)


def ids(log, model="flight_delay", **bounds):
    return [request_id for table in log.tables(model, **bounds) for request_id in table["request_id"]]


def test_a_segment_added_twice_is_in_the_log_once(log):
    assert log.add(segment_of(record("a"), record("b"))) == 2
    assert log.add(segment_of(record("a"), record("b"))) == 0

    assert ids(log) == ["a", "b"]


def test_a_segment_over_midnight_is_found_by_both_days(log):
    late, early = datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC), datetime(2026, 11, 21, 0, 0, 1, tzinfo=UTC)
    log.add(segment_of(record("a", at=late), record("b", at=early)))

    assert ids(log, until=date(2026, 11, 20)) == ["a"]
    assert ids(log, since=date(2026, 11, 21)) == ["b"]
    assert log.models() == ["flight_delay"]


def test_what_is_read_is_what_was_recorded(log):
    segment = segment_of(record("a", rows=[ROW, {**ROW, "seats": None}], entities=["e1", "e2"]))
    log.add(segment)
    (table,) = log.tables("flight_delay")

    assert table.equals(segment.table)


def test_forgetting_removes_one_entitys_rows_and_no_others(log):
    log.add(segment_of(record("a", rows=[ROW, ROW], entities=["e1", "e2"]), record("b", entities=["e1"]), record("c")))

    assert log.forget("flight_delay", "e1", now=MORNING) == 2
    assert ids(log) == ["a", "c"]
    assert log.forget("flight_delay", "e1", now=MORNING) == 0


def test_what_is_shipped_after_the_order_to_forget_is_forgotten_too_unless_it_is_younger(log):
    log.forget("flight_delay", "e1", now=MORNING)
    younger = MORNING.replace(microsecond=123457)
    log.add(segment_of(record("a", entities=["e1"]), record("b", entities=["e1"], at=younger)))

    assert ids(log) == ["b"]


def test_shipping_again_does_not_bring_back_what_was_forgotten(log):
    segment = segment_of(record("a", entities=["e1"]), record("b"))
    log.add(segment)
    log.forget("flight_delay", "e1", now=MORNING)
    log.add(segment)

    assert ids(log) == ["b"]


def test_pruning_removes_whole_days_and_orders_that_are_done(log, store):
    old = datetime(2026, 11, 11, 12, tzinfo=UTC)
    log.forget("flight_delay", "e1", now=old)
    log.add(segment_of(record("old", at=old)))
    log.add(segment_of(record("new"), name="flight_delay@7@20261121T080000000000-00c0ffee.segment"))

    assert log.prune(10, now=MORNING) == 0
    assert log.prune(9, now=MORNING) == 2
    assert ids(log) == ["new"]
    assert list(store.list("predictions/forgotten/")) == []


class InterruptedStore:
    """A store whose process is killed right after, or which does not answer at, its n-th write."""

    def __init__(self, store, *, after):
        self._store = store
        self._left = after

    def __getattr__(self, name):
        return getattr(self._store, name)

    def write(self, key, data, *, if_absent=False):
        self._left -= 1
        if self._left < 0:
            raise StoreUnavailable("the store is stopped")
        self._store.write(key, data, if_absent=if_absent)
        if self._left == 0:
            raise KeyboardInterrupt  # stands for kill -9: nothing that follows is done
        return True


@pytest.fixture
def spool(tmp_path):
    folder = tmp_path / "spool"
    folder.mkdir()
    late = datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC)
    for number in range(3):
        blocks = [record(f"{number}-a", at=late), record(f"{number}-b")]
        (folder / f"flight_delay@7@2026112{number}T000000000000-00c0ffee.segment").write_bytes(data_of(*blocks))
    return folder


EVERYTHING = sorted(f"{number}-{letter}" for number in range(3) for letter in "ab")


@pytest.mark.parametrize("writes", [1, 2, 3, 6])
def test_a_shipper_killed_after_any_write_loses_and_doubles_nothing(spool, store, log, writes):
    with pytest.raises(KeyboardInterrupt):
        Shipper(spool, PredictionLog(InterruptedStore(store, after=writes))).ship()
    Shipper(spool, log).ship()

    assert sorted(ids(log)) == EVERYTHING
    assert not list(spool.glob("*.segment"))


def test_with_the_store_stopped_segments_wait(spool, store, log):
    with pytest.raises(StoreUnavailable):
        Shipper(spool, PredictionLog(InterruptedStore(store, after=0))).ship()
    assert len(list(spool.glob("*.segment"))) == 3

    assert Shipper(spool, log).ship() == 3
    assert sorted(ids(log)) == EVERYTHING


def test_a_damaged_segment_is_set_aside_and_the_others_are_shipped(spool, log):
    first = min(spool.iterdir())
    first.write_bytes(data_of(b"\x09\0\0\0{]"))

    assert Shipper(spool, log).ship() == 2
    assert [path.name for path in (spool / "damaged").iterdir()] == [first.name]


def test_the_log_is_the_same_in_an_s3_store(s3_settings):
    from aforo.storage import open_store

    log = PredictionLog(open_store(s3_settings))
    segment = segment_of(record("a", entities=["e1"]), record("b"))
    log.add(segment)
    log.add(segment)
    log.forget("flight_delay", "e1", now=MORNING)
    log.add(segment)

    assert ids(log) == ["b"]
