"""From a graph's outputs to answers: which class, and whether to answer at all. NumPy only: every server uses it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from aforo.contracts.prediction import PHASES, PredictionContract

LOW_CONFIDENCE = "low_confidence"
WIDE_INTERVAL = "wide_interval"
NOT_FINITE = "not_finite"
ABSTAIN_REASONS = {
    LOW_CONFIDENCE: "the highest probability is below the contract's abstain_below",
    WIDE_INTERVAL: "the interval is wider than the contract's abstain_above",
    NOT_FINITE: "the row's numbers are so large that the outputs are not finite",
}

Answers = dict[str, npt.NDArray[np.float64] | npt.NDArray[np.object_]]


def chosen(probabilities: npt.NDArray[np.float64], contract: PredictionContract) -> npt.NDArray[np.intp]:
    """Return the place of each row's label, shape (N,).

    A binary task answers its positive class from the contract's threshold on, several classes the most probable
    one (the first of equals).
    """
    if contract.task == "binary":
        return (probabilities[:, 1] >= contract.threshold).astype(np.intp)
    places: npt.NDArray[np.intp] = probabilities.argmax(axis=1)
    return places


def phases(output: npt.NDArray[np.float64]) -> npt.NDArray[np.object_]:
    """Return which phase spoke for each row, shape (N,), from the output ``phase`` (N, 1)."""
    return np.array(PHASES, dtype=object)[output[:, 0].astype(np.intp)]


def answer_columns(outputs: Mapping[str, npt.NDArray[np.float64]], contract: PredictionContract) -> Answers:
    """Return a table's answers as columns of shape (N,).

    Parameters
    ----------
    outputs
        Of the graph, shape (N, K) each.

    Returns
    -------
    dict
        Classes: ``probability_<class>`` for each, and ``label``. Regression: ``value``, ``lower``, ``upper``.
        Two phases: ``phase``, one of `PHASES`. All: ``abstain_reason``, one of `ABSTAIN_REASONS`; ``None`` with an
        answer. A row that abstains has no label, or NaN for its value, and one whose outputs are not finite has NaN
        throughout.
    """
    if contract.task == "regression":
        table = np.concatenate([outputs["value"], outputs["interval"]], axis=1)
        answers: Answers = dict(zip(("value", "lower", "upper"), table.T, strict=True))
        unknown = ~np.isfinite(table).all(axis=1)
        abstains = {NOT_FINITE: unknown}
        if contract.abstain_above is not None:
            wide = ~unknown & (table[:, 2] - table[:, 1] > contract.abstain_above)
            abstains[WIDE_INTERVAL] = wide
            answers["value"] = np.where(wide, np.nan, table[:, 0])
    else:
        table = outputs["probabilities"]
        answers = {f"probability_{label}": table[:, k] for k, label in enumerate(contract.classes)}
        confidences = table.max(axis=1)
        unknown = np.isnan(confidences)
        abstains = {NOT_FINITE: unknown, LOW_CONFIDENCE: ~unknown & (confidences < (contract.abstain_below or 0.0))}
        answers["label"] = np.array(contract.classes, dtype=object)[chosen(table, contract)]
        if "phase" in outputs:
            answers["phase"] = phases(outputs["phase"])
    reasons = np.full(len(table), None, dtype=object)
    for reason, where in abstains.items():
        reasons[where] = reason
        if "label" in answers:
            answers["label"][where] = None
    answers["abstain_reason"] = reasons
    return answers
