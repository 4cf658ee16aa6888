"""The predictor: encoder, estimator and calibrator as one function from raw rows to calibrated outputs."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from aforo.contracts.prediction import PredictionContract
from aforo.features.feature import Matrix
from aforo.models.calibration import Calibrator
from aforo.models.training import FittedCandidate


@dataclass(frozen=True, eq=False)
class Predictor:
    """What a graph must reproduce: raw rows in, the outputs of the prediction contract out."""

    contract: PredictionContract
    candidate: FittedCandidate
    calibrator: Calibrator

    def predict(self, table: pl.DataFrame) -> dict[str, Matrix]:
        """Return the outputs of the prediction contract for raw rows."""
        return self.calibrator.apply(self.candidate.outputs(table))
