"""Split conformal intervals: a band around a regression's value that holds the stated share of true values."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from aforo.graph import Graph
from aforo.models.calibration.calibrator import Calibrator, Matrix
from aforo.models.calibration.conformal_sets import conformal_quantile


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
        half_width = conformal_quantile(np.abs(y - outputs[:, 0]), coverage, what="an interval")
        return cls(coverage=coverage, half_width=half_width)

    @property
    def method(self) -> str:
        return self.kind

    def apply(self, outputs: Matrix) -> dict[str, Matrix]:
        return {"value": outputs, "interval": outputs + np.array([[-self.half_width, self.half_width]])}

    def add_to(self, graph: Graph, tensor: str) -> dict[str, str]:
        band = graph.constant([[-self.half_width, self.half_width]])
        return {"value": tensor, "interval": graph.add("Add", tensor, band)}
