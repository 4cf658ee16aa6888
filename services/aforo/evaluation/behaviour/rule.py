"""What every behavioural rule is: an expectation of how answers react when something in a row is changed.

A figure on the test part says how good the answers are; it does not say whether they are good for the right reason.
These rules ask the predictor itself, about rows that no data set holds.

References
----------
Ribeiro, Wu, Guestrin and Singh, Beyond Accuracy: Behavioral Testing of NLP Models with CheckList, ACL 2020
(invariance and directional expectation).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated

import polars as pl
from pydantic import Field

from aforo.contracts.prediction import PredictionContract, Scalar
from aforo.contracts.specification import Specification
from aforo.contracts.table import ColumnContract, TableContract
from aforo.evaluation.evaluate import Comparison
from aforo.evaluation.metrics import MetricName
from aforo.evaluation.rules import RuleOutcome
from aforo.evaluation.subject import Subject


class Example(Specification):
    """One row that shows a finding.

    Attributes
    ----------
    row
        What identifies it, and the columns that matter; private values are masked.
    before, after
        The output (a probability, or a value in the target's unit) with the row as it is, and as it was changed.
    """

    row: dict[str, Scalar]
    changed: str
    before: float
    after: float


class Finding(Specification):
    """What a behavioural rule measured, for the report.

    Attributes
    ----------
    rule
        Name of the rule, as in its outcome.
    rows
        How many rows were asked about.
    """

    rule: str
    rows: int


class BehaviourRule(Specification, ABC):
    """An expectation of the predictor's reactions.

    Attributes
    ----------
    name
        What the report calls it; ``None`` takes what it says.
    because
        Why it is expected, as one clause; it is quoted in the finding.
    rows
        How many test rows it is asked about, drawn by the seed; each costs several predictions.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,79}$")] | None = None
    because: str | None = None
    rows: Annotated[int, Field(ge=1, le=1_000_000)] = 5000

    @property
    @abstractmethod
    def title(self) -> str:
        """Its name, given or made from what it says."""

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The names of what it may find."""
        return (self.title,)

    @abstractmethod
    def check(self, table: TableContract, contract: PredictionContract) -> None:
        """Refuse what cannot be asked of this table and predictor.

        Raises
        ------
        ValueError
            A column does not exist, or a value cannot occur in it; the message names it and what would be valid.
        """

    @abstractmethod
    def ask(self, subject: Subject, measured: Comparison, primary: MetricName) -> tuple[list[RuleOutcome], Finding]:
        """Return whether the expectation holds, and what was found.

        Parameters
        ----------
        measured
            The figures of all predictors on all rows.
        """

    def said(self, finding: str) -> str:
        """Return a finding as a sentence, with the reason why it matters."""
        return f"{finding} ({self.because})." if self.because else f"{finding}."


def find_column(table: TableContract, name: str, rule: str) -> ColumnContract:
    """Return a column of the table; ValueError names the valid ones."""
    if name not in table.names:
        raise ValueError(f"{rule} names column {name!r}, which is not in data.columns: {', '.join(table.names)}")
    return table[name]


def refuse_impossible(column: ColumnContract, values: Sequence[Scalar], rule: str) -> None:
    """Refuse values that the column's contract does not allow."""
    for value in values:
        if not _is_possible(column, value):
            allowed = f"one of {', '.join(column.categories)}" if column.categories else f"a {column.type}"
            bounds = [
                f"{word} {end:g}" for word, end in (("from", column.minimum), ("to", column.maximum)) if end is not None
            ]
            raise ValueError(
                f"{rule}: {value!r} is no value of column {column.name!r}; expected {' '.join([allowed, *bounds])}"
            )


def _is_possible(column: ColumnContract, value: Scalar) -> bool:
    if column.type == "boolean":
        return isinstance(value, bool)
    if column.type == "string":
        return isinstance(value, str) and (column.categories is None or value in column.categories)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = column.type != "integer" or float(value).is_integer()
    above = column.minimum is None or value >= column.minimum
    return whole and above and (column.maximum is None or value <= column.maximum)


def with_value(table: pl.DataFrame, name: str, value: Scalar) -> pl.DataFrame:
    """Return the rows with one column set to ``value`` throughout."""
    return table.with_columns(pl.lit(value).cast(table.schema[name]).alias(name))
