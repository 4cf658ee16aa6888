"""An upgrade backs up first; that archive brings everything back on an empty machine; a damaged one changes nothing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from stack_platform import Platform, wait_for
from test_a_fresh_platform import example_of

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]

NEXT_COMMIT = "fedcba9876543210fedcba9876543210fedcba98"


@dataclass(frozen=True)
class Upgraded:
    """The archive that the upgrade made, and what the platform said before."""

    archive: Path
    model: dict[str, Any]
    request: dict[str, object]
    answer: dict[str, Any]
    runs: int


@pytest.fixture(scope="module")
def upgraded(platform: Platform, champion: str, tmp_path_factory: pytest.TempPathFactory) -> Upgraded:
    with platform.api() as api:
        model = api.get(f"/models/{champion}").json()
        request = example_of(api, champion)
        answer = api.post(f"/models/{champion}/predict", json=request).json()
    runs = runs_of(platform, champion)
    platform.set("AFORO_CODE_COMMIT", NEXT_COMMIT)
    platform.run("make", "upgrade")
    (made,) = (platform.folder / "backups").glob("*.tar")
    archive = Path(shutil.move(made, tmp_path_factory.mktemp("backup") / "platform.tar"))
    return Upgraded(archive, model, request, answer, runs)


def runs_of(platform: Platform, use_case: str) -> int:
    with platform.airflow() as airflow:
        return int(airflow.get(f"/api/v2/dags/{use_case}__training/dagRuns").json()["total_entries"])


def test_an_upgrade_backs_up_first_and_loses_nothing(platform: Platform, champion: str, upgraded: Upgraded) -> None:
    assert upgraded.archive.stat().st_mode & 0o777 == 0o600
    with platform.api() as api:
        wait_for(lambda: api.get(f"/models/{champion}").json()["champion"] == upgraded.model["champion"], 60, "it")
    platform.train_again(champion)
    known = upgraded.model["live"].get("challenger")
    with platform.api() as api:
        wait_for(lambda: challenger(api, champion) not in (None, known), 60, "the version")
        described = api.get(f"/models/{champion}/versions/{challenger(api, champion)}").json()
    assert described["lineage"]["code_commit"] == NEXT_COMMIT
    assert runs_of(platform, champion) == upgraded.runs + 1


def challenger(api: httpx.Client, model: str) -> str | None:
    """Return the version that was registered last, once it is served."""
    version: str | None = api.get(f"/models/{model}").json()["live"].get("challenger")
    return version


@pytest.mark.parametrize("damage", ["one bit", "cut short", "something else"])
def test_a_damaged_archive_is_refused(
    platform: Platform, champion: str, upgraded: Upgraded, tmp_path: Path, damage: str
) -> None:
    content = bytearray(upgraded.archive.read_bytes())
    if damage == "one bit":
        content[len(content) // 2] ^= 1
    elif damage == "cut short":
        del content[len(content) // 2 :]
    else:
        content = bytearray(b"this is no archive")
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes(content)
    done = platform.operate("restore", str(damaged), check=False)
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr
    with platform.api() as api:
        assert "champion" in api.get(f"/models/{champion}").json()["live"]


def test_a_restored_platform_serves_the_same_champion(platform: Platform, champion: str, upgraded: Upgraded) -> None:
    platform.remove()
    shutil.rmtree(platform.folder / "secrets")
    platform.operate("secrets")  # an empty machine: nothing is left but the archive
    platform.up()
    with platform.api() as api:
        assert api.get(f"/models/{champion}").status_code == 404
    platform.operate("restore", str(upgraded.archive))

    with platform.api() as api:
        wait_for(lambda: api.get(f"/models/{champion}").json()["live"] == upgraded.model["live"], 60, "the champion")
        after = api.get(f"/models/{champion}").json()
        answer = api.post(f"/models/{champion}/predict", json=upgraded.request).json()
    assert after["champion"]["digest"] == upgraded.model["champion"]["digest"]
    assert answer["predictions"] == upgraded.answer["predictions"]
    assert runs_of(platform, champion) == upgraded.runs
    with platform.mlflow() as mlflow:
        found = mlflow.get(
            "/api/2.0/mlflow/registered-models/alias", params={"name": champion, "alias": "champion"}
        ).json()
    assert found["model_version"]["version"] == upgraded.model["live"]["champion"]


def test_a_rotated_password_is_taken_up_everywhere_on_the_restored_platform(platform: Platform, champion: str) -> None:
    before = platform.secret("postgres_mlflow"), platform.secret("mlflow_data_scientist_password")
    platform.operate("rotate", "postgres")
    platform.operate("rotate", "mlflow")
    assert platform.secret("postgres_mlflow") != before[0]
    assert platform.secret("mlflow_data_scientist_password") != before[1]
    with platform.client("MLFLOW", auth=("data-scientist", before[1])) as mlflow:
        assert mlflow.post("/api/2.0/mlflow/experiments/search", json={"max_results": 1}).status_code == 401
    platform.train_again(champion)
