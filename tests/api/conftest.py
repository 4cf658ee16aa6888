"""Small signed bundles of toy models, a local copy of them, and the real service in front of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from toy_models import BACKGROUND, GOLDEN, INPUTS, ROW, make_contract, make_graph, probability

from aforo.contracts.prediction import GoldenRows, Lineage, PredictionContract, TaskKind
from aforo.contracts.table import ColumnContract
from aforo.export.inference import GraphPredictor, columns_of
from aforo.registry.bundle import write_bundle

KEY = b"0123456789abcdef0123456789abcdef"


class LocalRegistry:
    """A local copy as the downloader would write it.

    Parameters
    ----------
    folder
        Where the copy is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.key_file = folder.parent / "signing.key"
        self.key_file.write_bytes(KEY)

    def add(
        self,
        name: str,
        version: str,
        *,
        task: TaskKind = "binary",
        weight: float = 1.0,
        graph: bytes | None = None,
        golden_shift: float = 0.0,
        key: bytes = KEY,
        report: dict[str, Any] | None = None,
        explainable: bool = True,
        **changes: Any,
    ) -> Path:
        """Write a version; ``golden_shift`` is added to what its golden rows are said to give."""
        contract = make_contract(name, task, **changes)
        graph = graph or make_graph(task, weight)
        outputs = GraphPredictor(graph, contract).run(columns_of(GOLDEN, contract))
        partial = self.folder / f".{name}-{version}"
        write_bundle(
            partial,
            graph=graph,
            contract=contract,
            golden=GoldenRows(
                rows=GOLDEN, outputs={k: tuple(map(tuple, (v + golden_shift).tolist())) for k, v in outputs.items()}
            ),
            lineage=Lineage(
                run_key="2026-01-31",
                snapshot_id="a" * 64,
                split_digest="b" * 64,
                code_digest="c" * 64,
                code_commit=None,
                lock_digest="d" * 64,
                use_case_digest="e" * 64,
                seed=0,
            ),
            candidate="linear",
            metrics={"brier": 0.1},
            key=key,
            attachments={
                "report.json": json.dumps(report or {"verdict": "promote"}).encode(),
                **({"background.json": BACKGROUND.model_dump_json().encode()} if explainable else {}),
            },
        )
        folder = self.folder / name / version
        folder.parent.mkdir(exist_ok=True)
        return partial.rename(folder)

    def point(self, name: str, **aliases: str) -> None:
        """Set the aliases of a model, all at once."""
        partial = self.folder / name / ".aliases.json"
        partial.write_text(json.dumps(aliases))
        partial.replace(self.folder / name / "aliases.json")

    def synced(self, at: float, error: str | None = None) -> None:
        (self.folder / "status.json").write_text(json.dumps({"synced_at": at, "error": error}))


@dataclass
class Service:
    """A running service.

    Attributes
    ----------
    process
        The supervisor.
    log
        File with its standard error.
    """

    url: str
    process: subprocess.Popen[str]
    log: Path
    seconds_to_listen: float

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False, **options)

    def wait_until(self, condition: Callable[[httpx.Client], bool], timeout_s: float = 20) -> None:
        """Wait until ``condition`` is true of the running service."""
        end = time.monotonic() + timeout_s
        with self.client() as client:
            while time.monotonic() < end:
                try:
                    if condition(client):
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.02)
        raise AssertionError(f"it never came true; the log says:\n{self.log.read_text()}")


_PROGRAM = """
import json, sys
from pathlib import Path
from aforo import logs
from aforo.monitoring.spool import SpoolOptions
from prediction_api.options import Limits, ServeOptions
from prediction_api.server import serve

order = json.loads(sys.argv[1])
logs.configure("json")
for name in ("mirror", "signing_key_file", "api_keys_file"):
    if order.get(name):
        order[name] = Path(order[name])
order["limits"] = Limits(**order.get("limits", {}))
if order.get("log"):
    order["log"] = SpoolOptions(**{**order["log"], "folder": Path(order["log"]["folder"])})
serve(ServeOptions(**order), on_listening=lambda url: print(url, flush=True))
"""


@contextmanager
def running(registry: LocalRegistry, *, wait: bool = True, environment: dict[str, str] | None = None, **options: Any):
    """Run the service on a free port until the end of the block."""
    order = {
        "port": 0,
        "mirror": str(registry.folder),
        "signing_key_file": str(registry.key_file),
        "follow_registry": False,
        "look_s": 0.05,
        **options,
    }
    log = registry.folder.parent / f"service-{time.monotonic_ns()}.log"
    started = time.perf_counter()
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(order)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(registry.folder.parent), **(environment or {})},
        )
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, log.read_text()
            service = Service(url, process, log, time.perf_counter() - started)
            path = "/health/ready" if wait else "/health/live"
            service.wait_until(lambda client: client.get(path).status_code == 200)
            yield service
        finally:
            process.terminate()
            try:
                process.wait(20)
            finally:
                with_group_killed(process)
                process.stdout.close()


def with_group_killed(process: subprocess.Popen[str]) -> None:
    """Leave nothing of the service running, whatever the test did to it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)


@pytest.fixture
def registry(tmp_path: Path) -> LocalRegistry:
    return LocalRegistry(tmp_path / "mirror")


@pytest.fixture(scope="session")
def registry_at() -> type[LocalRegistry]:
    """Give a test a registry in a folder of its choice."""
    return LocalRegistry


@pytest.fixture(scope="session")
def shared_registry(tmp_path_factory: pytest.TempPathFactory) -> LocalRegistry:
    """One model a task; ``flight_delay`` has two versions, an alias each, and one that no alias points at."""
    registry = LocalRegistry(tmp_path_factory.mktemp("served") / "mirror")
    registry.add("flight_delay", "1", weight=1.0)
    registry.add("flight_delay", "2", weight=2.0)
    registry.add("flight_delay", "3", weight=3.0, abstain_below=0.8)
    registry.point("flight_delay", champion="1", challenger="2")
    registry.add("outcome", "1", task="multiclass")
    registry.point("outcome", champion="1")
    registry.add("minutes", "1", task="regression", target_unit="min")
    registry.add("minutes", "2", task="regression", target_unit="min", abstain_above=1.5)
    registry.point("minutes", champion="1")
    registry.synced(time.time())
    return registry


@pytest.fixture
def contenders(registry: LocalRegistry) -> LocalRegistry:
    """A champion, version 1, and a challenger, version 2, that give other probabilities."""
    registry.add("flight_delay", "1", weight=1.0)
    registry.add("flight_delay", "2", weight=2.0)
    registry.point("flight_delay", champion="1", challenger="2")
    return registry


@pytest.fixture(scope="session")
def service(shared_registry: LocalRegistry) -> Iterator[Service]:
    with running(shared_registry) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture(scope="session")
def run_service() -> Callable[..., Any]:
    """Give a test a service of its own."""
    return running


@pytest.fixture(scope="session")
def graph_of() -> Callable[..., bytes]:
    """Give the toy graph of a task and a weight."""
    return make_graph


@pytest.fixture(scope="session")
def contract_of() -> Callable[..., PredictionContract]:
    """Give the toy contract of a model's name and a task."""
    return make_contract


@pytest.fixture
def row() -> dict[str, Any]:
    """A row that every toy model accepts."""
    return dict(ROW)


@pytest.fixture
def inputs() -> tuple[ColumnContract, ...]:
    """The columns of every toy model."""
    return INPUTS


@pytest.fixture
def by_hand() -> Callable[[dict[str, Any], float], float]:
    """Give the probability of ``yes`` for a row and the version's weight, worked out by hand."""
    return probability


@pytest.fixture
def pointers() -> Callable[[httpx.Response], Sequence[tuple[str, str]]]:
    """Give pointer and code of every bad value of a refused request."""
    return lambda response: [(error["pointer"], error["code"]) for error in response.json()["errors"]]
