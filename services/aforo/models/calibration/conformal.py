"""Split conformal intervals: a band around a regression's value that holds the stated share of true values."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from aforo.errors import TrainingError
from aforo.graph import Graph
from aforo.models.calibration.calibrator import Calibrator, Matrix


class ConformalInterval(Calibrator):
    """Value plus and minus a quantile of the absolute errors on the calibration part.

    If the rows to come are exchangeable with those of the calibration part, the interval holds the true
    value with probability ``coverage`` or more, whatever the model. The band has the same width for every row.

    Attributes
    ----------
    coverage
        Share (0-1) of true values that the interval is meant to hold.
    half_width
        In the target's unit.

    References
    ----------
    Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005.
    Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, Distribution-free predictive inference for regression, JASA 2018.
    """

    kind: Literal["conformal"] = "conformal"
    coverage: Annotated[float, Field(gt=0, lt=1)]
    half_width: Annotated[float, Field(ge=0)]

    @classmethod
    def fit(cls, outputs: Matrix, y: npt.NDArray[np.float64], *, coverage: float) -> Self:
        """Fit to values (N, 1) and true values (N,).

        Raises
        ------
        TrainingError
            There are too few rows for this coverage: the interval would be infinite.
        """
        errors = np.sort(np.abs(y - outputs[:, 0]))
        # The ceil((n + 1) * coverage)-th smallest of n errors; 1e-9 is for coverages such as 0.9 in binary.
        rank = math.ceil((len(errors) + 1) * coverage - 1e-9)
        if rank > len(errors):
            needed = math.ceil(coverage / (1.0 - coverage) - 1e-9)
            raise TrainingError(
                f"an interval of coverage {coverage:g} needs {needed} calibration rows or more, got {len(errors)}",
                hint="give the calibration part a larger share, or lower the coverage",
            )
        return cls(coverage=coverage, half_width=float(errors[rank - 1]))

    @property
    def method(self) -> str:
        return self.kind

    def apply(self, outputs: Matrix) -> dict[str, Matrix]:
        return {"value": outputs, "interval": outputs + np.array([[-self.half_width, self.half_width]])}

    def add_to(self, graph: Graph, tensor: str) -> dict[str, str]:
        band = graph.constant([[-self.half_width, self.half_width]])
        return {"value": tensor, "interval": graph.add("Add", tensor, band)}
