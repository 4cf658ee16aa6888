"""What chance alone does to a calibration figure: the part of it that no better calibration could remove."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aforo.evaluation.answers import Answers
from aforo.evaluation.metrics.probability import claims, equal_width_edges

_SIMULATIONS = 500
_DRAWS = 20_000


def largest_ece_by_chance(answers: Answers, *, bins: int, confidence: float, seed: int) -> float:
    """Return the calibration error that a perfectly calibrated predictor stays below with ``confidence``.

    On few rows the expected calibration error of even the true probabilities is far from 0. Outcomes
    are drawn from the claimed probabilities themselves, and their error measured, many times over.

    References
    ----------
    Bröcker and Smith, Increasing the Reliability of Reliability Diagrams, 2007 (consistency resampling).
    """
    claimed, _ = claims(answers)
    rng = np.random.default_rng(seed)
    order = np.argsort(np.searchsorted(equal_width_edges(bins), claimed, side="left"), kind="stable")
    bin_of = np.searchsorted(equal_width_edges(bins), claimed, side="left")[order]
    starts = np.append(0, np.flatnonzero(np.diff(bin_of)) + 1)
    sorted_claims = claimed[order]
    errors = np.empty(_SIMULATIONS)
    for simulation in range(_SIMULATIONS):
        gaps = (rng.random(len(claimed)) < sorted_claims) - sorted_claims
        errors[simulation] = np.abs(np.add.reduceat(gaps, starts)).sum() / len(claimed)
    return float(np.quantile(errors, confidence))


def largest_coverage_gap_by_chance(
    rows: int, coverage: float, *, confidence: float, seed: int, calibration_rows: int | None = None
) -> float:
    """Return how far the observed coverage of ``rows`` intervals or sets strays from nominal, with ``confidence``.

    Parameters
    ----------
    calibration_rows
        How many rows the intervals were calibrated on, which makes their true coverage stray, too; ``None`` for
        intervals that are exact.

    References
    ----------
    Vovk, Conditional validity of inductive conformal predictors, Machine Learning 92, 2013 (the beta distribution).
    """
    rng = np.random.default_rng(seed)
    true: float | NDArray[np.float64] = coverage
    if calibration_rows is not None:
        rank = int(np.ceil((calibration_rows + 1) * coverage - 1e-9))
        true = rng.beta(rank, calibration_rows + 1 - rank, size=_DRAWS)
    observed = rng.binomial(rows, true, size=_DRAWS) / rows
    return float(np.quantile(np.abs(observed - coverage), confidence))
