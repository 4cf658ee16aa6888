"""A runtime for MLServer (Open Inference Protocol) that runs the same graph; its adaptive batching joins the tensors.

Runs in an environment of its own; see others.txt. The benchmark writes the two settings files that MLServer wants.
"""

from __future__ import annotations

from pathlib import Path

from graph import BatchPredictor
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class FlightDelay(MLModel):
    async def load(self) -> bool:
        self.predictor = BatchPredictor(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = {}
        for tensor in payload.inputs:
            values = tensor.data.root if hasattr(tensor.data, "root") else tensor.data
            if tensor.datatype == "BYTES":
                values = [value.decode() if isinstance(value, bytes) else value for value in values]
            given[tensor.name] = values
        yes = self.predictor.probabilities(self.predictor.columns_of(given))[:, 1]
        output = ResponseOutput(name="yes", shape=[len(yes), 1], datatype="FP64", data=yes.tolist())
        return InferenceResponse(model_name=self.name, outputs=[output])
