"""Candidates: the kinds of model that compete. One a file; a new one is a file and a line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aforo.models.estimators.boosted_trees import BoostedTreesSpec
from aforo.models.estimators.estimator import Estimator, Examples, Target, Task
from aforo.models.estimators.historical_rate import HistoricalRateSpec
from aforo.models.estimators.linear import LinearSpec
from aforo.models.estimators.neural_network import NeuralNetworkSpec
from aforo.models.estimators.quantized_network import QuantizedNetworkSpec

CandidateSpec = Annotated[
    HistoricalRateSpec | LinearSpec | BoostedTreesSpec | NeuralNetworkSpec | QuantizedNetworkSpec,
    Field(discriminator="kind"),
]

__all__ = [
    "BoostedTreesSpec",
    "CandidateSpec",
    "Estimator",
    "Examples",
    "HistoricalRateSpec",
    "LinearSpec",
    "NeuralNetworkSpec",
    "QuantizedNetworkSpec",
    "Target",
    "Task",
]
