"""``aforo serve``: one supervisor, its helpers, and workers that share a port and the models' memory.

::

    supervisor ──┬── downloader     asks MLflow for versions and aliases, writes the local copy
                 ├── shipper        carries the prediction log from the spool to the object store
                 ├── worker 0       reads the local copy, answers, appends to the spool
                 └── worker 1 …

The supervisor loads the models before it forks the workers, so that their pages are shared until written to. Each
worker has a listening socket of its own on the shared port (SO_REUSEPORT): with one socket for all, one
worker can end up with every keep-alive connection. The supervisor keeps all sockets open, so connections that
wait while a worker is replaced are not lost.

A version that arrives later is loaded by each worker beside the one that answers; the constants of a large graph are
shared all the same (:mod:`prediction_api.shared_graphs`). What the runtime builds from a graph's attributes, such as
the nodes of a tree ensemble, is then private to each worker, and shared again among those that start later.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from aforo.errors import SettingsError
from aforo.export.inference import COMPILED_TREES
from aforo.monitoring.privacy import log_key
from aforo.registry.signing import signing_key
from prediction_api.api_keys import ApiKeys
from prediction_api.batching import RowBudget
from prediction_api.local_copy import LocalCopy
from prediction_api.metrics import Metrics
from prediction_api.options import ServeOptions
from prediction_api.outbox import Outbox
from prediction_api.recording import Recorder
from prediction_api.served_models import ServedModels
from prediction_api.served_version import ServedVersion, load_version
from prediction_api.shared_graphs import SharedGraphs
from prediction_api.windows import WindowPanes
from prediction_api.worker import Worker

logger = logging.getLogger(__name__)

_FIRST_COPY_S = 20.0
_STOP_S = 15.0
_LONGEST_PAUSE_S = 30.0
_LOOK_S = 0.1
_MEASURE_S = 1.0
_DOWNLOADER, _SHIPPER = "downloader", "shipper"


def serve(options: ServeOptions, *, on_listening: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Parameters
    ----------
    on_listening
        Told the service's URL when the port is taken; the first answers come a moment later.

    Raises
    ------
    SettingsError
        The port is taken, or a secrets file cannot be read.
    """
    _Supervisor(options).run(on_listening)


class _Supervisor:
    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._key = signing_key(options.signing_key_file)
        self._measured = 0.0
        if options.log is not None:
            options.log.prepare()
        self._keys = ApiKeys(options.api_keys_file)
        self._local_copy = LocalCopy(options.mirror)
        self._is_stopping = False
        self._workers: dict[int, int] = {}
        """Process id to worker number."""
        self._helpers: dict[str, subprocess.Popen[bytes]] = {}
        self._recorder: Recorder | None = None
        self._pauses: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._began: dict[str, float] = {}

    def run(self, on_listening: Callable[[str], None] | None) -> None:
        with contextlib.closing(SharedGraphs(self._options.mirror)) as graphs:
            self._run(graphs, on_listening)

    def _run(self, graphs: SharedGraphs, on_listening: Callable[[str], None] | None) -> None:
        _open_many_files()
        listeners = _listen(self._options)
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        run_folder = Path(tempfile.mkdtemp(prefix="aforo-serve-"))
        try:
            host, port = listeners[0].getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            logger.info("listening", extra={"url": url, "workers": self._options.workers})
            if not COMPILED_TREES.exists():
                logger.warning(
                    "trees are summed slowly", extra={"missing": COMPILED_TREES.name, "hint": "`make serve`"}
                )
            if on_listening is not None:
                on_listening(url)
            if self._options.follow_registry:
                self._start(_DOWNLOADER)
                self._wait_for_first_copy()
            worker = self._prepare_worker(run_folder, graphs)
            if self._options.log is not None and self._options.log.ships:
                self._start(_SHIPPER)
            for number in range(self._options.workers):
                self._fork(worker, number, listeners[number])
            while not self._is_stopping:
                self._look_after(worker, listeners)
                graphs.forget_others()
                time.sleep(_LOOK_S)
        finally:
            self._end_children()
            for listener in listeners:
                listener.close()
            shutil.rmtree(run_folder, ignore_errors=True)
            for number, handler in before.items():
                signal.signal(number, handler)
            logger.info("stopped")

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._is_stopping = True

    def _prepare_worker(self, run_folder: Path, graphs: SharedGraphs) -> Worker:
        """Load all that the local copy has, in the memory that the workers will share."""
        options = self._options
        budget = RowBudget(options.limits.max_waiting_rows)
        metrics = Metrics()
        windows = WindowPanes(metrics, stale_s=options.events_stale_s)
        if options.log is not None:
            self._recorder = Recorder(options.log, workers=options.workers, key=log_key(self._key), metrics=metrics)
        outbox = Outbox(self._recorder)

        def load(model: str, version: str, folder: Path) -> ServedVersion:
            return load_version(
                model,
                version,
                folder,
                key=self._key,
                max_rows=options.limits.max_rows,
                budget=budget,
                observe=metrics.histogram("aforo_batch_rows", model).observe,
                on_told=outbox.flush,
                take_graph=graphs.take,
                windows=windows,
            )

        models = ServedModels(
            self._local_copy,
            load,
            only=options.models,
            warm=tuple(_parse_warm(text) for text in options.warm),
            memory_budget_bytes=options.memory_budget_bytes,
            on_refused=lambda model, version: metrics.count("aforo_versions_refused_total", model, version),
        )
        models.refresh()
        return Worker(options, models, self._keys, budget, metrics, run_folder, outbox, windows)

    def _fork(self, worker: Worker, number: int, listener: socket.socket) -> None:
        gc.collect()
        gc.freeze()  # the collector must not write to pages that are shared
        process = os.fork()
        if process:
            self._workers[process] = number
            self._began[f"worker {number}"] = time.monotonic()
            logger.info("worker started", extra={"worker": number, "pid": process})
            return
        status = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            worker.run(number, listener)
            status = 0
        except KeyboardInterrupt:
            status = 0
        except BaseException:
            logger.exception("worker failed", extra={"worker": number})
        finally:
            logging.shutdown()
            os._exit(status)

    def _look_after(self, worker: Worker, listeners: list[socket.socket]) -> None:
        """Replace the processes that died, after a pause that doubles while they die young."""
        now = time.monotonic()
        if self._recorder is not None and now - self._measured >= _MEASURE_S:
            self._recorder.gauge.measure()
            self._measured = now
        for process in tuple(self._workers):
            if os.waitpid(process, os.WNOHANG)[0] == process:
                number = self._workers.pop(process)
                self._plan_again(f"worker {number}", now)
        for name, helper in tuple(self._helpers.items()):
            if helper.poll() is not None:
                del self._helpers[name]
                self._plan_again(name, now)
        for name in [name for name, due in self._due.items() if due <= now]:
            del self._due[name]
            if name in (_DOWNLOADER, _SHIPPER):
                self._start(name)
            else:
                number = int(name.rpartition(" ")[2])
                worker.models.refresh()  # so that the new worker shares what is served now
                self._fork(worker, number, listeners[number])

    def _plan_again(self, name: str, now: float) -> None:
        lived_s = now - self._began.get(name, now)
        pause_s = 0.0 if lived_s > _LONGEST_PAUSE_S else min(_LONGEST_PAUSE_S, self._pauses.get(name, 0.05) * 2)
        self._pauses[name] = max(pause_s, 0.05)
        self._due[name] = now + pause_s
        logger.error("process died", extra={"who": name, "lived_s": lived_s, "again_in_s": pause_s})

    def _start(self, helper: str) -> None:
        command = self._downloader() if helper == _DOWNLOADER else self._shipper()
        self._began[helper] = time.monotonic()
        # Ctrl-C in a terminal reaches every process of the group. The helpers never learn of it, not even while they
        # start: they are ended from here, after the workers have completed what is to be shipped.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._helpers[helper] = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", *command],
                stdin=subprocess.DEVNULL,
                # A data engine would otherwise take every core for a moment, several times a minute.
                env={**os.environ, "POLARS_MAX_THREADS": "1"},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def _downloader(self) -> list[str]:
        options = self._options
        order = {
            "mirror": str(options.mirror),
            "signing_key_file": str(options.signing_key_file),
            "models": options.models,
            "poll_s": options.poll_s,
            "warm": [_parse_warm(text) for text in options.warm],
        }
        return ["prediction_api.downloader", json.dumps(order)]

    def _shipper(self) -> list[str]:
        order = asdict(self._options.log) if self._options.log is not None else {}
        return ["aforo.monitoring.shipping", json.dumps(order, default=str)]

    def _wait_for_first_copy(self) -> None:
        """Wait, where there is no local copy yet, until the registry was asked once."""
        if self._local_copy.models():
            return
        end = time.monotonic() + _FIRST_COPY_S
        while time.monotonic() < end and not self._is_stopping:
            if (self._options.mirror / "status.json").exists():
                return
            time.sleep(_LOOK_S)

    def _end_children(self) -> None:
        for process in self._workers:
            os.kill(process, signal.SIGTERM)
        end = time.monotonic() + _STOP_S
        while self._workers and time.monotonic() < end:
            for process in tuple(self._workers):
                if os.waitpid(process, os.WNOHANG)[0] == process:
                    del self._workers[process]
            time.sleep(0.02)
        for process in self._workers:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        for helper in self._helpers.values():
            helper.terminate()  # the shipper takes along what the workers have just completed
        for helper in self._helpers.values():
            try:
                helper.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                helper.kill()
                helper.wait()


def _listen(options: ServeOptions) -> list[socket.socket]:
    """Return one listening socket a worker, all on one port."""
    listeners: list[socket.socket] = []
    port = options.port
    try:
        family, _, _, _, _ = socket.getaddrinfo(options.host, port, type=socket.SOCK_STREAM)[0]
        for _ in range(options.workers):
            listener = socket.socket(family, socket.SOCK_STREAM)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if options.workers > 1:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((options.host, port))
            port = listener.getsockname()[1]
            listener.listen(2048)
            listener.set_inheritable(False)
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise SettingsError(
            f"cannot listen on {options.host}:{options.port}: {error.strerror}",
            hint="stop what listens there, or choose another port",
        ) from error
    return listeners


def _open_many_files() -> None:
    """Allow as many connections as the system lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _parse_warm(text: str) -> tuple[str, str]:
    model, _, version = text.rpartition("@")
    return model, version
