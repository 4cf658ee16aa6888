"""What a network goes by: integrated gradients of its score, gathered by raw column."""

from __future__ import annotations

import numpy as np
import polars as pl

from aforo.features import Encoder
from aforo.features.feature import Feature, Matrix
from aforo.models.estimators.neural_network import NeuralNetwork
from aforo.models.training import FittedCandidate

_MOST_ROWS = 1_000


def network_weights(candidate: FittedCandidate, train: pl.DataFrame, rows: pl.DataFrame) -> dict[str, float] | None:
    """Return the mean absolute integrated gradient of each raw column; ``None`` if the candidate is no network.

    The way begins at the mean of the encoded training rows. It is the network's own score that is explained, before
    calibration: log-odds, or a value in the target's unit.

    Parameters
    ----------
    train, rows
        Raw rows; the first thousand of each are taken.
    """
    if not isinstance(candidate.estimator, NeuralNetwork):
        return None
    encoder, rows = candidate.encoder, rows.head(_MOST_ROWS)
    baseline = encoder.transform(train.head(_MOST_ROWS)).mean(axis=0)
    attributed_ND = candidate.estimator.attributions(encoder.transform(rows), baseline)
    by_column_NC = attributed_ND @ column_shares(encoder, rows)
    return dict(zip(encoder.columns, np.abs(by_column_NC).mean(axis=0).tolist(), strict=True))


def column_shares(encoder: Encoder, rows: pl.DataFrame) -> Matrix:
    """Return which raw columns each column of the matrix is made from, shape (D, C) with rows that sum to 1.

    A feature of several raw columns is asked: what changes when one of them takes the values of other rows is made from
    it. What is made from several belongs to them in equal shares, and so does what never changes.
    """
    places = {name: place for place, name in enumerate(encoder.columns)}
    blocks = []
    for feature in encoder.features:
        reads = np.zeros((len(feature.names_), len(places)))
        for name in feature.columns:
            reads[:, places[name]] = 1.0 if len(feature.columns) == 1 else _changes(feature, rows, name)
        unchanged = reads.sum(axis=1) == 0
        reads[np.ix_(unchanged, [places[name] for name in feature.columns])] = 1.0
        blocks.append(reads / reads.sum(axis=1, keepdims=True))
    return np.vstack(blocks)


def _changes(feature: Feature, rows: pl.DataFrame, name: str) -> Matrix:
    column = rows.get_column(name)
    moved = rows.with_columns(pl.concat([column.tail(1), column.head(rows.height - 1)]))
    before, after = feature.transform(rows), feature.transform(moved)
    changed = np.any((before != after) & ~(np.isnan(before) & np.isnan(after)), axis=0)
    return np.asarray(changed, dtype=np.float64)
