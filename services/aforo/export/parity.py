"""Parity: how far a graph's outputs are from those of the objects it was made from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from aforo.errors import ExportError

# The largest difference that a graph may show; every graph here is far below it.
TOLERANCE = 1e-6

Outputs = Mapping[str, npt.NDArray[np.float64]]


def largest_difference(found: Outputs, expected: Outputs) -> float:
    """Return the largest absolute difference of any output; 0.0 without rows, infinite where one side is NaN.

    Raises
    ------
    ExportError
        The two have different outputs or shapes.
    """
    shapes = {name: value.shape for name, value in found.items()}
    if shapes != {name: value.shape for name, value in expected.items()}:
        raise ExportError(f"outputs {shapes} cannot be compared with { {k: v.shape for k, v in expected.items()} }")
    return max((_difference(found[name], expected[name]) for name in found), default=0.0)


def refuse_difference(found: Outputs, expected: Outputs, *, step: str, tolerance: float = TOLERANCE) -> float:
    """Return the largest difference, or raise ExportError naming ``step`` if it is above the tolerance."""
    difference = largest_difference(found, expected)
    if not difference <= tolerance:
        raise ExportError(
            f"{step}: the graph differs from the fitted objects by {difference:.3g}, more than {tolerance:g}",
            hint="this is a fault of the export, not of the data; please report it with the use case",
        )
    return difference


def _difference(found: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> float:
    if not found.size:
        return 0.0
    both_missing = np.isnan(found) & np.isnan(expected)
    difference = np.where(both_missing, 0.0, np.abs(found - expected))
    return float(np.inf) if np.isnan(difference).any() else float(difference.max())
