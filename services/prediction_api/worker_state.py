"""What the workers tell each other: one small file each in the run folder, replaced once a second.

Whichever worker is asked can so answer for all: which version each serves, and the sum of all counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from prediction_api.metrics import Metrics
from prediction_api.served_models import ServedModels


class WorkerStates:
    """The run folder as one worker sees it.

    Parameters
    ----------
    folder
        Made by the supervisor, gone with it.
    """

    def __init__(self, folder: Path) -> None:
        self.worker = 0
        self._folder = folder
        self._path = folder / "worker-0.json"

    def become(self, worker: int, metrics: Metrics) -> None:
        """Be worker number ``worker`` from now on, and count on from where the one before it had come to."""
        self.worker = worker
        self._path = self._folder / f"worker-{worker}.json"
        if self._path.exists():
            metrics.resume(json.loads(self._path.read_bytes())["metrics"])

    def publish(self, models: ServedModels, metrics: Metrics) -> None:
        """Leave this worker's state for the others."""
        state = {
            "worker": self.worker,
            "pid": os.getpid(),
            "live": {
                model.name: {alias: served.version for alias, served in model.live.items()}
                for model in models.models.values()
            },
            "metrics": metrics.snapshot(),
        }
        partial = self._path.with_suffix(".partial")
        partial.write_bytes(orjson.dumps(state))
        partial.replace(self._path)

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the state of each worker, in order of number."""
        for path in sorted(self._folder.glob("worker-*.json"), key=lambda path: int(path.stem.partition("-")[2])):
            yield json.loads(path.read_bytes())


def is_alive(pid: int) -> bool:
    """Whether the process is there."""
    return Path(f"/proc/{pid}").exists()
