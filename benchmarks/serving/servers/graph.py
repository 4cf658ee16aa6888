"""The bundle's graph as the other servers run it: one session, one thread, the requests of a batch in one call."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
        facts = self._session.get_modelmeta().custom_metadata_map
        self._numbers, self._codes = json.loads(facts["number_columns"]), json.loads(facts["text_codes"])
        names = [column["name"] for column in contract["inputs"]]
        self._texts = [name for name in names if name not in self._numbers]

    def columns_of(self, values: dict[str, Sequence[Any]]) -> dict[str, np.ndarray]:
        """Return what the graph takes, from the N values of each column."""
        numbers = []
        for name in self._numbers:
            codes = self._codes.get(name)
            numbers.append(
                values[name]
                if codes is None
                else [codes["codes"].get(value, codes["otherwise"]) for value in values[name]]
            )
        texts = {name: np.array(values[name], dtype=object).reshape(-1, 1) for name in self._texts}
        return {**texts, "_numbers": np.ascontiguousarray(np.array(numbers, np.float64).T)}

    def probabilities(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Return an array of shape (N, 2)."""
        return self._session.run(["probabilities"], columns)[0]

    def predict(self, requests: list[list[dict[str, Any]]]) -> list[list[dict[str, float]]]:
        """Return one list of ``{"no": ..., "yes": ...}`` a request."""
        rows = [row for request in requests for row in request]
        columns = self.columns_of({name: [row[name] for row in rows] for name in (*self._numbers, *self._texts)})
        found = [{"no": no, "yes": yes} for no, yes in self.probabilities(columns).tolist()]
        answers, start = [], 0
        for request in requests:
            answers.append(found[start : start + len(request)])
            start += len(request)
        return answers
