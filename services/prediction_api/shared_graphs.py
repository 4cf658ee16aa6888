"""Large graphs are in memory once, however many workers answer with them.

Workers inherit what the supervisor has loaded before it forked them. What arrives later each worker loads for itself,
and a graph of hundreds of megabytes must not be there once a worker. So a process of its own checks the graph's digest
and writes its constants to a file, once (``python -m prediction_api.shared_graphs``), and all workers map that file::

    <local copy>/.mapped-<random>/<model>/<version>/<digest>/    gone with the service

That process alone ever holds the graph's bytes, and it ends. Other processes cannot write to the folder, so what was
checked is what is mapped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aforo.errors import AforoError, BundleRefused, SettingsError
from aforo.export.inference import MappedGraph, store_mapped
from aforo.registry.bundle import GRAPH, read_graph

_PREFIX = ".mapped-"
_LEAST_BYTES = 8 * 2**20
_STORE_S = 600


class SharedGraphs:
    """Gives each process a graph: the bytes of a small one, the mapped form of a large one.

    Parameters
    ----------
    local_copy
        Where bundles are, and on the same disk the mapped graphs.
    least_bytes
        A graph's file of this size or more is mapped. A smaller one costs each worker less than a start of the process
        that maps it is worth.

    Raises
    ------
    SettingsError
        The folder cannot be written to.
    """

    def __init__(self, local_copy: Path, *, least_bytes: int = _LEAST_BYTES) -> None:
        self._least_bytes = least_bytes
        self._local_copy = local_copy
        try:
            local_copy.mkdir(parents=True, exist_ok=True)
            _remove_what_nobody_uses(local_copy)
            self._folder, self._used = _make_folder(local_copy)
        except OSError as error:
            raise SettingsError(
                f"{local_copy} cannot hold what the workers share: {error.strerror}",
                hint="make the folder of the local copy writable for the service",
            ) from error

    def take(self, bundle: Path, digest: str) -> bytes | MappedGraph:
        """Return the graph of the bundle in the folder ``bundle``, whose SHA-256 must be ``digest``.

        Raises
        ------
        BundleRefused
            The digest is another, or the graph cannot be loaded.
        """
        path = bundle / GRAPH
        if path.is_symlink() or not path.is_file() or path.stat().st_size < self._least_bytes:
            return read_graph(bundle, digest)
        place = self._folder / bundle.parent.name / bundle.name / digest
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.with_suffix(".lock")):
            if not place.exists():
                _store_elsewhere(bundle, digest, place)
        return MappedGraph(place)

    def forget_others(self) -> None:
        """Remove the graphs of versions that have left the local copy; whoever maps one keeps it."""
        for place in self._folder.glob("*/*"):
            if not (self._local_copy / place.parent.name / place.name).exists():
                shutil.rmtree(place)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._used)


def _make_folder(parent: Path) -> tuple[Path, int]:
    """Return a new folder, and the descriptor whose lock says that it is used; forked processes keep it locked."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        used = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(used, fcntl.LOCK_EX)
        if folder.exists():
            return folder, used
        os.close(used)  # a service that started in between took it for one that nobody uses


def _remove_what_nobody_uses(parent: Path) -> None:
    """Remove the folders of services that were killed."""
    for folder in parent.glob(f"{_PREFIX}*"):
        used = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        except BlockingIOError:
            continue
        finally:
            os.close(used)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _store_elsewhere(bundle: Path, digest: str, place: Path) -> None:
    command = [sys.executable, "-m", "prediction_api.shared_graphs", str(bundle), digest, str(place)]
    try:
        done = subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=_STORE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BundleRefused(f"{bundle}: {GRAPH} was not ready to be shared after {_STORE_S} s") from error
    if done.returncode:
        reason = done.stdout.strip() or f"its process ended with exit code {done.returncode}"
        raise BundleRefused(f"{bundle}: {GRAPH} cannot be shared: {reason}")


def main(bundle: Path, digest: str, place: Path) -> int:
    """Check the graph and write its mapped form; what is wrong goes to standard output. Returns the exit code."""
    partial = Path(tempfile.mkdtemp(dir=place.parent, prefix=".arriving-"))
    try:
        store_mapped(read_graph(bundle, digest), partial)
        partial.rename(place)
    except (AforoError, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        sys.stdout.write(error.message if isinstance(error, AforoError) else str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
