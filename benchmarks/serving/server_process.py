"""A server as a process: started on a free port, measured from outside, and ended with all that it started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
from contenders import Contender
from load_client import ask, post
from subject import Subject

_START_S = 180
# A server may want ports beside its own.
_PORTS_IN_A_ROW = 3


class Memory(NamedTuple):
    """Proportional set sizes: a page that several processes map counts for each with its share.

    Attributes
    ----------
    anonymous
        Without the pages of files. Those of libraries are shared with whoever else runs them just then, and count for
        less: some 20 MB here, which come and go with other work on the machine.
    """

    pss: float
    anonymous: float


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    port: int
    seconds_to_first_answer: float

    def processes(self) -> list[psutil.Process]:
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def memory_mb(self) -> Memory:
        """Return what all the server's processes take."""
        pss = anonymous = 0
        for process in self.processes():
            with contextlib.suppress(OSError, psutil.Error):
                _, *lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
                kib = {name: int(size.removesuffix("kB")) for name, _, size in (line.partition(":") for line in lines)}
                pss += kib["Pss"]
                anonymous += kib["Pss_Anon"]
        return Memory(pss / 1024, anonymous / 1024)


@contextlib.contextmanager
def running(contender: Contender, subject: Subject) -> Iterator[Server]:
    """Run a server until the end of the block; it has answered once."""
    port = _free_port()
    log_file = subject.folder / f"{contender.name}.log"
    with log_file.open("ab") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            [_with_port(part, port) for part in contender.command],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, **{name: _with_port(value, port) for name, value in contender.environment.items()}},
            cwd=contender.folder,
        )
        server = Server(process, port, 0.0)
        try:
            probe = post(contender.path, json.dumps(contender.body(subject.rows[:1])).encode(), contender.headers)
            while True:
                if process.poll() is not None or time.perf_counter() - started > _START_S:
                    raise RuntimeError(f"{contender.name} did not start:\n{log_file.read_text()[-3_000:]}")
                try:
                    status, answer = ask(port, probe)
                    if b" 200 " in status:
                        break
                    if b" 4" in status and b" 404 " not in status:
                        raise RuntimeError(f"{contender.name}: {status!r} {answer[:500]!r}")
                except OSError:
                    pass
                time.sleep(0.005)
            server.seconds_to_first_answer = time.perf_counter() - started
            yield server
        finally:
            _end(server)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return min(port, 65_535 - _PORTS_IN_A_ROW)


def _with_port(text: str, port: int) -> str:
    for beyond in range(1, _PORTS_IN_A_ROW):
        text = text.replace(f"{{port+{beyond}}}", str(port + beyond))
    return text.replace("{port}", str(port))


def _end(server: Server) -> None:
    """End the server's processes, those too that made a group of their own."""
    if server.process.poll() is not None:
        return
    processes = server.processes()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.process.pid, signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=20)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    server.process.wait()
