"""The bundle's graph as the other servers run it: one session, one thread, the requests of a batch in one call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class BatchPredictor:
    """Predicts the rows of several requests together.

    Parameters
    ----------
    bundle
        Folder with ``predictor.onnx`` and ``bundle.json``.
    """

    def __init__(self, bundle: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(bundle / "predictor.onnx"), options)
        contract = json.loads((bundle / "bundle.json").read_text())["contract"]
        self.texts = [column["name"] for column in contract["inputs"] if column["type"] == "string"]
        self.numbers = json.loads(self._session.get_modelmeta().custom_metadata_map["number_columns"])

    def columns_of(self, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
        texts = {name: np.array([[row[name]] for row in rows], dtype=object) for name in self.texts}
        return {**texts, "_numbers": np.array([[row[name] for name in self.numbers] for row in rows], np.float64)}

    def probabilities(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Return an array of shape (N, 2) from one of shape (N, 1) for each text and one of (N, k) for all numbers."""
        return self._session.run(["probabilities"], columns)[0]

    def predict(self, requests: list[list[dict[str, Any]]]) -> list[list[dict[str, float]]]:
        """Return one list of ``{"no": ..., "yes": ...}`` a request."""
        rows = [row for request in requests for row in request]
        found = [{"no": no, "yes": yes} for no, yes in self.probabilities(self.columns_of(rows)).tolist()]
        answers, start = [], 0
        for request in requests:
            answers.append(found[start : start + len(request)])
            start += len(request)
        return answers
