"""The figures of merit, one family a file, all weighted so that a bootstrap costs seconds."""

from __future__ import annotations

from typing import Literal

from aforo.contracts.prediction import TaskKind
from aforo.evaluation.metrics.decisions import ACCURACY, MACRO_F1
from aforo.evaluation.metrics.probability import BRIER, LOG_LOSS, adaptive_ece, ece
from aforo.evaluation.metrics.ranking import AVERAGE_PRECISION, ROC_AUC
from aforo.evaluation.metrics.regression import COVERAGE, MAE, R2, RMSE, WIDTH
from aforo.evaluation.metrics.statistic import Metric, Statistic

__all__ = ["PRIMARY", "Metric", "MetricName", "Statistic", "metrics_for"]

MetricName = Literal[
    "roc_auc", "average_precision", "brier", "log_loss", "ece", "adaptive_ece", "accuracy", "macro_f1",
    "rmse", "mae", "r2", "interval_coverage", "interval_width",
]  # fmt: skip

PRIMARY: dict[TaskKind, MetricName] = {"binary": "brier", "multiclass": "brier", "regression": "rmse"}
"""What a task is judged by unless its use case says otherwise: proper scores, which reward honest probabilities."""


def metrics_for(task: TaskKind, *, bins: int = 15) -> dict[str, Metric]:
    """Return the metrics of a task by name; ``bins`` is for the calibration errors."""
    known = (
        ROC_AUC, AVERAGE_PRECISION, BRIER, LOG_LOSS, ece(bins), adaptive_ece(bins), ACCURACY, MACRO_F1,
        RMSE, MAE, R2, COVERAGE, WIDTH,
    )  # fmt: skip
    return {metric.name: metric for metric in known if task in metric.tasks}
