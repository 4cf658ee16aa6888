"""No calibration: the estimator's probabilities as they are."""

from __future__ import annotations

from typing import Literal

from typing_extensions import override

from aforo.graph import Graph
from aforo.models.calibration.calibrator import Calibrator, Matrix


class NoCalibration(Calibrator):
    """Probabilities unchanged. Best where the estimator minimised the log loss on enough rows."""

    kind: Literal["none"] = "none"

    @property
    def method(self) -> str:
        return self.kind

    def apply(self, outputs: Matrix) -> dict[str, Matrix]:
        return {"probabilities": outputs}

    @override
    def add_to(self, graph: Graph, tensor: str) -> dict[str, str]:
        return {"probabilities": tensor}
