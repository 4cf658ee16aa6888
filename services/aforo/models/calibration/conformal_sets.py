"""Split conformal sets: as many labels as it takes to hold the true one with the stated probability.

Those labels whose uncalibrated probability is at least a threshold: a quantile of the probabilities that the true
labels of the calibration part got (the least ambiguous set-valued classifier, LAC). Uncalibrated, because a calibrator
has seen those very rows, and the guarantee needs probabilities that have not.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from aforo.contracts.prediction import LabelSets
from aforo.errors import TrainingError
from aforo.models.calibration.calibrator import Matrix


def fit_sets(outputs: Matrix, y: npt.NDArray[np.int64], *, coverage: float) -> LabelSets:
    """Fit to uncalibrated probabilities (N, K) and class indices (N,) of the calibration part.

    If the rows to come are exchangeable with these, the set holds the true label with probability ``coverage`` or more,
    and, where no two rows tie, with less than 1 / (N + 1) more, whatever the model.

    Raises
    ------
    TrainingError
        There are too few rows for this coverage: every set would hold every label.

    References
    ----------
    Sadinle, Lei and Wasserman, Least Ambiguous Set-Valued Classifiers with Bounded Error Levels, JASA 114, 2019.
    """
    of_the_truth = outputs[np.arange(len(y)), y]
    distance = conformal_quantile(1.0 - of_the_truth, coverage, what="a set of labels")
    # The probability itself, and not one minus one minus it, which can be another number.
    threshold = float(of_the_truth[1.0 - of_the_truth <= distance].min())
    return LabelSets(coverage=coverage, threshold=threshold, calibration_rows=len(y))


def label_sets(rule: LabelSets, outputs: Matrix) -> npt.NDArray[np.bool_]:
    """Return which labels are in the set of each row, shape (N, K), from uncalibrated probabilities (N, K)."""
    return np.asarray(outputs >= rule.threshold)


def conformal_quantile(errors: npt.NDArray[np.float64], coverage: float, *, what: str) -> float:
    """Return the error that a new row, exchangeable with these (N,), stays within with probability ``coverage``.

    Raises
    ------
    TrainingError
        There are too few rows for this coverage: the error would be infinite.
    """
    # The ceil((n + 1) * coverage)-th smallest of n errors; 1e-9 is for coverages such as 0.9 in binary.
    rank = math.ceil((len(errors) + 1) * coverage - 1e-9)
    if rank > len(errors):
        needed = math.ceil(coverage / (1.0 - coverage) - 1e-9)
        raise TrainingError(
            f"{what} of coverage {coverage:g} needs {needed} calibration rows or more, got {len(errors)}",
            hint="give the calibration part a larger share, or lower the coverage",
        )
    return float(np.partition(errors, rank - 1)[rank - 1])
