"""The plots of one predictor on the test part, as a data scientist sees them in MLflow."""

from __future__ import annotations

from aforo.evaluation import Answers
from aforo.use_case import UseCase


def pictures_of(use_case: UseCase, before: Answers, after: Answers) -> dict[str, bytes]:
    """Return name to PNG.

    Parameters
    ----------
    before, after
        The predictor without and with its calibrator, on the same rows.
    """
    # matplotlib takes a second to load, and every command would wait for it.
    from aforo.evaluation.plots import confusion_matrix, predicted_and_true, ranking_curves, reliability_diagram

    if use_case.task.kind == "regression":
        target = use_case.data.target
        return {"predicted_and_true": predicted_and_true(after, target=target.name, unit=target.unit)}
    pictures = {"reliability": reliability_diagram(before, after, bins=use_case.evaluation.ece_bins)}
    if use_case.task.kind == "binary":
        return {**pictures, "ranking": ranking_curves({"calibrated": after})}
    return {**pictures, "confusion": confusion_matrix(after, use_case.classes)}
