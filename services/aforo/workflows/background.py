"""The background: the rows that explanations compare with."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aforo.contracts.explanation import Background
from aforo.contracts.prediction import PredictionContract, Scalar
from aforo.contracts.table import ColumnContract
from aforo.export.inference import GraphPredictor
from aforo.workflows.fitting import run_in_pieces

_ROWS = 32
# Enough to know how the answers spread; to answer a large part in full would take seconds.
_DRAWN = 10_000


def choose_background(predictor: GraphPredictor, train: pl.DataFrame, seed: int) -> Background:
    """Choose rows of the training part whose answers are spread as those of the whole part are.

    Rows are put in the order of their answers, and one is taken from the middle of each of 32 stretches of equal
    length. So few rows drawn at random would have another mean answer, and every explanation would start from there.
    """
    contract = predictor.contract
    names = [column.name for column in contract.inputs]
    order = np.random.default_rng(seed).permutation(train.height)[:_DRAWN]
    drawn = train.select(names)[np.sort(order)]
    by_answer = drawn[_order(run_in_pieces(predictor, drawn), contract)]
    count = min(_ROWS, drawn.height)
    middles = ((np.arange(count) + 0.5) * drawn.height / count).astype(np.int64)
    return Background(
        rows=tuple(by_answer[middles].to_dicts()),
        typical={column.name: _typical(train.get_column(column.name), column) for column in contract.inputs},
    )


def _order(outputs: dict[str, NDArray[np.float64]], contract: PredictionContract) -> NDArray[np.intp]:
    if contract.task == "regression":
        return np.argsort(outputs["value"][:, 0], kind="stable")
    probabilities = outputs["probabilities"]
    if contract.task == "binary":
        return np.argsort(probabilities[:, 1], kind="stable")
    return np.lexsort([probabilities.max(axis=1), probabilities.argmax(axis=1)])


def _typical(values: pl.Series, column: ColumnContract) -> Scalar:
    """Return the median, a value that there is; or the most frequent value, of several the first in order."""
    if values.null_count() * 2 > len(values):
        return None
    known = values.drop_nulls()
    if column.type in ("integer", "number"):
        return known.quantile(0.5, interpolation="lower")
    common: Scalar = known.mode().sort()[0]
    return common
