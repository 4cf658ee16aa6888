"""The reliability table: what was claimed beside what came true, bin by bin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aforo.evaluation.answers import Answers
from aforo.evaluation.metrics.probability import claims, equal_width_edges
from aforo.evaluation.metrics.statistic import Floats

# Two-sided 95 % of the normal distribution.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width that hold at least one row, by rising claim.

    Attributes
    ----------
    claimed, observed
        Mean claimed probability, and share that came true, shape (B,).
    lower, upper
        95 % interval of ``observed`` by Wilson's score, shape (B,); rows are taken as independent.
    rows
        Number of rows, shape (B,).
    """

    claimed: Floats
    observed: Floats
    lower: Floats
    upper: Floats
    rows: Floats


def reliability(answers: Answers, bins: int = 15) -> Reliability:
    """Return the reliability table of the positive class, or of the answered class where there are several.

    References
    ----------
    Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    claimed, came_true = claims(answers)
    bin_of = np.searchsorted(equal_width_edges(bins), claimed, side="left")
    rows = np.bincount(bin_of, minlength=bins).astype(np.float64)
    filled = rows > 0
    n = rows[filled]
    observed = np.bincount(bin_of, came_true, bins)[filled] / n
    centre = (observed + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(observed * (1 - observed) / n + _Z**2 / (4 * n**2))
    means = np.bincount(bin_of, claimed, bins)[filled] / n
    return Reliability(means, observed, np.maximum(0, centre - half), np.minimum(1, centre + half), n)
