"""Tables as the arrays that a graph takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract
from aforo.features.columns import numbers, texts


def columns_from(
    table: pl.DataFrame, contract: PredictionContract | Sequence[ColumnContract]
) -> dict[str, npt.NDArray[np.object_] | npt.NDArray[np.float64]]:
    """Return one array of shape (N, 1) per input column, as :meth:`GraphPredictor.run` takes them.

    Raises
    ------
    DataError
        A column is absent, or holds texts where the contract says numbers.
    """
    inputs = contract.inputs if isinstance(contract, PredictionContract) else contract
    return {column.name: _column(table, column) for column in inputs}


def _column(table: pl.DataFrame, column: ColumnContract) -> npt.NDArray[np.object_] | npt.NDArray[np.float64]:
    if column.type == "string":
        return texts(table, column.name).to_numpy().astype(object).reshape(-1, 1)
    return numbers(table, column.name).reshape(-1, 1)
