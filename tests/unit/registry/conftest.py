"""A small predictor, its bundles, and an MLflow database that is ready at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from aforo.contracts.prediction import BundleManifest, GoldenRows, Lineage, PredictionContract
from aforo.contracts.table import ColumnContract
from aforo.export.inference import GraphPredictor, columns_of
from aforo.registry.bundle import write_bundle
from aforo.registry.ledger import Ledger
from aforo.registry.registration import register_version
from aforo.registry.tracking import Tracker
from aforo.registry.versions import RegisteredVersion, Versions
from aforo.settings import Settings

KEY = b"0123456789abcdef0123456789abcdef"
ROWS: tuple[dict[str, Any], ...] = (
    {"hour": 5, "distance": 733.0, "carrier": "AA", "weekend": True},
    {"hour": None, "distance": 2475.0, "carrier": "UA", "weekend": None},
    {"hour": 17, "distance": 1089.5, "carrier": "B6", "weekend": False},
)
CONTRACT = PredictionContract(
    use_case="flight_delay",
    task="binary",
    target="late",
    classes=("no", "yes"),
    inputs=(
        ColumnContract(name="hour", type="integer", role="feature", minimum=0, maximum=23, nullable=True),
        ColumnContract(name="distance", type="number", role="feature", unit="miles", minimum=0),
        ColumnContract(name="carrier", type="string", role="feature", categories=("AA", "B6", "UA")),
        ColumnContract(name="weekend", type="boolean", role="feature", nullable=True),
    ),
)


def graph_of(weight: float = 0.1) -> bytes:
    """Return a graph of CONTRACT: the sigmoid of weight * hour - is_AA + distance / 10,000 + weekend."""

    def constant(name: str, value: float) -> Any:
        return helper.make_tensor(name, TensorProto.DOUBLE, [1, 1], [value])

    def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
        return helper.make_node(kind, inputs.split(), [output], **attributes)

    nodes = [
        node("IsNaN", "hour", "no_hour"),
        node("Where", "no_hour twelve hour", "filled"),
        node("Mul", "filled weight", "by_hour"),
        node("Equal", "carrier AA", "is_AA"),
        node("Cast", "is_AA", "aa", to=TensorProto.DOUBLE),
        node("Div", "distance far", "by_distance"),
        node("IsNaN", "weekend", "no_day"),
        node("Where", "no_day zero weekend", "by_day"),
        node("Sub", "by_hour aa", "first"),
        node("Add", "first by_distance", "second"),
        node("Add", "second by_day", "score"),
        node("Sigmoid", "score", "yes"),
        node("Sub", "one yes", "no"),
        node("Concat", "no yes", "probabilities", axis=1),
    ]
    types = {"string": TensorProto.STRING}
    inputs = [
        helper.make_tensor_value_info(column.name, types.get(column.type, TensorProto.DOUBLE), [None, 1])
        for column in CONTRACT.inputs
    ]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, [None, 2])]
    constants = [constant("weight", weight), constant("one", 1), constant("zero", 0), constant("twelve", 12)]
    constants += [constant("far", 10_000), helper.make_tensor("AA", TensorProto.STRING, [1, 1], [b"AA"])]
    graph = helper.make_graph(nodes, "flight_delay", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


def golden_of(graph: bytes) -> GoldenRows:
    outputs = GraphPredictor(graph, CONTRACT).run(columns_of(ROWS, CONTRACT))
    return GoldenRows(rows=ROWS, outputs={name: tuple(map(tuple, rows.tolist())) for name, rows in outputs.items()})


def lineage_of(run_key: str) -> Lineage:
    return Lineage(
        run_key=run_key,
        snapshot_id="a" * 64,
        split_digest="b" * 64,
        code_digest="c" * 64,
        code_commit=None,
        lock_digest="d" * 64,
        use_case_digest="e" * 64,
        seed=0,
    )


def write(folder: Path, *, weight: float = 0.1, run_key: str = "monday", **changes: Any) -> BundleManifest:
    """Write a bundle of the predictor with `weight`."""
    graph = graph_of(weight)
    content: dict[str, Any] = {
        "graph": graph,
        "contract": CONTRACT,
        "golden": golden_of(graph),
        "lineage": lineage_of(run_key),
        "candidate": "boosted_trees",
        "metrics": {"brier": 0.12},
        "key": KEY,
        "attachments": {"report.json": b'{"verdict": "promote"}\n'},
    }
    return write_bundle(folder, **{**content, **changes})


@dataclass
class World:
    """Tracker, registry and ledger over one folder."""

    settings: Settings
    tracker: Tracker
    versions: Versions
    ledger: Ledger
    folder: Path
    bundles: list[Path] = field(default_factory=list)

    def register(self, run_key: str, *, weight: float | None = None, verdict: str = "promote") -> RegisteredVersion:
        """Register what the run `run_key` trained, as the evaluate step does."""
        folder = self.folder / f"attempt-{len(self.bundles)}" / "bundle"
        self.bundles.append(folder)
        write(folder, weight=len(self.bundles) / 10 if weight is None else weight, run_key=run_key)
        run = self.tracker.run("flight_delay", run_key, {"snapshot_id": "a" * 64})
        return register_version(self.versions, folder, run=run, verdict=verdict, description="Will it be late?")


@pytest.fixture
def world(settings: Settings, empty_mlflow: Path, tmp_path: Path) -> World:
    settings.home.mkdir(parents=True)
    shutil.copy(empty_mlflow, settings.home / "mlflow.db")
    return World(settings, Tracker(settings), Versions(settings), Ledger(settings.ledger_url), tmp_path)


@pytest.fixture
def signing_key_in_place(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of someone who holds the signing key."""
    world.settings.signing_key_file.write_bytes(KEY)
    monkeypatch.setenv("AFORO_SIGNING_KEY_FILE", str(world.settings.signing_key_file))
    return world.settings.signing_key_file


@pytest.fixture
def bundle_writer() -> Callable[..., BundleManifest]:
    return write
