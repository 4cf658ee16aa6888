"""LitServe with its batching on, running the same graph.

Runs in an environment of its own; see others.txt.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import litserve
from graph import BatchPredictor

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--bundle", type=Path, required=True)
arguments = parser.parse_args()


class Predictions(litserve.LitAPI):
    def setup(self, device):  # noqa: ARG002
        self.predictor = BatchPredictor(arguments.bundle)

    def decode_request(self, request):
        return request["rows"]

    def batch(self, requests):
        return requests

    def predict(self, requests):
        return self.predictor.predict(requests)

    def unbatch(self, answers):
        return answers

    def encode_response(self, answer):
        return {"predictions": answer}


if __name__ == "__main__":
    api = Predictions(max_batch_size=32, batch_timeout=0.001)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        port=arguments.port, log_level="warning", generate_client_file=False, num_api_servers=1
    )
