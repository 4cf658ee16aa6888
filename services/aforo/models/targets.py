"""Targets: labels as class indices, values as float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from aforo.errors import TrainingError
from aforo.models.estimators.estimator import Target, Task


def encode_target(column: pl.Series, task: Task) -> Target:
    """Return the target of each row, of shape (N,).

    A regression gives float64. Classes give the index of the label in ``task.classes``: a boolean counts as
    (no, yes) whatever the two labels are called, anything else is compared as text.

    Raises
    ------
    TrainingError
        A value is missing, infinite, or none of the classes.
    """
    if column.null_count():
        raise TrainingError(
            f"target {column.name!r} is missing in {column.null_count()} of {len(column)} rows",
            hint="set rows without a label aside in the table contract",
        )
    if task.is_regression:
        return _values(column)
    if column.dtype == pl.Boolean:
        return column.cast(pl.Int64).to_numpy()
    labels = column.cast(pl.String)
    indices = labels.replace_strict(
        list(task.classes), list(range(len(task.classes))), default=-1, return_dtype=pl.Int64
    ).to_numpy()
    if (indices < 0).any():
        strange = sorted(set(labels.filter(pl.Series(indices < 0)).to_list()))[:5]
        raise TrainingError(
            f"target {column.name!r} holds {', '.join(map(repr, strange))}; expected one of {list(task.classes)}",
            hint="list every label in `classes`",
        )
    return indices


def label_counts(y: npt.NDArray[np.int64], task: Task) -> dict[str, int]:
    """Return how many rows each class has."""
    counts = np.bincount(y, minlength=task.width)
    return dict(zip(task.classes, counts.tolist(), strict=True))


def loss(outputs: npt.NDArray[np.float64], y: Target, task: Task) -> float:
    """Return the mean loss by which candidates are compared: log loss of classes, squared error of values."""
    if task.is_regression:
        return float(np.mean((outputs[:, 0] - y) ** 2))
    own = outputs[np.arange(len(y)), y.astype(np.int64)]
    # A single probability of 0 would make the mean infinite, and every candidate look alike.
    return float(-np.mean(np.log(np.clip(own, 1e-15, 1.0))))


def _values(column: pl.Series) -> npt.NDArray[np.float64]:
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise TrainingError(f"target {column.name!r} is of type {column.dtype}; a regression expects numbers")
    values = column.cast(pl.Float64).to_numpy()
    if not np.isfinite(values).all():
        raise TrainingError(f"target {column.name!r} is not finite in {int((~np.isfinite(values)).sum())} rows")
    return values
