"""Gradient boosted trees on histograms, by scikit-learn."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from aforo.features.feature import Matrix
from aforo.graph import Graph
from aforo.models.estimators.estimator import (
    CandidateSpecification,
    Estimator,
    Examples,
    Task,
    add_probabilities,
    one_thread,
    probabilities_of,
)
from aforo.models.trees import Tree, Trees


class BoostedTreesSpec(CandidateSpecification):
    """Many small trees, each correcting those before it. Missing values and codes need no preparation.

    Attributes
    ----------
    trees
        Most trees per class; fewer are kept if the loss on the validation part was lowest earlier.
    patience
        Stop after this many trees without a lower loss on the validation part.
    leaves, min_leaf_rows
        Largest number of leaves of a tree, and least number of training rows in each.
    penalty
        Squared penalty on the leaf values.
    """

    kind: Literal["boosted_trees"] = "boosted_trees"
    trees: Annotated[int, Field(ge=1)] = 200
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    leaves: Annotated[int, Field(ge=2)] = 31
    min_leaf_rows: Annotated[int, Field(ge=1)] = 20
    penalty: Annotated[float, Field(ge=0)] = 0.0
    patience: Annotated[int, Field(ge=1)] = 20

    def build(self, task: Task) -> BoostedTrees:
        return BoostedTrees(
            task,
            trees=self.trees,
            learning_rate=self.learning_rate,
            leaves=self.leaves,
            min_leaf_rows=self.min_leaf_rows,
            penalty=self.penalty,
            patience=self.patience,
        )


class BoostedTrees(Estimator):
    """scikit-learn's histogram gradient boosting, cut at the best tree and kept as plain arrays.

    Parameters
    ----------
    trees, learning_rate, leaves, min_leaf_rows, penalty, patience
        As in :class:`BoostedTreesSpec`.

    References
    ----------
    Friedman, Greedy function approximation: a gradient boosting machine, Annals of Statistics 29(5), 2001.
    Ke et al., LightGBM: a highly efficient gradient boosting decision tree, NIPS 2017.
    """

    accepts_missing: ClassVar[bool] = True

    def __init__(
        self,
        task: Task,
        *,
        trees: int = 200,
        learning_rate: float = 0.1,
        leaves: int = 31,
        min_leaf_rows: int = 20,
        penalty: float = 0.0,
        patience: int = 20,
    ) -> None:
        super().__init__(task)
        self.trees = trees
        self.learning_rate = learning_rate
        self.leaves = leaves
        self.min_leaf_rows = min_leaf_rows
        self.penalty = penalty
        self.patience = patience

    def fit(self, train: Examples, validation: Examples, *, seed: int) -> Self:
        # scikit-learn takes seconds to load, and reading a use case must not.
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        kind = HistGradientBoostingRegressor if self.task.is_regression else HistGradientBoostingClassifier
        model = kind(
            max_iter=self.trees,
            learning_rate=self.learning_rate,
            max_leaf_nodes=self.leaves,
            min_samples_leaf=self.min_leaf_rows,
            l2_regularization=self.penalty,
            early_stopping=True,
            n_iter_no_change=self.patience,
            tol=0.0,
            scoring="loss",
            categorical_features=None,
            random_state=seed,
        )
        with one_thread():
            model.fit(train.X, train.y, X_val=validation.X, y_val=validation.y)
        # One score per round, the first being that of the constant before any tree.
        rounds = int(np.argmax(model.validation_score_))
        self.baseline_ = np.asarray(model._baseline_prediction, np.float64).reshape(-1)
        self.trees_ = Trees(
            trees=tuple(
                _plain(predictor.nodes, output)
                for predictors in model._predictors[:rounds]
                for output, predictor in enumerate(predictors)
            ),
            outputs=len(self.baseline_),
        )
        return self

    def predict(self, X: Matrix) -> Matrix:
        return probabilities_of(self.trees_.predict(X) + self.baseline_, self.task)

    def add_to(self, graph: Graph, matrix: str) -> str:
        scores = self.trees_.add_to(graph, matrix, offset=self.baseline_)
        return add_probabilities(graph, scores, self.task)


def _plain(nodes: np.ndarray, output: int) -> Tree:
    return Tree(
        output=output,
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        missing_left=nodes["missing_go_to_left"].astype(np.bool_),
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        is_leaf=nodes["is_leaf"].astype(np.bool_),
        value=nodes["value"].astype(np.float64),
    )
