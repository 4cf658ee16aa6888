"""The validate step: one look at every row, and the page that a data scientist finds in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from aforo.contracts.run import IngestManifest, RunKey, ValidateManifest
from aforo.errors import SnapshotDamaged
from aforo.settings import Settings
from aforo.use_case import load_use_case
from aforo.workflows import ingest, validate
from aforo.workflows.wiring import Platform

DOCUMENT = {
    "name": "sales",
    "title": "Will it sell?",
    "owner": "tests",
    "task": {"kind": "binary"},
    "data": {
        "source": {"kind": "csv", "path": "data.csv"},
        "columns": [
            {"name": "id", "type": "integer", "role": "key"},
            {"name": "size", "type": "number", "role": "feature", "nullable": True},
            {"name": "weight", "type": "number", "role": "feature"},
            {"name": "sold", "type": "boolean", "role": "target"},
        ],
    },
    "split": {"kind": "random"},
    "features": [{"kind": "scale", "columns": ["size"]}],
    "candidates": [{"kind": "historical_rate", "by": []}],
}


@pytest.fixture
def platform(settings: Settings) -> Platform:
    return Platform.of(settings)


@pytest.fixture
def run_validate(tmp_path: Path, platform: Platform) -> Callable[[], tuple[IngestManifest, ValidateManifest]]:
    folder = tmp_path / "use_cases" / "sales"
    folder.mkdir(parents=True)
    (folder / "use_case.yaml").write_text(yaml.safe_dump(DOCUMENT))
    rows = [f"{n},{n / 2 if n % 4 == 0 else ''},7,{n % 2 == 0}" for n in range(40)]
    (folder / "data.csv").write_text("id,size,weight,sold\n" + "\n".join(rows) + "\n")
    use_case, key = load_use_case(tmp_path / "use_cases", "sales"), RunKey("k")
    ingested = ingest.run(use_case, key, platform)
    return lambda: (ingested, validate.run(use_case, key, platform))


def test_without_a_training_there_is_no_run_in_mlflow(
    run_validate: Callable[[], tuple[IngestManifest, ValidateManifest]], platform: Platform
) -> None:
    run_validate()

    assert platform.versions.client.get_experiment_by_name("sales") is None


def test_what_is_out_of_the_ordinary_is_in_the_manifest_and_on_the_page(
    run_validate: Callable[[], tuple[IngestManifest, ValidateManifest]], platform: Platform
) -> None:
    _, validated = run_validate()

    assert validated.warnings == (
        "feature 'size' is missing in 75% of the rows",
        "feature 'weight' has the one value 7.0",
    )
    assert b"missing in 75% of the rows" in platform.store.read(validated.report)


def test_a_changed_part_is_found_on_the_way(
    run_validate: Callable[[], tuple[IngestManifest, ValidateManifest]], platform: Platform
) -> None:
    _, validated = run_validate()
    key = f"snapshots/{validated.snapshot_id}/part-00000.parquet"
    damaged = bytearray(platform.store.read(key))
    damaged[100] ^= 1
    platform.store.write(key, bytes(damaged))

    with pytest.raises(SnapshotDamaged, match=r"part-00000\.parquet has the SHA-256"):
        run_validate()
