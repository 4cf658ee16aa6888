"""What ``mlflow.pyfunc.load_model("models:/<use case>@champion")`` gives: the predictor, taking and giving data frames.

Named as ``loader_module`` in each registered model. No Python object is deserialised: the bundle is a graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import LARGEST_EXACT_INTEGER, ColumnContract
from aforo.errors import DataError
from aforo.export.answering import answer_columns
from aforo.registry.bundle import Bundle, read_bundle
from aforo.registry.signing import signing_key
from aforo.settings import Settings

_SHOWN = 5


class PyfuncPredictor:
    """A bundle behind MLflow's interface of models."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def predict(
        self,
        data: pd.DataFrame | Mapping[str, Any] | Sequence[Mapping[str, Any]],
        params: Mapping[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return one row of answers a row.

        Parameters
        ----------
        data
            A data frame, or what makes one: a list of rows or a mapping of columns. Missing values may be ``None``,
            NaN or ``pd.NA``; a column that may be missing need not be there. The index is kept.
        params
            None are known; MLflow passes it by this name.

        Returns
        -------
        pandas.DataFrame
            Classes: ``probability_<class>`` for each, and ``label``, which is missing where the model abstains;
            ``phase`` where a small model answers some of the rows.
            Regression: ``value``, ``lower``, ``upper``. Both, where the use case asks for abstention:
            ``abstain_reason``, missing with an answer.

        Raises
        ------
        DataError
            A column is missing or unknown, or has values that its contract does not allow; all that is wrong is listed.
        """
        if params:
            raise DataError(f"this model takes no parameters; got {', '.join(map(str, params))}")
        frame = data if isinstance(data, pd.DataFrame) else pd.DataFrame(data)
        contract = self.bundle.contract
        outputs = self.bundle.predictor.run(columns_of_frame(frame, contract))
        answers = answer_columns(outputs, contract)
        if not contract.may_abstain:
            answers.pop("abstain_reason")
        return pd.DataFrame(answers, index=frame.index)


def columns_of_frame(frame: pd.DataFrame, contract: PredictionContract) -> dict[str, NDArray[Any]]:
    """Return the graph's inputs from a data frame: one array of shape (N, 1) a column.

    Raises
    ------
    DataError
        As :meth:`PyfuncPredictor.predict` says.
    """
    inputs = {column.name: column for column in contract.inputs}
    mistakes = []
    if unknown := [str(name) for name in frame.columns if name not in inputs]:
        mistakes.append(f"unknown columns: {', '.join(unknown)}; the model takes: {', '.join(inputs)}")
    if repeated := sorted({str(name) for name in frame.columns[frame.columns.duplicated()]}):
        raise DataError(f"columns given twice: {', '.join(repeated)}")
    if missing := [name for name, column in inputs.items() if name not in frame and not column.nullable]:
        mistakes.append(f"missing columns: {', '.join(missing)}")
    arrays: dict[str, NDArray[Any]] = {}
    for name, column in inputs.items():
        if name in frame:
            arrays[name], wrong = _column(frame[name], column)
            mistakes += wrong
        else:
            arrays[name] = _absent(column, len(frame))
    if mistakes:
        raise DataError(f"{contract.use_case} cannot predict this table:\n  " + "\n  ".join(mistakes))
    return arrays


def _column(series: pd.Series[Any], column: ColumnContract) -> tuple[NDArray[Any], list[str]]:
    """Return the column as an array, and what is wrong with it."""
    values = series.to_numpy(dtype=object)
    missing = np.array(pd.isna(series), dtype=bool)
    array = _absent(column, len(series))
    if column.type == "string":
        is_text = np.array([isinstance(value, str) for value in values], dtype=bool)
        array[is_text, 0] = values[is_text]
        fits, missing = is_text | missing, missing | (array[:, 0] == "") & is_text
        allowed = ~is_text | missing | np.isin(array[:, 0], column.categories or array[:, 0])
    else:
        is_number = np.array([isinstance(v, int | float | np.number | np.bool_) for v in values], dtype=bool) & ~missing
        array[is_number, 0] = values[is_number].astype(np.float64)
        fits = is_number | missing
        allowed = _allowed(array[:, 0], column) | ~is_number
    mistakes = []
    if missing.any() and not column.nullable:
        mistakes.append(_complaint(column, "is missing", missing, values))
    if not fits.all():
        mistakes.append(_complaint(column, f"is no {column.type}", ~fits, values))
    if not allowed.all():
        mistakes.append(_complaint(column, f"is not {_rule(column)}", ~allowed, values))
    return array, mistakes


def _allowed(numbers: NDArray[np.float64], column: ColumnContract) -> NDArray[np.bool_]:
    allowed = np.isfinite(numbers)
    if column.type == "integer":
        allowed &= (numbers == np.floor(numbers)) & (np.abs(numbers) <= LARGEST_EXACT_INTEGER)
    if column.type == "boolean":
        allowed &= (numbers == 0) | (numbers == 1)
    if column.minimum is not None:
        allowed &= numbers >= column.minimum
    if column.maximum is not None:
        allowed &= numbers <= column.maximum
    return np.asarray(allowed)


def _rule(column: ColumnContract) -> str:
    if column.categories is not None:
        return f"one of {', '.join(column.categories)}"
    bounds = [
        f"{sign} {bound:g}" for sign, bound in ((">=", column.minimum), ("<=", column.maximum)) if bound is not None
    ]
    return ", ".join([f"a finite {column.type}", *bounds])


def _complaint(column: ColumnContract, what: str, where: NDArray[np.bool_], values: NDArray[Any]) -> str:
    rows = np.flatnonzero(where)
    shown = ", ".join(f"row {row}: {values[row]!r}" for row in rows[:_SHOWN])
    more = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
    return f"{column.name} {what} in {shown}{more}"


def _absent(column: ColumnContract, rows: int) -> NDArray[Any]:
    if column.type == "string":
        return np.full((rows, 1), "", dtype=object)
    return np.full((rows, 1), np.nan)


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> PyfuncPredictor:  # noqa: ARG001
    """Return the predictor of the bundle in ``path``. MLflow looks this function up by name.

    The signature is checked where the key is; a data scientist's machine need not have it.
    """
    key_file = Settings.from_environment().signing_key_file
    key = signing_key(key_file) if key_file.is_file() else None
    return PyfuncPredictor(read_bundle(Path(path), key))
