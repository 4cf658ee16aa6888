"""The reliability table: what was claimed beside what came true, bin by bin, and what that does to the Brier score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aforo.contracts.specification import Specification
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


class ReliabilityPoint(Specification):
    """One bin: what was claimed on average, what came true, with its 95 % interval, and of how many rows."""

    claimed: float
    observed: float
    lower: float
    upper: float
    rows: int


class ReliabilityCurve(Specification):
    """The reliability table as a report carries it.

    Attributes
    ----------
    of
        The class whose probability it is; ``None`` for that of the answered class, where there are several.
    """

    of: str | None
    points: tuple[ReliabilityPoint, ...]


def reliability_curve(answers: Answers, classes: Sequence[str], bins: int = 15) -> ReliabilityCurve:
    """Return :func:`reliability` as it is stored."""
    table = reliability(answers, bins)
    columns = (table.claimed, table.observed, table.lower, table.upper, table.rows)
    return ReliabilityCurve(
        of=classes[1] if answers.task == "binary" else None,
        points=tuple(
            ReliabilityPoint(claimed=claimed, observed=observed, lower=lower, upper=upper, rows=int(rows))
            for claimed, observed, lower, upper, rows in zip(*(column.tolist() for column in columns), strict=True)
        ),
    )


class BrierParts(Specification):
    """A Brier score taken apart: reliability - resolution + uncertainty + within_bins.

    Attributes
    ----------
    reliability
        What miscalibration costs; 0 is best, and what a calibrator could still win.
    resolution
        What telling the rows apart gains; a calibrator cannot win it, only a better model.
    uncertainty
        The score of always claiming the share: a property of the rows.
    within_bins
        What the bins hide: claims of one bin differ. Small with many bins.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float


class ClassCalibration(Specification):
    """How honest the probability of one class is.

    Attributes
    ----------
    label
        The class, against the rest.
    share, claimed
        Share of the rows that are of the class, and mean claim.
    ece
        Expected calibration error over bins of equal width.
    """

    label: str
    share: float
    claimed: float
    ece: float
    brier: BrierParts


def brier_parts(answers: Answers, bins: int = 15) -> BrierParts:
    """Return the parts of the Brier score of a binary task's positive class.

    References
    ----------
    Murphy, A new vector partition of the probability score, Journal of Applied Meteorology 12, 1973.
    Stephenson, Coelho and Jolliffe, Two extra components in the Brier score decomposition, Weather and Forecasting 23,
    2008 (what is within the bins).
    """
    table = reliability(answers, bins)
    claimed, came_true = claims(answers)
    weights, share = table.rows / table.rows.sum(), float(came_true.mean())
    score = float(np.mean((claimed - came_true) ** 2))
    cost = float(np.sum(weights * (table.claimed - table.observed) ** 2))
    gain = float(np.sum(weights * (table.observed - share) ** 2))
    uncertainty = share * (1 - share)
    return BrierParts(
        score=score,
        reliability=cost,
        resolution=gain,
        uncertainty=uncertainty,
        within_bins=score - (cost - gain + uncertainty),
    )


def class_calibration(answers: Answers, classes: Sequence[str], bins: int = 15) -> tuple[ClassCalibration, ...]:
    """Return how honest the probability of each class is: of the positive one only, where there are two."""
    found = []
    for position, label in list(enumerate(classes))[1 if answers.task == "binary" else 0 :]:
        p = answers.probabilities[:, position]
        alone = Answers("binary", (answers.y == position).astype(np.int64), probabilities=np.column_stack([1 - p, p]))
        table = reliability(alone, bins)
        found.append(
            ClassCalibration(
                label=label,
                share=float(alone.y.mean()),
                claimed=float(p.mean()),
                ece=float(np.sum(table.rows * np.abs(table.claimed - table.observed)) / len(alone)),
                brier=brier_parts(alone, bins),
            )
        )
    return tuple(found)
