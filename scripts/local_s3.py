"""A real S3 store as a process: SeaweedFS on a folder, for tests and benchmarks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

_PARTS = ("master", "volume", "filer", "s3")


class SeaweedFS:
    """The store, with the same ports at each start.

    Parameters
    ----------
    folder
        Where its data and its log are; made if it is not there.

    Attributes
    ----------
    endpoint
        URL of its S3 API.
    """

    def __init__(self, folder: Path, *, access_key: str, secret_key: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        free = free_ports(2 * len(_PARTS))
        self._ports = dict(zip(_PARTS, free[: len(_PARTS)], strict=True))
        self._grpc = dict(zip(_PARTS, free[len(_PARTS) :], strict=True))
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"http://127.0.0.1:{self._ports['s3']}"
        credentials = {"accessKey": access_key, "secretKey": secret_key}
        identity = {
            "name": "local",
            "credentials": [credentials],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        command = [str(Path(sys.executable).parent / "weed"), "server", "-filer", "-s3", f"-dir={folder}"]
        command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={folder / 's3.json'}"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false", "-master.telemetry=false"]
        command += ["-master.volumeSizeLimitMB=64", "-volume.max=200"]
        command += [f"-{part}.port={port}" for part, port in self._ports.items()]
        command += [f"-{part}.port.grpc={port}" for part, port in self._grpc.items()]
        self._command = command

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        wait_until_it_answers(f"{self.endpoint}/status", self._process, self._log)

    def kill(self) -> None:
        """End it at once: an orderly end takes seconds."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        for part in _PARTS:
            Path(f"/tmp/seaweedfs-{part}-grpc-{self._grpc[part]}.sock").unlink(missing_ok=True)
            Path(f"/tmp/seaweedfs-{part}-{self._ports[part]}.sock").unlink(missing_ok=True)


def make_bucket(endpoint: str, name: str, *, access_key: str, secret_key: str) -> None:
    """Make a bucket in any S3 store."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
    )
    client.create_bucket(Bucket=name)


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path, timeout_s: float = 60) -> None:
    """Wait for an answer, whatever its status.

    Raises
    ------
    RuntimeError
        The server has ended, or the time is over; with the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{url} does not answer:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.05)
