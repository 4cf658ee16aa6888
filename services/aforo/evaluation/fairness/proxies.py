"""Proxies: a sensitive column that was removed can still be told from what stayed."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.specification import Specification
from aforo.evaluation.answers import Floats
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.probe import as_numbers, folds, told_classes
from aforo.evaluation.slices.cutting import Cut

# Of a class and a fold, so that every model has seen every group.
_FEWEST = 10
_MOST_LISTED = 10

# From here on what is read is said to tell the group: of three pairs of rows, two are put in the right order.
_TOLD = 2 / 3


class Proxy(Specification):
    """One column by itself.

    Attributes
    ----------
    auc
        Probability (0-1) that a row of a group scores above one of another by this column, averaged over the groups;
        0.5 tells nothing.
    """

    column: str
    auc: float


class Proxies(Specification):
    """How well the columns that candidates read tell a sensitive one.

    Attributes
    ----------
    rows
        How many rows were looked at.
    is_read
        Whether candidates read the sensitive column itself, so that no proxy is needed.
    auc, accuracy
        Of all other columns together, cross-validated.
    most_frequent
        Share of the largest group: the accuracy of always naming it.
    columns
        The ten that tell it best by themselves, the best first.
    """

    rows: int
    is_read: bool
    auc: float
    accuracy: float
    most_frequent: float
    columns: tuple[Proxy, ...]

    @property
    def is_told(self) -> bool:
        """Whether the sensitive column can be told well enough to be worth a warning."""
        return self.auc >= _TOLD


def find_proxies(
    table: pl.DataFrame, contract: PredictionContract, slices: Cut, clusters: Clusters, rows: int, seed: int
) -> Proxies | None:
    """Return how well what the predictor takes tells the groups of one column.

    Groups of fewer than ten independent rows are left out; ``None`` if fewer than two are left, or nothing else is
    read.

    Parameters
    ----------
    rows
        How many rows are looked at, at most; they are drawn by the seed.
    """
    drawn = np.sort(np.random.default_rng(seed).permutation(table.height)[:rows])
    codes, of_group = slices.codes[drawn], clusters.codes[drawn]
    seen = [code for code in range(len(slices.labels)) if len(np.unique(of_group[codes == code])) >= _FEWEST]
    names = [column.name for column in contract.inputs if column.name not in slices.columns]
    if len(seen) < 2 or not names:
        return None
    kept = np.isin(codes, seen)
    y, of_group = np.searchsorted(seen, codes[kept]), of_group[kept]
    X = as_numbers(table[drawn[kept]], names)
    parts = folds(y, of_group, seed, stratified=True)
    together = told_classes(X, y, parts, seed)
    alone = [
        Proxy(column=name, auc=_auc(told_classes(X[:, [place]], y, parts, seed), y)) for place, name in enumerate(names)
    ]
    return Proxies(
        rows=len(y),
        is_read=any(column.name in slices.columns for column in contract.inputs),
        auc=_auc(together, y),
        accuracy=float(np.mean(together.argmax(axis=1) == y)),
        most_frequent=float(np.bincount(y).max() / len(y)),
        columns=tuple(sorted(alone, key=lambda proxy: -proxy.auc)[:_MOST_LISTED]),
    )


def _auc(scores: Floats, y: NDArray[np.int64]) -> float:
    from sklearn.metrics import roc_auc_score

    if scores.shape[1] == 2:
        return float(roc_auc_score(y, scores[:, 1]))
    # With cross-validation a row's scores come from one model each, and need not be comparable to the last digit.
    return float(roc_auc_score(y, scores, multi_class="ovr", average="macro"))
