"""LitServe with its batching on, running the same graph: the fastest Python server with batching that we know of.

Runs in an environment of its own that has litserve, onnxruntime and numpy; see README.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import litserve
import numpy as np
import onnxruntime

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--bundle", type=Path, required=True)
arguments = parser.parse_args()


class Predictions(litserve.LitAPI):
    def setup(self, device):  # noqa: ARG002
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(arguments.bundle / "predictor.onnx"), options)
        contract = json.loads((arguments.bundle / "bundle.json").read_text())["contract"]
        self.columns = [(column["name"], column["type"] == "string") for column in contract["inputs"]]

    def decode_request(self, request):
        return request["rows"]

    def batch(self, requests):
        return requests

    def predict(self, requests):
        rows = [row for request in requests for row in request]
        inputs = {
            name: np.array([[row[name]] for row in rows], dtype=object if is_text else np.float64)
            for name, is_text in self.columns
        }
        probabilities = self.session.run(["probabilities"], inputs)[0].tolist()
        answers, start = [], 0
        for request in requests:
            answers.append(probabilities[start : start + len(request)])
            start += len(request)
        return answers

    def unbatch(self, answers):
        return answers

    def encode_response(self, answer):
        return {"predictions": [{"no": no, "yes": yes} for no, yes in answer]}


if __name__ == "__main__":
    api = Predictions(max_batch_size=32, batch_timeout=0.001)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        port=arguments.port, log_level="warning", generate_client_file=False, num_api_servers=1
    )
