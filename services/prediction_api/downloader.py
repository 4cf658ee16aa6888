"""The one process that knows MLflow: it keeps the local copy up to date, and nothing else.

Started by the supervisor as ``python -m prediction_api.downloader <order as JSON>``. With the registry down it says so
in the copy's ``status.json``, and asks again.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TypedDict

from aforo import logs
from aforo.errors import AforoError
from aforo.registry.mirror import Mirror
from aforo.registry.signing import signing_key
from aforo.registry.versions import Versions
from aforo.settings import Settings

logger = logging.getLogger("prediction_api.downloader")

_LOOK_S = 0.2


class Order(TypedDict):
    """What the supervisor asks for.

    Attributes
    ----------
    warm
        ``[model, version]`` pairs to fetch although no alias points at them.
    """

    mirror: str
    signing_key_file: str
    models: list[str] | None
    warm: list[list[str]]
    poll_s: float


def main(order: Order) -> None:
    """Copy until the supervisor is gone."""
    settings = Settings.from_environment()
    logs.configure(settings.log_format)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parent = os.getppid()
    folder = Path(order["mirror"])
    mirror = Mirror(folder, key=signing_key(Path(order["signing_key_file"])))
    registry: Versions | None = None
    trouble: str | None = None
    _want(folder, order["warm"])
    while os.getppid() == parent:
        try:
            registry = registry or Versions(settings)
            mirror.sync(registry, order["models"])
            if trouble is not None:
                logger.info("the registry answers again")
            trouble = None
        except AforoError as error:
            if error.message != trouble:
                logger.warning("the local copy is not up to date", extra={"reason": error.message})
            trouble = error.message
        _wait(folder / "wanted", order["poll_s"], parent)


def _want(folder: Path, versions: list[list[str]]) -> None:
    for model, version in versions:
        if not (folder / model / version).exists():
            (folder / "wanted").mkdir(parents=True, exist_ok=True)
            (folder / "wanted" / f"{model}@{version}").touch()


def _wait(wanted: Path, seconds: float, parent: int) -> None:
    """Wait for ``seconds``, or until a worker asks for a version."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and os.getppid() == parent:
        if wanted.is_dir() and any(wanted.iterdir()):
            return
        time.sleep(_LOOK_S)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
