"""The fast reader and the slow one agree, and numbers keep their bits."""

from __future__ import annotations

import json
import math
import struct
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract, Role
from aforo.export.packing import NUMBERS, Codes, Packing
from prediction_api.decoding import ColumnFiller, RowDecoder
from prediction_api.explaining import explain
from prediction_api.problems import Problem, pointer
from prediction_api.protocols.inference_v2 import InferenceProtocol
from prediction_api.protocols.mlflow_scoring import ScoringProtocol

COLUMNS = (
    ColumnContract(name="class", type="string", role=Role.FEATURE, categories=("a", "b c", "ü")),
    ColumnContract(name="colour", type="string", role=Role.FEATURE, categories=("red",), nullable=True),
    ColumnContract(name="text", type="string", role=Role.FEATURE, nullable=True),
    ColumnContract(name="count", type="integer", role=Role.FEATURE, minimum=-3),
    ColumnContract(name="share", type="number", role=Role.FEATURE, minimum=0, maximum=1, nullable=True),
    ColumnContract(name="any", type="number", role=Role.FEATURE),
    ColumnContract(name="flag", type="boolean", role=Role.FEATURE),
)
CONTRACT = PredictionContract(use_case="toy", task="binary", target="y", inputs=COLUMNS, classes=("no", "yes"))
DECODER = RowDecoder(CONTRACT, max_rows=100)
GOOD = {"class": "a", "colour": None, "text": "x", "count": 5, "share": 0.5, "any": 1.5, "flag": True}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["a", "b c", "red", "", 0, 1, -0.0, 5.0, 1e300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
rows = st.fixed_dictionaries({}, optional={name: st.just(value) | json_values for name, value in GOOD.items()})


def outcome(read, body):
    try:
        rows, method = read(body)
        return [tuple(map(bits, row)) for row in rows], method
    except Problem as problem:
        return (problem.code, problem.faults)


def bits(value):
    """Tell apart what == does not: 0.0 and -0.0."""
    return struct.pack("<d", value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def slowly(body):
    rows, method = explain(body, COLUMNS)
    return DECODER.admit(rows), method


@settings(max_examples=400, deadline=None)
@given(st.lists(rows, min_size=1, max_size=3))
@example([GOOD, {**GOOD, "colour": "", "text": ""}])
def test_the_fast_and_the_slow_reader_agree_on_rows(table):
    body = json.dumps({"rows": table}).encode()

    assert outcome(DECODER.decode, body) == outcome(slowly, body)


@settings(max_examples=200, deadline=None)
@given(st.permutations(list(GOOD)), st.integers(0, 7), st.lists(rows, min_size=1, max_size=3))
@example(list(GOOD), 0, [{**GOOD, "text": ""}])
def test_the_fast_and_the_slow_reader_agree_on_columns(names, left_out, table):
    names = names[left_out:]
    body = json.dumps({"columns": names, "data": [[row.get(name, GOOD[name]) for name in names] for row in table]})

    assert outcome(DECODER.decode, body.encode()) == outcome(slowly, body.encode())


VALUE_BY_VALUE = RowDecoder(CONTRACT, max_rows=100)
VALUE_BY_VALUE.rows_of = lambda *_: None  # what the other protocols then do
SERVED = SimpleNamespace(contract=CONTRACT, decoder=DECODER)
SLOWLY_SERVED = SimpleNamespace(contract=CONTRACT, decoder=VALUE_BY_VALUE)
DATATYPES = {"string": "BYTES", "integer": "INT64", "number": "FP64", "boolean": "BOOL"}
parsed_values = json_values | st.sampled_from([2.0**53, 2**53 - 1, 2**53 + 1, -(2**53), 4.5, math.inf, math.nan, [5]])
sometimes_bad_rows = st.fixed_dictionaries(
    {}, optional={name: st.just(value) | parsed_values for name, value in GOOD.items()}
)


def bodies_of_columns(names, table):
    """Return the same values in each shape of the other protocols, with the protocol that takes it."""
    columns = {name: [row.get(name, GOOD[name]) for row in table] for name in names}
    split = {"columns": names, "data": [[columns[name][i] for name in names] for i in range(len(table))]}
    tensors = [
        {
            "name": column.name,
            "shape": [len(table), 1],
            "datatype": DATATYPES[column.type],
            "data": columns[column.name],
        }
        for column in COLUMNS
        if column.name in columns
    ]
    yield ScoringProtocol(), {"dataframe_split": split}
    yield ScoringProtocol(), {"dataframe_records": table}
    yield ScoringProtocol(), {"inputs": columns}
    yield InferenceProtocol(), {"inputs": tensors}


def rows_read(protocol, served, body):
    return outcome(lambda body: (protocol.read(body, {}, served).rows, None), body)


@settings(max_examples=300, deadline=None)
@given(st.permutations(list(GOOD)), st.integers(0, 3), st.lists(sometimes_bad_rows, min_size=1, max_size=3))
@example(list(GOOD), 0, [GOOD, {**GOOD, "count": 5.0, "text": "", "colour": "", "share": 1, "any": -0.0}])
@example(list(GOOD), 0, [{**GOOD, "count": 2**53 + 1}, {**GOOD, "count": 4.0}])
def test_other_protocols_columns_read_in_one_pass_are_those_read_value_by_value(names, left_out, table):
    for protocol, document in bodies_of_columns(names[left_out:], table):
        body = json.dumps(document).encode()

        assert rows_read(protocol, SERVED, body) == rows_read(protocol, SLOWLY_SERVED, body)


@pytest.mark.parametrize("seats", [5, 5.0, 0, -3])
def test_good_columns_of_other_protocols_are_read_in_one_pass(seats):
    table = [GOOD, {**GOOD, "colour": "", "share": None, "count": seats}]
    columns = {name: [row[name] for row in table] for name in GOOD}

    assert DECODER.rows_of(columns, 2) == [
        ("a", None, "x", 5, 0.5, 1.5, True),
        ("a", None, "x", seats, None, 1.5, True),
    ]
    assert DECODER.rows_of({name: columns[name] for name in GOOD if name != "share"}, 2)[0][4] is None


explanations = st.sampled_from(
    [True, False, {}, {"method": "shapley"}, {"method": "baseline"}, {"method": "lime"}, {"of": "yes"}, None, 1, "true"]
)


@settings(max_examples=200, deadline=None)
@given(explanations, st.sampled_from([{"rows": [GOOD]}, {"columns": list(GOOD), "data": [list(GOOD.values())]}, {}]))
def test_the_fast_and_the_slow_reader_agree_on_explanations(explain, rest):
    body = json.dumps({"explain": explain, **rest}).encode()

    assert outcome(DECODER.decode, body) == outcome(slowly, body)


@pytest.mark.parametrize(
    ("explain", "method"),
    [
        ({}, None),
        ({"explain": False}, None),
        ({"explain": True}, "shapley"),
        ({"explain": {}}, "shapley"),
        ({"explain": {"method": "baseline"}}, "baseline"),
    ],
)
def test_a_request_says_how_it_is_to_be_explained(explain, method):
    assert DECODER.decode(json.dumps({"rows": [GOOD], **explain}).encode())[1] == method


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(body):
    assert outcome(DECODER.decode, body) == outcome(slowly, body)


@settings(max_examples=500, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
@example(0.1)
@example(5e-324)
@example(1.7976931348623157e308)
@example(-0.0)
def test_a_float_arrives_with_the_bits_that_it_had(number):
    (row,), _ = DECODER.decode(json.dumps({"rows": [{**GOOD, "any": number}]}).encode())
    inputs = ColumnFiller(CONTRACT).fill([row])

    assert inputs["any"].tobytes() == struct.pack("<d", number)


@pytest.mark.parametrize(
    "text",
    [
        "9007199254740993",
        "18446744073709551617",
        "123456789012345678901234567890",
        "0.1000000000000000055511151231257827021181583404541015625",
        "2.2250738585072011e-308",
        "1.00000000000000011102230246251565",
        "-0",
        "1E5",
    ],
)
def test_a_number_is_rounded_as_a_table_reader_rounds_it(text):
    (row,), _ = DECODER.decode(json.dumps({"rows": [{**GOOD, "any": "?"}]}).replace('"?"', text).encode())

    assert bits(row[5]) == bits(float(text) if not text.lstrip("-").isdigit() else float(int(text)))


def test_an_integer_is_exact_up_to_two_to_the_53():
    (row,), _ = DECODER.decode(json.dumps({"rows": [{**GOOD, "count": 2**53}]}).encode())
    with pytest.raises(Problem) as refusal:
        DECODER.decode(json.dumps({"rows": [{**GOOD, "count": 2**53 + 1}]}).encode())

    assert row[3] == 2**53
    assert refusal.value.faults[0].code == "out_of_range"


def test_missing_values_become_empty_strings_and_nan():
    row = tuple({**GOOD, "text": None, "share": None}[column.name] for column in COLUMNS)
    inputs = ColumnFiller(CONTRACT).fill([row, tuple(GOOD.values())])

    assert inputs["text"].tolist() == [[""], ["x"]]
    assert inputs["text"].dtype == object
    assert math.isnan(inputs["share"][0, 0])
    assert inputs["flag"].tolist() == [[1.0], [1.0]]
    assert all(array.shape == (2, 1) for array in inputs.values())
    assert {array.dtype for name, array in inputs.items() if name not in ("class", "colour", "text")} == {
        np.dtype(np.float64)
    }


@pytest.mark.parametrize("times", [1, 40])
@pytest.mark.parametrize("kept", [{"text", "share"}, {"text"}, {"share", "count"}])
def test_a_row_alone_gives_the_inputs_that_it_gives_in_a_batch(kept, times):
    columns = tuple(column for column in COLUMNS if column.name in kept)
    filler = ColumnFiller(CONTRACT.model_copy(update={"inputs": columns}))
    good = [GOOD[column.name] for column in columns]
    table = [tuple(good), tuple(None if column.nullable else 7 for column in columns), tuple(good)]

    together = {name: array[: len(table)] for name, array in filler.fill(table * times).items()}
    alone = [{name: array.copy() for name, array in filler.fill([row]).items()} for row in table]

    for name, array in together.items():
        assert [one[name].shape for one in alone] == [(1, 1)] * 3
        assert {one[name].dtype for one in alone} == {array.dtype}
        assert [bits(one[name].tolist()[0][0]) for one in alone] == [bits(value) for value in array[:, 0].tolist()]


def test_numbers_side_by_side_are_those_of_the_columns():
    packing = Packing(("any", "share", "flag", "count"))
    table = [tuple(GOOD.values()), tuple({**GOOD, "share": None, "count": 7}.values())]
    for rows in (table, table[:1], table[1:]):
        columns = ColumnFiller(CONTRACT).fill(rows)
        inputs = ColumnFiller(CONTRACT, packing).fill(rows)
        expected = packing.side_by_side(columns)

        assert set(inputs) == set(expected) == set(columns) - set(packing.columns) | {NUMBERS}
        assert inputs[NUMBERS].flags.c_contiguous
        np.testing.assert_array_equal(inputs[NUMBERS], np.hstack([columns[name] for name in packing.columns]))
        np.testing.assert_array_equal(expected[NUMBERS], inputs[NUMBERS])


def test_texts_side_by_side_with_numbers_are_their_codes():
    packing = Packing(("share", "text", "class"), {"text": Codes({"": 7.0, "a": 8.0}, 9.0), "class": Codes({}, 1.5)})
    given = [("a", 0.5), (None, None), ("anything else", 0.25)]
    table = [tuple({**GOOD, "text": text, "share": share}.values()) for text, share in given]
    filler = ColumnFiller(CONTRACT, packing)

    together = filler.fill(table)[NUMBERS]

    np.testing.assert_array_equal(together, [[0.5, 8, 1.5], [np.nan, 7, 1.5], [0.25, 9, 1.5]])
    for row, expected in zip(table, together, strict=True):
        np.testing.assert_array_equal(filler.fill([row])[NUMBERS], expected[None])
    np.testing.assert_array_equal(packing.side_by_side(ColumnFiller(CONTRACT).fill(table))[NUMBERS], together)


def test_threads_fill_single_rows_into_arrays_of_their_own():
    filler = ColumnFiller(CONTRACT)
    mine = filler.fill([tuple(GOOD.values())])
    others = []
    thread = threading.Thread(target=lambda: others.append(filler.fill([tuple({**GOOD, "count": 6}.values())])))
    thread.start()
    thread.join()

    assert (mine["count"][0, 0], others[0]["count"][0, 0]) == (5.0, 6.0)


def test_pointers_escape_slashes_and_tildes():
    assert pointer("rows", 3, "a/b~c") == "/rows/3/a~1b~0c"
