"""Platforms of their own for the tests: a folder, a real MLflow database in it, and the real command line.

``trained`` has the four small use cases with a champion each, ``served`` the real prediction API in front of them,
and ``tiny`` a use case that a whole run takes about two seconds for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
import yaml

from aforo.contracts.run import Manifest, RunKey, Step
from aforo.settings import Settings
from aforo.use_case import UseCase, load_use_case
from aforo.workflows import calibrate, evaluate, ingest, promote, split, train, validate
from aforo.workflows.wiring import Platform

SHIPPED = Path(__file__).parents[2] / "services" / "use_cases"
AFORO = Path(sys.executable).with_name("aforo")
STEPS: tuple[Step, ...] = get_args(Step)
RUN: dict[Step, Callable[..., Manifest]] = {
    "ingest": ingest.run,
    "validate": validate.run,
    "split": split.run,
    "train": train.run,
    "calibrate": calibrate.run,
    "evaluate": evaluate.run,
    "promote": promote.run,
}


@dataclass(frozen=True)
class Home:
    """One embedded platform, and what a test asks of it.

    Attributes
    ----------
    folder
        Everything that the platform keeps.
    use_cases
        The folder of its use cases.
    """

    folder: Path
    use_cases: Path

    @property
    def variables(self) -> dict[str, str]:
        return {"AFORO_HOME": str(self.folder), "AFORO_USE_CASES": str(self.use_cases), "COLUMNS": "200"}

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes. MLflow puts what this process uses into ours, so that is left out."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("AFORO_", "MLFLOW_"))}
        return {**ours, **self.variables}

    @property
    def settings(self) -> Settings:
        return Settings.from_environment(self.variables)

    @property
    def platform(self) -> Platform:
        return Platform.of(self.settings)

    def use_case(self, name: str) -> UseCase:
        return load_use_case(self.use_cases, name)

    def aforo(self, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the real command line."""
        environment = {**self.environment, **more}
        return subprocess.run([AFORO, *arguments], env=environment, capture_output=True, text=True, check=False)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the real command line, for a test that does not let it finish."""
        return subprocess.Popen(
            [AFORO, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def step(
        self, step: Step, name: str, run_key: str = "one", *, platform: Platform | None = None, **options: Any
    ) -> Any:
        """Take one step through the library, and return its manifest."""
        return RUN[step](self.use_case(name), RunKey(run_key), platform or self.platform, **options)

    def run(self, name: str, run_key: str = "one", *, last: Step = "promote", **ingest_options: Any) -> dict[Step, Any]:
        """Take all the steps up to ``last`` through the library, and return their manifests."""
        taken: dict[Step, Any] = {}
        for step in STEPS[: STEPS.index(last) + 1]:
            taken[step] = self.step(step, name, run_key, **(ingest_options if step == "ingest" else {}))
        return taken

    def manifest(self, step: Step, name: str, run_key: str = "one") -> dict[str, Any]:
        """Return what a step wrote, as it lies in the store."""
        return json.loads(self.platform.store.read(f"runs/{name}/{run_key}/{step}/manifest.json"))

    def files(self) -> dict[str, int]:
        """Return every file of the store, hidden and partial ones too, with its size."""
        store = self.folder / "store"
        return {str(path.relative_to(store)): path.stat().st_size for path in store.rglob("*") if path.is_file()}

    def tracked_runs(self, name: str) -> list[Any]:
        """Return the runs of a use case in MLflow, nested ones included."""
        client = self.platform.versions.client
        experiment = client.get_experiment_by_name(name)
        return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))

    def add_use_case(self, name: str, document: dict[str, Any], files: dict[str, str | bytes] | None = None) -> Path:
        """Write a use case, and return its folder."""
        folder = self.use_cases / name
        folder.mkdir(parents=True)
        (folder / "use_case.yaml").write_text(yaml.safe_dump({**document, "name": name}, sort_keys=False))
        for path, content in (files or {}).items():
            (folder / path).write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder


def shipped(name: str) -> dict[str, Any]:
    """Return a shipped use case's document."""
    document: dict[str, Any] = yaml.safe_load((SHIPPED / name / "use_case.yaml").read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="session")
def new_home(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Callable[[Path | None], Home]:
    """Make a platform of its own; its use cases are the shipped ones, or those that are in a folder given."""

    def make(use_cases: Path | None = None) -> Home:
        folder = tmp_path_factory.mktemp("platform") / "home"
        folder.mkdir()
        shutil.copy(empty_mlflow, folder / "mlflow.db")
        return Home(folder, use_cases or SHIPPED)

    return make


@pytest.fixture
def home(new_home: Callable[[Path | None], Home], tmp_path: Path) -> Home:
    """A platform without a use case."""
    return new_home(tmp_path / "use_cases")


@pytest.fixture(scope="session")
def tiny_document() -> dict[str, Any]:
    """``breast_cancer`` with two candidates on three columns and few resamples."""
    document = shipped("breast_cancer")
    columns = ["mean_radius", "mean_texture", "mean_concavity"]
    kept = {"sample", "diagnosis", *columns}
    return {
        **document,
        "name": "tiny",
        "data": {
            "source": {"kind": "csv", "path": "data.csv"},
            "columns": [c if c["name"] in kept else {**c, "role": "info"} for c in document["data"]["columns"]],
        },
        "features": [{"kind": "scale", "columns": columns}],
        "candidates": [{"kind": "historical_rate", "by": []}, {"kind": "linear", "search": {"penalty": [0.1, 1.0]}}],
        "budget": {"fits": 2},
        "evaluation": {"bootstrap": {"resamples": 200}},
        "gate": {},
    }


@pytest.fixture
def tiny(home: Home, tiny_document: dict[str, Any]) -> Home:
    """A platform with the use case ``tiny``, whose run takes about two seconds."""
    home.add_use_case("tiny", tiny_document, {"data.csv": (SHIPPED / "breast_cancer" / "data.csv").read_bytes()})
    return home


@pytest.fixture(scope="session")
def trained(new_home: Callable[[Path | None], Home]) -> Home:
    """The four small use cases, each with a champion: one by the command line, three by the library."""
    home = new_home(None)
    done = home.aforo("run", "breast_cancer", "--run-key", "one", "--json")
    assert done.returncode == 0, done.stderr
    home.run("digits")
    home.run("newborn_weight")
    home.run("arrest")
    return home


@pytest.fixture(scope="session")
def flights(new_home: Callable[[Path | None], Home]) -> Home:
    """All flights of 2013, by the command line: about 40 seconds. Tests that use it belong to one xdist group."""
    home = new_home(None)
    done = home.aforo("run", "flight_delay", "--run-key", "full", "--json")
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture(scope="session")
def serve(serving: Callable[..., AbstractContextManager[httpx.Client]]) -> Iterator[Callable[..., httpx.Client]]:
    """Give a client of the real prediction API in front of a platform, which is started when first asked for."""
    clients: dict[Path, httpx.Client] = {}
    with ExitStack() as until_the_end:

        def start(home: Home, *, wait_for: str = "/health/ready") -> httpx.Client:
            if home.folder not in clients:
                service = serving(home.environment, home.folder.parent / "service.log", wait_for=wait_for)
                clients[home.folder] = until_the_end.enter_context(service)
            return clients[home.folder]

        yield start


@pytest.fixture(scope="session")
def served(trained: Home, serve: Callable[..., httpx.Client]) -> httpx.Client:
    """A client of the prediction API in front of ``trained``."""
    return serve(trained)
