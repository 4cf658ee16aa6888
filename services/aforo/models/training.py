"""Training: one candidate under a budget that is the same for all."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from aforo.contracts.prediction import TaskKind
from aforo.contracts.specification import Specification
from aforo.data.bridging import Bridge, Bridged
from aforo.errors import TrainingError
from aforo.features import Encoder, FeatureSpec
from aforo.features.feature import Matrix
from aforo.models.estimators.estimator import (
    CandidateSpecification,
    Estimator,
    Examples,
    Hyperparameter,
    Target,
    Task,
    one_thread,
)
from aforo.models.targets import encode_target, label_counts, loss

logger = logging.getLogger(__name__)

# Rows are encoded and scored in pieces, so that a wide one-hot matrix of a large table never exists at once.
_PIECE_ROWS = 20_000


Teacher = Callable[[pl.DataFrame, Target], Matrix]
"""From raw rows (N) and their labels to the probabilities (N, K) that a student is to learn."""


class Budget(Specification):
    """What each candidate may spend, the same for all of them.

    Attributes
    ----------
    fits
        Settings of hyperparameters tried per candidate: its own, then others from its ``search``.
    max_rows
        Most training rows, drawn at random by the seed; ``None`` for all.
    """

    fits: Annotated[int, Field(ge=1)] = 1
    max_rows: Annotated[int, Field(ge=1)] | None = None


@dataclass(frozen=True)
class FitReport:
    """One fit that ended: the ``fit``-th of ``fits``, with its loss on the validation part."""

    candidate: str
    fit: int
    fits: int
    hyperparameters: dict[str, Hyperparameter]
    validation_loss: float
    seconds: float


@dataclass(frozen=True, eq=False)
class _Encoded:
    """Training and validation rows as one encoder sees them, with so many rows of an older schema in the former.

    Attributes
    ----------
    taught
        The training rows with a teacher's answers in the place of the labels, if there is a teacher.
    """

    encoder: Encoder
    train: Examples
    taught: Examples
    validation: Examples
    old_rows: int | None


@dataclass(frozen=True, eq=False)
class FittedCandidate:
    """The best fit of one candidate.

    Attributes
    ----------
    validation_loss
        Log loss (natural logarithm), or mean squared error of a regression, on the validation part.
    history
        Every fit, in order.
    seconds
        All fits together, encoding included.
    """

    spec: CandidateSpecification
    task: Task
    encoder: Encoder
    estimator: Estimator
    hyperparameters: dict[str, Hyperparameter]
    validation_loss: float
    history: tuple[FitReport, ...]
    seconds: float

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def fits(self) -> int:
        return len(self.history)

    def outputs(self, table: pl.DataFrame) -> Matrix:
        """Return uncalibrated probabilities (N, K), or values (N, 1), of raw rows."""
        with one_thread():
            pieces = [
                self.estimator.predict(self.encoder.transform(table.slice(start, _PIECE_ROWS)))
                for start in range(0, table.height, _PIECE_ROWS)
            ]
        return np.vstack(pieces) if pieces else np.empty((0, self.task.width))


def fit_candidate(
    spec: CandidateSpecification,
    *,
    features: Sequence[FeatureSpec],
    task: TaskKind,
    classes: Sequence[str],
    train: pl.DataFrame,
    validation: pl.DataFrame,
    target: str,
    seed: int,
    budget: Budget | None = None,
    bridge: Bridge | None = None,
    progress: Callable[[FitReport], None] | None = None,
    teacher: Teacher | None = None,
) -> FittedCandidate:
    """Fit a candidate with each setting of its budget, and keep the one with the lowest validation loss.

    The same rows, settings and seed give the same outputs bit for bit, in any process on one kind of machine.

    Parameters
    ----------
    features
        The use case's; a candidate's own take precedence.
    classes
        Labels in the order of the outputs; empty for a regression.
    bridge
        What to do with training rows of an older schema. The candidate's own setting is fitted with each number of
        them that the bridge tries, the other settings with the best.
    progress
        Called after each fit.
    teacher
        What it learns from instead of the labels, where it can; it is judged by the labels.

    Raises
    ------
    TrainingError
        A part is empty or lacks a class, a target is strange, or the candidate cannot learn from these rows.
    DataError
        The training rows do not fit the bridge.
    """
    with one_thread():
        return _fit_candidate(
            spec,
            features=features,
            task=Task(task, tuple(classes)),
            train=train,
            validation=validation,
            target=target,
            seed=seed,
            budget=budget or Budget(),
            bridge=bridge,
            progress=progress or (lambda _: None),
            teacher=teacher,
        )


def settings(spec: CandidateSpecification, fits: int, seed: int) -> list[CandidateSpecification]:
    """Return at most ``fits`` settings: the candidate's own, then a sample by ``seed`` from its search grid."""
    own = spec.with_hyperparameters({})
    others: list[CandidateSpecification] = []
    for values in itertools.product(*spec.search.values()):
        setting = spec.with_hyperparameters(dict(zip(spec.search, values, strict=True)))
        if setting != own and setting not in others:
            others.append(setting)
    if len(others) > fits - 1:
        drawn = np.random.default_rng(seed).permutation(len(others))[: fits - 1]
        others = [others[i] for i in sorted(drawn)]
    return [own, *others]


def _fit_candidate(
    spec: CandidateSpecification,
    *,
    features: Sequence[FeatureSpec],
    task: Task,
    train: pl.DataFrame,
    validation: pl.DataFrame,
    target: str,
    seed: int,
    budget: Budget,
    bridge: Bridge | None,
    progress: Callable[[FitReport], None],
    teacher: Teacher | None,
) -> FittedCandidate:
    began = time.monotonic()
    train = _limited(train, budget.max_rows, seed)
    bridged = None if bridge is None else bridge.learn(train)
    tries: tuple[int | None, ...] = (None,) if bridged is None else bridged.old_rows
    own, *others = settings(spec, budget.fits, seed)

    best: tuple[float, Estimator, dict[str, Hyperparameter], _Encoded] | None = None
    history: list[FitReport] = []
    choices = [*((own, old_rows) for old_rows in tries), *((other, None) for other in others)]
    for number, (setting, old_rows) in enumerate(choices, start=1):
        start = time.monotonic()
        if best is None or number <= len(tries):
            rows = train if bridged is None or old_rows is None else bridged.with_old_rows(old_rows)
            own_features = spec.own_features() or features
            encoded = _encode(rows, validation, own_features, target, task, bridged, old_rows, teacher)
        else:
            encoded = best[3]
        examples, judged = encoded.train, encoded.validation
        estimator = setting.build(task)
        _refuse_missing(setting.name, estimator, encoded.encoder, examples, judged)
        estimator.fit(encoded.taught if estimator.learns_from_probabilities else examples, judged, seed=seed)
        validation_loss = loss(estimator.predict(judged.X), judged.y, task)
        if not np.isfinite(validation_loss):
            raise TrainingError(f"{spec.name}: its outputs on the validation part are not finite numbers")
        report = FitReport(
            candidate=spec.name,
            fit=number,
            fits=len(choices),
            hyperparameters=_recorded(setting, encoded),
            validation_loss=validation_loss,
            seconds=time.monotonic() - start,
        )
        history.append(report)
        if best is None or validation_loss < best[0]:
            best = validation_loss, estimator, report.hyperparameters, encoded
        logger.info(
            "candidate fitted",
            extra={
                "candidate": spec.name,
                "fit": number,
                "fits": len(choices),
                "rows": len(examples.y),
                "columns": examples.X.shape[1],
                "validation_loss": validation_loss,
                "seconds": round(report.seconds, 3),
            },
        )
        progress(report)
    assert best is not None  # noqa: S101  a budget has at least one fit
    return FittedCandidate(
        spec=spec,
        task=task,
        encoder=best[3].encoder,
        estimator=best[1],
        hyperparameters=best[2],
        validation_loss=best[0],
        history=tuple(history),
        seconds=time.monotonic() - began,
    )


def _encode(
    train: pl.DataFrame,
    validation: pl.DataFrame,
    features: Sequence[FeatureSpec],
    target: str,
    task: Task,
    bridged: Bridged | None,
    old_rows: int | None,
    teacher: Teacher | None,
) -> _Encoded:
    parts = (train, "train"), (validation, "validation")
    y, y_validation = (_target_of(part, name, target, task) for part, name in parts)
    mixtures = None if bridged is None else bridged.mixtures
    encoder = Encoder([feature.build() for feature in features], mixtures).fit(train, y)
    judged = Examples(encoder.transform(validation), y_validation)
    examples = Examples(encoder.transform(train), y)
    taught = examples if teacher is None else Examples(examples.X, teacher(train, y))
    return _Encoded(encoder, examples, taught, judged, old_rows)


def _recorded(setting: CandidateSpecification, encoded: _Encoded) -> dict[str, Hyperparameter]:
    own = setting.hyperparameters
    return own if encoded.old_rows is None else {**own, "old_rows": encoded.old_rows}


def _target_of(part: pl.DataFrame, name: str, target: str, task: Task) -> np.ndarray:
    if not part.height:
        raise TrainingError(f"the {name} part has no rows", hint="check the shares of the split")
    y = encode_target(part.get_column(target), task)
    if name == "train" and not task.is_regression:
        counts = label_counts(y.astype(np.int64), task)
        absent = [label for label, count in counts.items() if not count]
        if absent:
            raise TrainingError(
                f"the train part has no row of class {', '.join(map(repr, absent))} (rows per class: {counts})",
                hint="use more data, or another split",
            )
    return y


def _limited(train: pl.DataFrame, max_rows: int | None, seed: int) -> pl.DataFrame:
    if max_rows is None or train.height <= max_rows:
        return train
    drawn = np.random.default_rng(seed).choice(train.height, size=max_rows, replace=False)
    return train[np.sort(drawn)]


def _refuse_missing(name: str, estimator: Estimator, encoder: Encoder, *parts: Examples) -> None:
    if estimator.accepts_missing:
        return
    for examples in parts:
        missing = np.flatnonzero(np.isnan(examples.X).any(axis=0))
        if len(missing):
            raise TrainingError(
                f"{name}: feature {encoder.names_[missing[0]]!r} has missing values, which this model cannot use",
                hint="give the feature `missing: {fill: …}`, or an `ordinal` a number for `unseen`, or use `one_hot`",
            )
