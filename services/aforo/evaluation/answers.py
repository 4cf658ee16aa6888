"""What a predictor answered on rows whose true values are known: the one input of every judgement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from aforo.contracts.prediction import PredictionContract, TaskKind
from aforo.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """True values and one predictor's outputs for the same rows.

    Predictors are compared row by row, so all answers of one judgement hold the same rows in the same order.

    Parameters
    ----------
    y
        True values, shape (N,): the index into the classes, or the value of a regression.
    probabilities
        Shape (N, K), rows that sum to 1; for a binary task column 1 is the positive class.
    value, interval
        Of a regression: shape (N,), and (N, 2) as lower and upper bound. The interval is ``None`` for a
        predictor that is not calibrated.
    threshold
        A binary task answers the positive class from this probability on.
    coverage
        Of a regression: the share (0-1) of true values that the interval is meant to hold.
    """

    task: TaskKind
    y: NDArray[Any]
    probabilities: Floats = field(default_factory=lambda: np.empty((0, 0)))
    value: Floats = field(default_factory=lambda: np.empty(0))
    interval: Floats | None = None
    threshold: float = 0.5
    coverage: float | None = None

    def __post_init__(self) -> None:
        if self.y.ndim != 1 or len(self.y) == 0:
            raise DataError(f"true values have shape {self.y.shape}; expected (N,) with N > 0")
        if self.task == "regression":
            expected: tuple[int, ...] = self.y.shape
            _refuse_unless(self.value, expected, "value")
            if self.interval is not None:
                _refuse_unless(self.interval, (len(self.y), 2), "interval")
                if np.any(self.interval[:, 0] > self.interval[:, 1]):
                    raise DataError("output 'interval' has a lower bound above its upper bound")
            return
        classes = self.probabilities.shape[1] if self.probabilities.ndim == 2 else 0
        if classes < 2 or (self.task == "binary" and classes != 2):
            raise DataError(f"output 'probabilities' has shape {self.probabilities.shape} in a {self.task} task")
        _refuse_unless(self.probabilities, (len(self.y), classes), "probabilities")
        if np.any(self.probabilities < 0) or np.any(np.abs(self.probabilities.sum(axis=1) - 1) > 1e-6):
            raise DataError("output 'probabilities' has a row that is negative or does not sum to 1")
        if self.y.min() < 0 or self.y.max() >= classes:
            raise DataError(f"true classes run from {self.y.min()} to {self.y.max()}; expected 0 to {classes - 1}")

    @classmethod
    def of(cls, contract: PredictionContract, y: NDArray[Any], outputs: Mapping[str, Floats]) -> Self:
        """Return the answers of a predictor from its graph's outputs.

        Raises
        ------
        DataError
            An output is missing, is not finite, has another number of rows, or is no probability.
        """
        wanted = "value" if contract.task == "regression" else "probabilities"
        if wanted not in outputs:
            raise DataError(f"a {contract.task} predictor gives no output {wanted!r}; it has: {', '.join(outputs)}")
        if contract.task == "regression":
            return cls(
                "regression",
                np.asarray(y, dtype=np.float64),
                value=np.asarray(outputs["value"], dtype=np.float64).reshape(-1),
                interval=outputs.get("interval"),
                coverage=contract.coverage,
            )
        return cls(
            contract.task,
            np.asarray(y, dtype=np.int64),
            probabilities=np.asarray(outputs["probabilities"], dtype=np.float64),
            threshold=contract.threshold,
        )

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Integers) -> Self:
        """Return the answers on some of the rows, by position."""
        if self.task == "regression":
            bounds = None if self.interval is None else self.interval[rows]
            return replace(self, y=self.y[rows], value=self.value[rows], interval=bounds)
        return replace(self, y=self.y[rows], probabilities=self.probabilities[rows])

    @property
    def labels(self) -> Integers:
        """The answered class of each row, shape (N,), as the prediction API answers it."""
        if self.task == "binary":
            return (self.probabilities[:, 1] >= self.threshold).astype(np.int64)
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def mistakes(self) -> Floats:
        """1 for each row whose class is answered wrongly, 0 for the others, shape (N,)."""
        return np.asarray(self.labels != self.y, dtype=np.float64)


def _refuse_unless(output: Floats, shape: tuple[int, ...], name: str) -> None:
    if output.shape != shape:
        raise DataError(f"output {name!r} has shape {output.shape}; expected {shape}")
    if not np.all(np.isfinite(output)):
        raise DataError(f"output {name!r} is not finite in {int(np.sum(~np.isfinite(output)))} places")
