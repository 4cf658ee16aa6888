"""BentoML with its adaptive batching on, running the same graph.

Runs in an environment of its own; see others.txt. Started by ``bentoml serve bento:Predictions``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml
from graph import BatchPredictor


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False}, traffic={"timeout": 60})
class Predictions:
    def __init__(self) -> None:
        self.predictor = BatchPredictor(Path(os.environ["BENCHMARK_BUNDLE"]))

    @bentoml.api(batchable=True, max_batch_size=10_000, max_latency_ms=60_000)
    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, float]]:
        return self.predictor.predict([rows])[0]
