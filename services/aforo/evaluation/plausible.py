"""Answers that cannot be: a value outside what the contract allows of the target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.specification import Specification
from aforo.contracts.table import ColumnContract, TableContract
from aforo.evaluation.answers import Floats
from aforo.evaluation.rules import RuleOutcome, Share
from aforo.evaluation.subject import Subject

RULE = "plausible"


class Plausible(Specification):
    """No value is answered below the target's ``minimum`` or above its ``maximum`` in ``data.columns``.

    It is asked on all rows that the candidate has not learnt from: those of the test and of the calibration part.

    Attributes
    ----------
    max_share
        Share (0-1) of the rows whose answer may be impossible.
    """

    max_share: Share = 0.0

    def check(self, table: TableContract, contract: PredictionContract) -> None:
        """Refuse a target without bounds, with a ValueError."""
        if contract.task != "regression":
            raise ValueError(f"gate.{RULE} asks about values, and a {contract.task} task answers classes; leave it out")
        if table.target.minimum is None and table.target.maximum is None:
            raise ValueError(
                f"gate.{RULE} asks for the bounds of target {table.target.name!r}; give it a `minimum` or a `maximum`"
            )


def plausible(subjects: Sequence[Subject], rule: Plausible) -> RuleOutcome:
    """Report how many answers are impossible, and show the worst of them.

    Parameters
    ----------
    subjects
        The candidate with different rows.
    """
    target = subjects[0].columns.target
    beyond = [_beyond(subject.answers().value, target) for subject in subjects]
    rows = sum(len(each) for each in beyond)
    share = float(sum((each > 0).sum() for each in beyond) / rows)
    allowed = " and ".join(
        f"{word} {bound:g}" for word, bound in (("from", target.minimum), ("to", target.maximum)) if bound is not None
    )
    unit = f" {target.unit}" if target.unit else ""
    why = f"The answers to {share:.2%} of {rows:,} rows are impossible: {target.name} goes {allowed}{unit}"
    if share:
        worst = max(range(len(subjects)), key=lambda place: beyond[place].max())
        subject, row = subjects[worst], int(beyond[worst].argmax())
        where = ", ".join(f"{name} {value}" for name, value in subject.shown(row).items())
        value = float(subject.answers().value[row])
        why += f"; at worst {value:.4g}{f' ({where})' if where else ''}"
    return RuleOutcome.at_most(RULE, share, rule.max_share, f"{why}; {rule.max_share:.2%} are allowed.")


def _beyond(value: Floats, target: ColumnContract) -> Floats:
    """Return by how much each value leaves what is allowed, shape (N,)."""
    low = -np.inf if target.minimum is None else target.minimum
    high = np.inf if target.maximum is None else target.maximum
    return np.maximum(0.0, np.maximum(low - value, value - high))
