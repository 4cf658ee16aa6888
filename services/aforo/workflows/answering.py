"""Rows of a table, checked as the prediction API checks them, with their answers or what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from aforo.contracts.explanation import ExplanationMethod
from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract
from aforo.data.casting import DTYPES, FAULTS, cast, normalise
from aforo.data.checks import violations
from aforo.export.answering import answer_columns
from aforo.export.explanations import Explainer
from aforo.export.inference import GraphPredictor
from aforo.workflows.fitting import run_in_pieces

ROW, PROBLEM = "(row)", "(problem)"
"""Columns beside those of a file; no contract's column is called so."""


@dataclass(frozen=True)
class Explaining:
    """How the rows of a table are explained; the figures are those that the prediction API gives when it has time."""

    explainer: Explainer
    method: ExplanationMethod

    @staticmethod
    def schema(inputs: Sequence[ColumnContract]) -> dict[str, pl.DataType]:
        """Return the columns of explanations: of what, the baseline, each column's contribution, and the rest."""
        figures = ("baseline", *(f"contribution_{column.name}" for column in inputs), "rest")
        return {"explained": pl.String(), **dict.fromkeys(figures, pl.Float64())}

    def columns(self, rows: pl.DataFrame, inputs: Sequence[ColumnContract]) -> pl.DataFrame:
        """Return a row a row; null throughout where the answer is not finite."""
        schema = self.schema(inputs)
        found = [self.explainer.explain(row, self.method) for row in rows.to_dicts()]
        told = [
            [None] * len(schema) if why is None else [why.of, why.baseline, *why.contributions.values(), why.rest]
            for why in found
        ]
        return pl.DataFrame(told, schema=schema, orient="row")


def answer(
    batch: pl.DataFrame, predictor: GraphPredictor, keep: Sequence[str], explaining: Explaining | None = None
) -> pl.DataFrame:
    """Return one row a row.

    Parameters
    ----------
    batch
        (N rows) `ROW`, the number of each in its file; `PROBLEM`, what is known to be wrong with it already; the
        columns of ``keep``; and those inputs of the contract that there are. One that may be missing need not be.

    Returns
    -------
    polars.DataFrame
        ``row``, the columns of ``keep``, the answers (see `answer_columns`), their explanations if asked for (see
        `Explaining`), and ``problem``, null for a good row.
    """
    typed, problems = checked(batch, predictor.contract.inputs)
    good = problems.is_null()
    answers = answer_table(run_in_pieces(predictor, typed.filter(good)), predictor.contract)
    if explaining is not None:
        answers = answers.hstack(explaining.columns(typed.filter(good), predictor.contract.inputs))
    where = pl.Series("at", np.where(good.to_numpy(), good.cum_sum().to_numpy().astype(np.int64) - 1, -1))
    answers = answers.with_row_index("at").cast({"at": pl.Int64})
    placed = pl.DataFrame({"at": where}).join(answers, on="at", how="left", maintain_order="left").drop("at")
    numbers = batch.get_column(ROW).alias("row")
    return pl.concat([numbers.to_frame(), batch.select(keep), placed, problems.to_frame()], how="horizontal")


def answer_table(outputs: Mapping[str, npt.NDArray[np.float64]], contract: PredictionContract) -> pl.DataFrame:
    """Return `answer_columns` as a table; a column of texts is one whether or not its first row has one."""
    columns = answer_columns(outputs, contract).items()
    return pl.DataFrame(
        [pl.Series(name, v.tolist(), pl.String) if v.dtype == object else pl.Series(name, v) for name, v in columns]
    )


def checked(batch: pl.DataFrame, inputs: Sequence[ColumnContract]) -> tuple[pl.DataFrame, pl.Series]:
    """Return the inputs in the contract's types, and what is wrong with each row: (N,) text, null where nothing is."""
    found: list[tuple[pl.Series, str]] = []
    columns = []
    broken = batch.get_column(PROBLEM)
    for column in inputs:
        if column.name not in batch.columns:
            columns.append(pl.Series(column.name, [None] * batch.height, dtype=DTYPES[column.type]))
            continue
        given = normalise(batch.get_column(column.name))
        values = cast(given, column.type)
        unfit = values.is_null() & given.is_not_null()
        if unfit.any():
            found.append((unfit, f"{column.name} {FAULTS[column.type]}"))
        columns.append(normalise(values))
    typed = pl.DataFrame(columns)
    # What does not fit its type is reported as that, and not as missing too.
    reported = {text.partition(" ")[0]: rows for rows, text in found}
    for violation in violations(typed, tuple(inputs)):
        rows = violation.rows & ~reported[violation.column] if violation.column in reported else violation.rows
        found.append((rows, f"{violation.column} {violation.reason}"))
    # A record that is broken has no values, and that is all there is to say of it.
    flags = pl.DataFrame([broken, *(rows.alias(text) for rows, text in found)])
    texts = [pl.when(pl.col(text) & broken.is_null()).then(pl.lit(text)) for _, text in found]
    joined = flags.select(pl.concat_str(broken, *texts, separator="; ", ignore_nulls=True).alias("problem")).to_series()
    return typed, joined.set(joined == "", None)
