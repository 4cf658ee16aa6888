"""Every metric equals scikit-learn's own under integer weights, which is what a resample is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from aforo.evaluation import Answers
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.metrics import metrics_for

Oracle = Callable[[Answers, np.ndarray], float]


def binary(seed: int, rows: int = 60, steps: int = 8) -> Answers:
    """Scores on a grid, so that there are ties; both classes occur."""
    rng = np.random.default_rng(seed)
    yes = rng.integers(0, steps + 1, rows) / steps
    y = (rng.random(rows) < 0.2 + 0.6 * yes).astype(np.int64)
    y[:2] = 0, 1
    return Answers("binary", y, probabilities=np.column_stack([1 - yes, yes]), threshold=0.4)


def several_classes(seed: int, rows: int = 80, classes: int = 4) -> Answers:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    y[:classes] = range(classes)
    raw = rng.integers(1, 6, (rows, classes)) + 4.0 * np.eye(classes)[y] * (rng.random((rows, 1)) < 0.6)
    return Answers("multiclass", y, probabilities=raw / raw.sum(axis=1, keepdims=True))


def values(seed: int, rows: int = 50) -> Answers:
    rng = np.random.default_rng(seed)
    y = 1000 + rng.normal(size=rows)
    value = y + rng.normal(size=rows)
    return Answers("regression", y, value=value, interval=np.column_stack([value - 1, value + 2]), coverage=0.9)


BINARY: dict[str, Oracle] = {
    "roc_auc": lambda a, w: sk.roc_auc_score(a.y, a.probabilities[:, 1], sample_weight=w),
    "average_precision": lambda a, w: sk.average_precision_score(a.y, a.probabilities[:, 1], sample_weight=w),
    "brier": lambda a, w: sk.brier_score_loss(a.y, a.probabilities[:, 1], sample_weight=w),
    "log_loss": lambda a, w: sk.log_loss(a.y, a.probabilities, sample_weight=w),
    "accuracy": lambda a, w: sk.accuracy_score(a.y, a.probabilities[:, 1] >= 0.4, sample_weight=w),
    "macro_f1": lambda a, w: sk.f1_score(a.y, a.probabilities[:, 1] >= 0.4, sample_weight=w, average="macro"),
}
SEVERAL: dict[str, Oracle] = {
    "roc_auc": lambda a, w: np.mean(
        [sk.roc_auc_score(a.y == k, a.probabilities[:, k], sample_weight=w) for k in range(4)]
    ),
    "average_precision": lambda a, w: np.mean(
        [sk.average_precision_score(a.y == k, a.probabilities[:, k], sample_weight=w) for k in range(4)]
    ),
    "brier": lambda a, w: sk.brier_score_loss(a.y, a.probabilities, sample_weight=w, scale_by_half=False),
    "log_loss": lambda a, w: sk.log_loss(a.y, a.probabilities, sample_weight=w),
    "accuracy": lambda a, w: sk.accuracy_score(a.y, a.labels, sample_weight=w),
    "macro_f1": lambda a, w: sk.f1_score(a.y, a.labels, sample_weight=w, average="macro"),
}
VALUES: dict[str, Oracle] = {
    "rmse": lambda a, w: sk.root_mean_squared_error(a.y, a.value, sample_weight=w),
    "mae": lambda a, w: sk.mean_absolute_error(a.y, a.value, sample_weight=w),
    "r2": lambda a, w: sk.r2_score(a.y, a.value, sample_weight=w),
}
CASES = [
    *((binary, name, oracle) for name, oracle in BINARY.items()),
    *((several_classes, name, oracle) for name, oracle in SEVERAL.items()),
    *((values, name, oracle) for name, oracle in VALUES.items()),
]


@pytest.mark.parametrize(("make", "name", "oracle"), CASES, ids=[f"{m.__name__}-{n}" for m, n, _ in CASES])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_metric_equals_scikit_learns_under_weights(
    make: Callable[[int], Answers], name: str, oracle: Oracle, seed: int
):
    answers = make(seed)
    weights = np.random.default_rng(seed + 1).integers(0, 4, len(answers)).astype(float)
    weights[:4] = 1  # every class counts
    metric = metrics_for(answers.task)[name]

    figures = metric.prepare(answers, Clusters.single_rows(len(answers)))(np.stack([np.ones(len(answers)), weights]))

    assert figures == pytest.approx([oracle(answers, np.ones(len(answers))), oracle(answers, weights)], rel=1e-9)


@pytest.mark.parametrize("make", [binary, several_classes, values])
def test_drawing_a_cluster_twice_is_the_same_as_having_its_rows_twice(make: Callable[[int], Answers]):
    answers = make(7)
    groups = np.arange(len(answers)) % 5
    twice = np.concatenate([np.arange(len(answers)), np.flatnonzero(groups == 3)])
    doubled = Answers(
        answers.task,
        answers.y[twice],
        probabilities=answers.probabilities[twice] if len(answers.probabilities) else answers.probabilities,
        value=answers.value[twice] if len(answers.value) else answers.value,
        interval=None if answers.interval is None else answers.interval[twice],
        threshold=answers.threshold,
    )

    for name, metric in metrics_for(answers.task).items():
        if name == "adaptive_ece":  # its bins follow the rows that are there
            continue
        weighted = metric.prepare(answers, Clusters.of(groups))(np.array([[1.0, 1, 1, 2, 1]]))
        plain = metric.prepare(doubled, Clusters.single_rows(len(twice)))(np.ones((1, len(twice))))
        assert weighted == pytest.approx(plain, rel=1e-12), name


def test_expected_calibration_error_of_a_hand_calculation():
    # Two bins: 0.2 claimed, 1 of 4 came true (gap 0.05, weight 4/6); 0.9 claimed, 1 of 2 (gap 0.4, weight 2/6).
    yes = np.array([0.2, 0.2, 0.2, 0.2, 0.9, 0.9])
    answers = Answers("binary", np.array([1, 0, 0, 0, 1, 0]), probabilities=np.column_stack([1 - yes, yes]))
    clusters = Clusters.single_rows(6)

    for name in ("ece", "adaptive_ece"):
        figure = metrics_for("binary", bins=2)[name].prepare(answers, clusters)(np.ones((1, 6)))
        assert figure == pytest.approx([4 / 6 * 0.05 + 2 / 6 * 0.4]), name


def test_calibration_error_of_several_classes_is_that_of_the_answered_class():
    # Three rows answered with confidence 0.6, two of them rightly: |2/3 - 0.6|.
    probabilities = np.array([[0.6, 0.3, 0.1], [0.1, 0.6, 0.3], [0.6, 0.2, 0.2]])
    answers = Answers("multiclass", np.array([0, 1, 2]), probabilities=probabilities)

    figure = metrics_for("multiclass")["ece"].prepare(answers, Clusters.single_rows(3))(np.ones((1, 3)))

    assert figure == pytest.approx([2 / 3 - 0.6])


def test_coverage_counts_values_on_the_bounds():
    answers = Answers(
        "regression",
        np.array([1.0, 2.0, 3.0, 4.0]),
        value=np.array([1.0, 2.0, 3.0, 9.0]),
        interval=np.array([[1.0, 2], [1, 2], [2.5, 3.5], [8, 10]]),
        coverage=0.9,
    )
    metrics, clusters = metrics_for("regression"), Clusters.single_rows(4)

    assert metrics["interval_coverage"].prepare(answers, clusters)(np.ones((1, 4))) == pytest.approx([0.75])
    assert metrics["interval_width"].prepare(answers, clusters)(np.ones((1, 4))) == pytest.approx([1.25])


def test_a_resample_without_one_class_has_no_auc():
    answers = binary(3, rows=10)
    only_negatives = (answers.y == 0).astype(float)

    for name in ("roc_auc", "average_precision"):
        figure = metrics_for("binary")[name].prepare(answers, Clusters.single_rows(10))(only_negatives[None, :])
        assert np.isnan(figure).all(), name
