"""Golden rows: a few raw rows with their outputs, replayed wherever the model is loaded."""

from __future__ import annotations

import polars as pl

from aforo.contracts.prediction import GoldenRows, Scalar
from aforo.export.inference import GraphPredictor, columns_of

_ROWS = 16
_NEVER_SEEN = "never seen before"

Row = dict[str, Scalar]


def choose_golden_rows(predictor: GraphPredictor, test: pl.DataFrame) -> GoldenRows:
    """Choose rows that would show a difference, and record what the predictor says about them here.

    They are test rows spread evenly over the part, then for each input the first of them with that value missing or
    never seen before, where the contract allows it: what a runtime gets wrong, it gets wrong there.
    """
    contract = predictor.contract
    names = [column.name for column in contract.inputs]
    step = max(1, test.height // _ROWS)
    rows: list[Row] = test.select(names).gather_every(step).head(_ROWS).to_dicts()
    first = rows[0]
    rows += [{**first, column.name: None} for column in contract.inputs if column.nullable]
    rows += [
        {**first, column.name: _NEVER_SEEN}
        for column in contract.inputs
        if column.type == "string" and column.categories is None
    ]
    outputs = predictor.run(columns_of(rows, contract))
    return GoldenRows(
        rows=tuple(rows),
        outputs={name: tuple(tuple(float(v) for v in row) for row in values) for name, values in outputs.items()},
    )
