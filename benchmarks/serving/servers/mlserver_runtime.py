"""A runtime for MLServer (Open Inference Protocol) that runs the same graph; its adaptive batching joins the tensors.

Runs in an environment of its own; see others.txt. The benchmark writes the two settings files that MLServer wants.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from graph import BatchPredictor
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class FlightDelay(MLModel):
    async def load(self) -> bool:
        self.predictor = BatchPredictor(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = {name for name, is_text in self.predictor.columns if is_text}
        columns = {}
        for tensor in payload.inputs:
            values = tensor.data.root if hasattr(tensor.data, "root") else tensor.data
            if tensor.name in texts:
                decoded = [value.decode() if isinstance(value, bytes) else value for value in values]
                columns[tensor.name] = np.array(decoded, dtype=object).reshape(-1, 1)
            else:
                columns[tensor.name] = np.array(values, dtype=np.float64).reshape(-1, 1)
        yes = self.predictor.probabilities(columns)[:, 1]
        output = ResponseOutput(name="yes", shape=[len(yes), 1], datatype="FP64", data=yes.tolist())
        return InferenceResponse(model_name=self.name, outputs=[output])
