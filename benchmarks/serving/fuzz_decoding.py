"""Coverage-guided fuzzing of what reads requests, in the three protocols: rows or a 4xx problem, and nothing else.

::

    uv venv /tmp/fuzz && uv pip install --python /tmp/fuzz atheris==3.0.0 msgspec orjson numpy pydantic onnxruntime
    PYTHONPATH=services /tmp/fuzz/bin/python benchmarks/serving/fuzz_decoding.py -max_total_time=600 -rss_limit_mb=512

The options are libFuzzer's. An input that raises anything but a problem, that takes more than five seconds, on which
fast and slow readers disagree, or whose rows are other numbers side by side than column by column, ends it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import atheris

with atheris.instrument_imports(include=["prediction_api"]):
    from prediction_api.decoding import ColumnFiller, RowDecoder
    from prediction_api.explaining import explain
    from prediction_api.problems import Problem
    from prediction_api.protocols.inference_v2 import InferenceProtocol
    from prediction_api.protocols.mlflow_scoring import ScoringProtocol

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract, Role
from aforo.export.packing import NUMBERS, Codes, Packing

COLUMNS = (
    ColumnContract(name="class", type="string", role=Role.FEATURE, categories=("a", "b c", "ü")),
    ColumnContract(name="text", type="string", role=Role.FEATURE, nullable=True),
    ColumnContract(name="count", type="integer", role=Role.FEATURE, minimum=-3),
    ColumnContract(name="share", type="number", role=Role.FEATURE, minimum=0, maximum=1, nullable=True),
    ColumnContract(name="flag", type="boolean", role=Role.FEATURE),
)
CONTRACT = PredictionContract(use_case="toy", task="binary", target="y", inputs=COLUMNS, classes=("no", "yes"))
DECODER = RowDecoder(CONTRACT, max_rows=100)
SERVED = SimpleNamespace(contract=CONTRACT, decoder=DECODER)
VALUE_BY_VALUE = RowDecoder(CONTRACT, max_rows=100)
VALUE_BY_VALUE.rows_of = lambda *_: None  # what the other protocols then do
SLOWLY_SERVED = SimpleNamespace(contract=CONTRACT, decoder=VALUE_BY_VALUE)
PACKING = Packing(
    ("share", "class", "count", "flag", "text"),
    {"class": Codes({"a": 1.0, "ü": 2.0}, -1.0), "text": Codes({"": 1.0, "x": 2.0}, -1.0)},
)
FILL, FILL_BY_NAME = ColumnFiller(CONTRACT, PACKING).fill, ColumnFiller(CONTRACT).fill
PROTOCOLS = (ScoringProtocol(), InferenceProtocol())

ROW = {"class": "a", "text": "x", "count": 5, "share": 0.5, "flag": True}
TENSORS = [
    {"name": "class", "shape": [1], "datatype": "BYTES", "data": ["a"]},
    {"name": "count", "shape": [1, 1], "datatype": "INT64", "data": [5]},
    {"name": "flag", "shape": [1], "datatype": "BOOL", "parameters": {"binary_data_size": 1}},
]
SEEDS = [
    {"rows": [ROW, {**ROW, "text": None, "share": None}]},
    {"columns": list(ROW), "data": [list(ROW.values())]},
    {"dataframe_split": {"columns": list(ROW), "index": [0], "data": [list(ROW.values())]}},
    {"dataframe_records": [ROW]},
    {"instances": [ROW]},
    {"inputs": {name: [value] for name, value in ROW.items()}},
    {"id": "1", "inputs": TENSORS, "outputs": [{"name": "label"}]},
]


def one_input(data: bytes) -> None:
    """Read ``data`` as a body of each protocol."""
    _agree(lambda: DECODER.decode(data)[0], lambda: _slowly(data))
    head, _, _ = data.partition(b"\n")
    with_length = {b"inference-header-content-length": b"%d" % len(head)}
    for protocol, headers in (*((protocol, {}) for protocol in PROTOCOLS), (PROTOCOLS[1], with_length)):
        read = protocol.read
        _agree(
            lambda read=read, headers=headers: read(data, headers, SERVED).rows,
            lambda read=read, headers=headers: read(data, headers, SLOWLY_SERVED).rows,
        )


def _agree(read, read_slowly) -> None:
    fast, slow = _outcome(read), _outcome(read_slowly)
    if fast != slow:
        raise AssertionError(f"the fast reader says {fast}, the slow one {slow}")


def _slowly(data: bytes):
    rows, _ = explain(data, COLUMNS)
    return DECODER.admit(rows)


def _outcome(read) -> str:
    try:
        rows = read()
    except Problem as problem:
        if not 400 <= problem.status < 500:
            raise
        problem.body("fuzzed")
        return f"{problem.code} {problem.faults!r}"
    if FILL(rows)[NUMBERS].tobytes() != PACKING.side_by_side(FILL_BY_NAME(rows))[NUMBERS].tobytes():
        raise AssertionError(f"{rows} are other numbers side by side than column by column")
    return repr([tuple(_bits(value) for value in row) for row in rows])


def _bits(value: object) -> object:
    """Tell apart what == does not, 0.0 and -0.0, but not 5 and 5.0."""
    return float(value).hex() if isinstance(value, int | float) and not isinstance(value, bool) else value


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS):
            (Path(corpus) / str(number)).write_text(json.dumps(seed))
        atheris.Setup([*sys.argv, "-timeout=5", corpus], one_input)
        atheris.Fuzz()
