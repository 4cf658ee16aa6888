"""One archive brings everything back on an empty machine; a damaged one is refused and changes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from stack_platform import Platform, wait_for
from test_a_fresh_platform import example_of

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]


def test_a_restored_platform_serves_the_same_champion(platform: Platform, champion: str, tmp_path: Path) -> None:
    with platform.api() as api:
        before = api.get(f"/models/{champion}").json()
        example = example_of(api, champion)
        expected = api.post(f"/models/{champion}/predict", json=example).json()
    with platform.airflow() as airflow:
        runs = airflow.get(f"/api/v2/dags/{champion}__training/dagRuns").json()["total_entries"]
    archive = tmp_path / "platform.tar"
    platform.operate("backup", "--to", str(archive))
    assert archive.stat().st_mode & 0o777 == 0o600

    platform.compose("down", "--volumes")
    shutil.rmtree(platform.folder / "secrets")
    platform.operate("secrets")  # an empty machine: nothing is left but the archive
    platform.up()
    with platform.api() as api:
        assert api.get(f"/models/{champion}").status_code == 404
    platform.operate("restore", str(archive))

    with platform.api() as api:
        wait_for(lambda: api.get(f"/models/{champion}").json()["live"] == before["live"], 60, "the same champion")
        after = api.get(f"/models/{champion}").json()
        answer = api.post(f"/models/{champion}/predict", json=example).json()
    assert after["champion"]["digest"] == before["champion"]["digest"]
    assert answer["predictions"] == expected["predictions"]
    with platform.airflow() as airflow:
        assert airflow.get(f"/api/v2/dags/{champion}__training/dagRuns").json()["total_entries"] == runs
    with platform.mlflow() as mlflow:
        found = mlflow.get(
            "/api/2.0/mlflow/registered-models/alias", params={"name": champion, "alias": "champion"}
        ).json()
    assert found["model_version"]["version"] == before["live"]["champion"]


@pytest.fixture(scope="module")
def archive(platform: Platform, champion: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backup") / "platform.tar"
    platform.operate("backup", "--to", str(path))
    return path


@pytest.mark.parametrize("damage", ["one bit", "cut short", "something else"])
def test_a_damaged_archive_is_refused(
    platform: Platform, champion: str, archive: Path, tmp_path: Path, damage: str
) -> None:
    content = bytearray(archive.read_bytes())
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


def test_a_rotated_password_is_taken_up_everywhere_on_the_restored_platform(platform: Platform, champion: str) -> None:
    before = platform.secret("postgres_mlflow"), platform.secret("mlflow_data_scientist_password")
    platform.operate("rotate", "postgres")
    platform.operate("rotate", "mlflow")
    assert platform.secret("postgres_mlflow") != before[0]
    assert platform.secret("mlflow_data_scientist_password") != before[1]
    with platform.client("MLFLOW", auth=("data-scientist", before[1])) as mlflow:
        assert mlflow.post("/api/2.0/mlflow/experiments/search", json={"max_results": 1}).status_code == 401
    platform.train_again(champion)
