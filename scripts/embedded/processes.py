"""Start processes so that none is ever left behind, and say in a line what happens."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)


class CannotStart(Exception):
    """What was asked for cannot be done now; the message says why, and what to do."""


def say(sentence: str) -> None:
    """Tell the person who is waiting."""
    print(f"aforo: {sentence}", file=sys.stderr, flush=True)


@contextmanager
def started(
    command: Sequence[str | Path], environment: Mapping[str, str], *, keep: Sequence[int] = (), **streams: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has ended when the block has.

    It leads a session of its own, because Ctrl-C reaches every process of a terminal's foreground group at once: here
    it reaches us alone, and we end the others in good order.

    Parameters
    ----------
    keep
        Files that it holds open as long as it lives.
    """
    with subprocess.Popen(
        command, env=environment, start_new_session=True, pass_fds=keep, preexec_fn=_end_with_parent, **streams
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                end(process.pid)


def _end_with_parent() -> None:
    """Ask Linux for a SIGKILL when our parent ends, however it ends: who was killed can end nobody.

    Airflow would take a SIGTERM for a failed task, and wait to try it again. The step that it was at ends by itself.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def quietly(command: Sequence[str | Path], environment: Mapping[str, str], log: IO[bytes]) -> int:
    """Run a command with all it says in ``log``, and return its exit code."""
    with started(command, environment, stdout=log, stderr=log) as process:
        return process.wait()


def refuse_busy_port(port: int, word: str) -> None:
    """Raise ``CannotStart`` if another process listens on ``port`` of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            hint = f"make {word} PORT={port + 1}"
            raise CannotStart(f"port {port} of 127.0.0.1 cannot be used: {error.strerror}; try `{hint}`") from None


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end(pid: int) -> None:
    """Ask a process and all that it started to end, and insist after ten seconds."""
    try:
        process = psutil.Process(pid)
        everyone = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    _end(everyone)


def adopt_orphans() -> None:
    """Ask Linux to make this process the parent of every descendant whose own parent ends, in place of PID 1."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_descendants() -> None:
    """End everything that this process started, once :func:`adopt_orphans` was called.

    Airflow starts its tasks in sessions of their own, which a signal to a process group would miss. It may start one
    between our look and its end, and leave it an orphan: so we look until nobody is left.
    """
    while descendants := psutil.Process().children(recursive=True):
        _end(descendants)


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=10)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return  # it ended by itself in the meantime
