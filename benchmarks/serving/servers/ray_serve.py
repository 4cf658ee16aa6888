"""Ray Serve with its batching on, running the same graph.

Runs in an environment of its own; see others.txt.
"""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

import ray
from graph import BatchPredictor
from ray import serve

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--bundle", type=Path, required=True)


@serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0})
class Predictions:
    def __init__(self, bundle):
        self.predictor = BatchPredictor(bundle)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.001)
    async def predict(self, requests):
        return self.predictor.predict(requests)

    async def __call__(self, request):
        return {"predictions": await self.predict((await request.json())["rows"])}


if __name__ == "__main__":
    arguments = parser.parse_args()
    here = str(Path(__file__).parent)
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        runtime_env={"env_vars": {"PYTHONPATH": here}},
        log_to_driver=False,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": arguments.port}, logging_config={"enable_access_log": False})
    serve.run(Predictions.bind(arguments.bundle), route_prefix="/predict")
    signal.pause()
