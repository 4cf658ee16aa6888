"""What is old goes, and nothing that the ledger, an alias, a version or a manifest refers to."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aforo.cli.main import app
from aforo.errors import LedgerError
from aforo.registry.versions import Versions
from aforo.settings import Settings
from aforo.storage import LocalStore
from aforo.workflows.retention import RetentionPlan, plan_retention, prune
from aforo.workflows.wiring import Platform

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
QUARANTINE = f"snapshots/quarantine/{'f' * 64}.parquet"


class World:
    """A platform in a folder, with runs and snapshots of any age."""

    def __init__(self, settings: Settings) -> None:
        self.platform = Platform.of(settings)
        self.store = LocalStore(settings.home / "store")

    def put(self, key: str, data: bytes = b"12345", *, days_ago: float) -> None:
        self.store.write(key, data)
        then = time.time() - days_ago * 24 * 3600
        os.utime(self.store.folder / key, (then, then))

    def snapshot(self, snapshot_id: str, *, days_ago: float = 100) -> None:
        for name in ("part-00000.parquet", "part-00001.parquet", "manifest.json"):
            self.put(f"snapshots/{snapshot_id}/{name}", days_ago=days_ago)

    def run(self, run_key: str, snapshot_id: str, *, days_ago: float = 100, **fields: object) -> None:
        manifest = json.dumps({"use_case": "churn", "snapshot_id": snapshot_id, **fields}).encode()
        self.put(f"runs/churn/{run_key}/ingest/manifest.json", manifest, days_ago=days_ago)
        self.put(f"runs/churn/{run_key}/split/membership.parquet", days_ago=days_ago)

    def version(self, run_key: str, snapshot_id: str, *aliases: str) -> str:
        """Register a version, as the evaluate step does, and give it aliases."""
        client = self.platform.versions.client
        if "churn" not in self.platform.versions.models():
            client.create_registered_model("churn")
        tags = {"run_key": run_key, "snapshot_id": snapshot_id}
        version = client.create_model_version("churn", source="file:///nowhere", tags=tags).version
        for alias in aliases:
            self.platform.versions.set_alias("churn", alias, str(version))
        return str(version)

    def promote(self, version: str, run_key: str, snapshot_id: str, *, report: str | None = None) -> None:
        self.platform.ledger.append(
            use_case="churn", action="promote", version=version, actor="tests", reason="good",
            run_key=run_key, snapshot_id=snapshot_id, report=report,
        )  # fmt: skip
        self.platform.versions.set_alias("churn", "champion", version)

    def plan(self, **options: int) -> RetentionPlan:
        return plan_retention(self.platform, **{"older_than_days": 30, **options})

    def gone(self, **options: int) -> list[str]:
        return [removal.prefix for removal in self.plan(**options).removals]


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose MLflow database has its tables: making them takes seconds."""
    home = tmp_path_factory.mktemp("home")
    Versions(Settings.from_environment({"AFORO_HOME": str(home)})).models()
    return home


@pytest.fixture
def world(empty_home: Path, settings: Settings) -> World:
    shutil.copytree(empty_home, settings.home)
    return World(settings)


def test_what_nothing_refers_to_goes(world: World) -> None:
    world.snapshot(A)
    world.run("old", A)
    world.put(QUARANTINE, days_ago=100)

    plan = world.plan()

    assert [(r.kind, r.prefix, r.objects) for r in plan.removals] == [
        ("run", "runs/churn/old/", 2),
        ("snapshot", f"snapshots/{A}/", 3),
        ("quarantine", QUARANTINE, 1),
    ]
    assert plan.size_bytes == 4 * 5 + 5 + len(world.store.read("runs/churn/old/ingest/manifest.json"))
    assert plan.kept == 0


@pytest.mark.parametrize(("days_ago", "goes"), [(29.9, False), (30.1, True)])
def test_what_was_written_lately_stays(world: World, days_ago: float, goes: bool) -> None:
    world.snapshot(A, days_ago=days_ago)

    assert bool(world.gone()) == goes


def test_a_snapshot_with_one_young_object_stays(world: World) -> None:
    world.snapshot(A)
    world.put(f"snapshots/{A}/part-00002.parquet", days_ago=1)

    assert world.gone() == []


def test_the_champion_keeps_its_run_and_snapshot(world: World) -> None:
    world.snapshot(A)
    world.run("monday", A)
    world.promote(world.version("monday", A), "monday", A)

    assert world.gone() == []


def test_a_former_champion_keeps_its_run_snapshot_and_report(world: World) -> None:
    for snapshot, run in ((A, "monday"), (B, "tuesday")):
        world.snapshot(snapshot)
        world.run(run, snapshot)
    world.put("runs/churn/judged-later/evaluate/report.json", days_ago=100)
    world.promote(world.version("monday", A), "monday", A, report="runs/churn/judged-later/evaluate/report.json")
    world.promote(world.version("tuesday", B), "tuesday", B)

    assert world.gone() == []


def test_any_alias_keeps_run_and_snapshot(world: World) -> None:
    world.snapshot(A)
    world.run("monday", A)
    world.version("monday", A, "shadow")

    assert world.gone() == []


def test_a_version_without_an_alias_keeps_its_snapshot_but_not_its_run(world: World) -> None:
    world.snapshot(A)
    world.run("monday", A)
    world.version("monday", A)

    assert world.gone() == ["runs/churn/monday/"]


def test_a_manifest_that_stays_keeps_what_it_names(world: World) -> None:
    world.snapshot(A)
    world.snapshot(B)
    world.put(QUARANTINE, days_ago=100)
    world.put("runs/churn/other/train/linear/scores.onnx", days_ago=100)
    candidates = [{"scores": "runs/churn/other/train/linear/scores.onnx"}]
    world.run("young", A, days_ago=1, quarantine=QUARANTINE, candidates=candidates)

    assert world.gone() == [f"snapshots/{B}/"]


def test_a_snapshot_that_never_became_whole_goes(world: World) -> None:
    world.put(f"snapshots/{C}/part-00000.parquet", days_ago=31)

    assert world.gone() == [f"snapshots/{C}/"]


def test_pruning_removes_what_was_planned_and_nothing_else(world: World) -> None:
    world.snapshot(A)
    world.snapshot(B)
    world.run("monday", A)
    world.run("old", B)
    world.promote(world.version("monday", A), "monday", A)
    world.put("predictions/churn/2026-01-31/one.parquet", days_ago=300)
    before = {key for bucket in ("runs", "snapshots", "predictions") for key in world.store.list(bucket)}

    planned = world.plan()
    done = prune(world.platform, older_than_days=30)

    after = {key for bucket in ("runs", "snapshots", "predictions") for key in world.store.list(bucket)}
    assert done == planned
    assert {key.split("/")[2] if key.startswith("runs") else key.split("/")[1] for key in before - after} == {"old", B}
    assert world.gone() == []


def test_a_ledger_and_a_registry_that_do_not_belong_together_stop_everything(world: World) -> None:
    world.snapshot(A)
    world.platform.ledger.append(
        use_case="churn", action="promote", version="1", actor="tests", reason="good", run_key="x", snapshot_id=B
    )

    with pytest.raises(LedgerError, match=r"churn: the ledger's champion is 1, the registry's none; .*nothing was"):
        prune(world.platform, older_than_days=30)
    assert world.platform.store.exists(f"snapshots/{A}/manifest.json")


def test_a_dry_run_shows_what_would_go_and_removes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.snapshot(A)
    monkeypatch.setenv("AFORO_HOME", str(world.platform.settings.home))
    monkeypatch.setenv("COLUMNS", "200")

    said = CliRunner().invoke(app, ["prune", "--dry-run", "--older-than-days", "99"])

    assert said.exit_code == 0, said.output
    assert f"snapshots/{A}/" in said.stdout
    assert "1 would go (0.0 MB), 0 stay" in said.stdout
    assert world.store.exists(f"snapshots/{A}/manifest.json")
