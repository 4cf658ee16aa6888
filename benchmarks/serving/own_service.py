"""Our service as a process on the first core, where its shipper runs too, with or without the prediction log."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from load_client import ask

_START_S = 60
_PROGRAM = """
import sys
from pathlib import Path
from aforo.monitoring.spool import SpoolOptions
from prediction_api.options import ServeOptions
from prediction_api.server import serve
port, home, spool = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
serve(ServeOptions(
    port=port, mirror=home / "mirror", signing_key_file=home / "signing.key", follow_registry=False,
    log=SpoolOptions(folder=Path(spool), rotate_s=5) if spool else None,
))
"""


class OwnService(NamedTuple):
    port: int
    process: subprocess.Popen[bytes]
    """Leads a session of its own, which all of the service's processes are in."""


@contextlib.contextmanager
def own_service(home: Path, *, spool: Path | None, environment: Mapping[str, str]) -> Iterator[OwnService]:
    """Run the service over the local copy in ``home`` until the end of the block; what is left in the spool stays.

    Parameters
    ----------
    spool
        Where predictions are recorded; ``None`` for nowhere.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["taskset", "-c", "0", sys.executable, "-c", _PROGRAM, str(port), str(home.absolute()), str(spool or "")]
    process = subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    try:
        end = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError):
                if b" 200 " in ask(port, b"GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[0]:
                    break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the service does not answer")
            time.sleep(0.05)
        yield OwnService(port, process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
