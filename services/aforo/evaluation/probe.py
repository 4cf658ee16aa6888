"""How well columns tell something, by a simple model that is asked about rows it has not seen.

Two questions are asked this way: whether a sensitive column can be told from the rest (proxies), and whether one
column alone gives away the target (a leak). The models are small on purpose: they find what is plainly there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aforo.evaluation.answers import Floats
from aforo.features.columns import is_text, numbers, texts

Folds = list[tuple[NDArray[np.int64], NDArray[np.int64]]]

_FOLDS = 3
_LEAVES = 16
_ROUNDS = 40


def as_numbers(table: pl.DataFrame, names: Sequence[str]) -> Floats:
    """Return columns side by side, shape (N, C): NaN where a value is missing, texts as the rank of their frequency."""
    return np.column_stack([_ranks(table, name) if is_text(table, name) else numbers(table, name) for name in names])


def _ranks(table: pl.DataFrame, name: str) -> Floats:
    values, codes, counts = np.unique(texts(table, name).to_numpy(), return_inverse=True, return_counts=True)
    ranks = np.empty(len(values))
    ranks[np.argsort(-counts, kind="stable")] = np.arange(len(values))
    ranks[values == ""] = np.nan
    return np.asarray(ranks[codes])


def folds(y: NDArray[Any], groups: NDArray[np.int64], seed: int, *, stratified: bool) -> Folds:
    """Return positions to learn from and positions to tell, three times; rows of one group stay together."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    # Finding folds for groups takes seconds where each row is a group of its own.
    alone = len(np.unique(groups)) == len(groups)
    kind: Any = {
        (True, True): StratifiedKFold, (True, False): StratifiedGroupKFold,
        (False, True): KFold, (False, False): GroupKFold,
    }[stratified, alone]  # fmt: skip
    return list(kind(_FOLDS, shuffle=True, random_state=seed).split(y, y, None if alone else groups))


def told_classes(X: Floats, y: NDArray[np.int64], parts: Folds, seed: int) -> Floats:
    """Return the probability of each class (N, K) that a model gives to rows it has not seen.

    One column is told by a small tree, several by a few rounds of boosting.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    model: Any = DecisionTreeClassifier(max_leaf_nodes=_LEAVES, min_samples_leaf=_fewest(X), random_state=seed)
    if X.shape[1] > 1:
        model = HistGradientBoostingClassifier(
            max_iter=_ROUNDS, max_leaf_nodes=_LEAVES, early_stopping=False, random_state=seed
        )
    return np.asarray(cross_val_predict(model, X, y, cv=parts, method="predict_proba"))


def told_values(x: Floats, y: Floats, parts: Folds, seed: int) -> Floats:
    """Return the value (N,) that a small tree on one column ``x`` (N, 1) gives to rows it has not seen."""
    from sklearn.model_selection import cross_val_predict
    from sklearn.tree import DecisionTreeRegressor

    model = DecisionTreeRegressor(max_leaf_nodes=_LEAVES, min_samples_leaf=_fewest(x), random_state=seed)
    return np.asarray(cross_val_predict(model, x, y, cv=parts))


def _fewest(X: Floats) -> int:
    return max(3, len(X) // 200)
