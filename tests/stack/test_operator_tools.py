"""The operator's tools, in a copy of the files they need; none of these tests needs Docker."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from metrics.statsd import Figures, named
from operating.archive import DATABASES, KEYS, seal, unseal
from operating.stack import OperatingError
from prepare import patiently

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".env.example", tmp_path)
    return tmp_path


def operate(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AFORO_")}
    return subprocess.run(
        [sys.executable, "-m", "operating", *arguments],
        env=environment | {"PYTHONPATH": str(checkout / "deploy")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_secrets_are_made_once_each_for_its_owner_alone(checkout: Path) -> None:
    assert operate(checkout, "secrets").returncode == 0
    before = {path.name: path.read_bytes() for path in (checkout / "secrets").iterdir()}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (checkout / "secrets").iterdir()} == {0o600}
    assert operate(checkout, "secrets").stdout == "secrets: all there\n"
    assert {path.name: path.read_bytes() for path in (checkout / "secrets").iterdir()} == before


def test_every_secret_that_compose_mounts_is_made(checkout: Path) -> None:
    operate(checkout, "secrets")
    mounted = set(re.findall(r"\./secrets/(\w+)", (ROOT / "docker-compose.yaml").read_text()))
    assert mounted <= {path.name for path in (checkout / "secrets").iterdir()}


def test_no_two_machines_have_a_secret_in_common(checkout: Path) -> None:
    operate(checkout, "secrets")
    first = {path.name: path.read_bytes() for path in (checkout / "secrets").iterdir()}
    shutil.rmtree(checkout / "secrets")
    operate(checkout, "secrets")
    assert not [path.name for path in (checkout / "secrets").iterdir() if path.read_bytes() == first[path.name]]


def test_containers_never_run_as_root(checkout: Path) -> None:
    operate(checkout, "secrets")
    assert "\nAFORO_UID=0\n" not in (checkout / ".env").read_text()
    assert "\nAFORO_UID=\n" not in (checkout / ".env").read_text()


def test_an_environment_that_is_there_is_left_alone(checkout: Path) -> None:
    (checkout / ".env").write_text("AFORO_UID=4321\nAFORO_GID=4321\nAFORO_HOST=models.example\n")
    operate(checkout, "secrets")
    assert (checkout / ".env").read_text() == "AFORO_UID=4321\nAFORO_GID=4321\nAFORO_HOST=models.example\n"


def test_the_certificate_is_for_the_host_and_signed_by_the_authority(checkout: Path) -> None:
    (checkout / ".env").write_text("AFORO_UID=4321\nAFORO_GID=4321\nAFORO_HOST=models.example\n")
    operate(checkout, "secrets")
    secrets = checkout / "secrets"
    said = subprocess.run(
        ["openssl", "verify", "-CAfile", secrets / "tls_authority", "-verify_hostname", "models.example",
         secrets / "tls_certificate"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr


def test_rotating_an_unknown_service_names_the_known_ones(checkout: Path) -> None:
    done = operate(checkout, "rotate", "postgress")
    assert done.returncode == 1
    assert "postgress" in done.stderr
    assert "minio-root" in done.stderr


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "content"
    folder.mkdir()
    for name in (*(f"{database}.dump" for database in DATABASES), "objects.tar", *KEYS):
        (folder / name).write_bytes(name.encode() * 100)
    seal(folder, tmp_path / "backup.tar", dt.datetime(2026, 1, 31, tzinfo=dt.UTC))
    return tmp_path / "backup.tar"


def test_a_sound_archive_is_unpacked(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    unseal(archive, tmp_path / "out")
    assert (tmp_path / "out" / "objects.tar").read_bytes() == b"objects.tar" * 100
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["aforo.dump", "objects.tar", "signing_key"])
def test_an_archive_with_one_bit_changed_is_refused_by_name(archive: Path, tmp_path: Path, name: str) -> None:
    with tarfile.open(archive) as tar:
        at = tar.getmember(name).offset_data + 10
    content = bytearray(archive.read_bytes())
    content[at] ^= 1
    archive.write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(OperatingError, match=f"{name} .*nothing was changed"):
        unseal(archive, tmp_path / "out")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_archive_that_was_cut_short_is_refused(archive: Path, tmp_path: Path, share: float) -> None:
    content = archive.read_bytes()
    with tarfile.open(archive) as tar:
        end = max(member.offset_data + member.size for member in tar.getmembers())
    archive.write_bytes(content[: int(end * share)])
    (tmp_path / "out").mkdir()
    with pytest.raises(OperatingError, match="nothing was changed"):
        unseal(archive, tmp_path / "out")


def test_an_archive_that_lacks_a_database_is_refused(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "content"
    (folder / "mlflow.dump").unlink()
    (folder / "manifest.json").unlink()
    seal(folder, archive, dt.datetime(2026, 1, 31, tzinfo=dt.UTC))
    (tmp_path / "out").mkdir()
    with pytest.raises(OperatingError, match=r"mlflow\.dump"):
        unseal(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("raw", "name", "labels"),
    [
        ("dag.digits__training.train.duration", "airflow_task_duration", {"dag": "digits__training", "task": "train"}),
        ("dagrun.duration.failed.digits__training", "airflow_dag_run_duration_failed", {"dag": "digits__training"}),
        ("ti.finish.digits__training.train.success", "airflow_task_finished",
         {"dag": "digits__training", "state": "success", "task": "train"}),
        ("pool.open_slots.default_pool", "airflow_pool_open_slots", {"pool": "default_pool"}),
        ("scheduler_heartbeat", "airflow_scheduler_heartbeat", {}),
    ],
)  # fmt: skip
def test_names_of_dags_and_tasks_become_labels(raw: str, name: str, labels: dict[str, str]) -> None:
    assert named(raw) == (name, tuple(sorted(labels.items())))


def test_figures_add_up_as_statsd_means_them() -> None:
    figures = Figures()
    for line in (
        "airflow.runs:1|c",
        "airflow.runs:2|c",
        "airflow.slots:5|g",
        "airflow.slots:-2|g",
        "airflow.wait:250|ms",
        "no figure",
    ):
        figures.take(line)
    assert figures.text().splitlines() == [
        "# TYPE airflow_runs_total counter",
        "airflow_runs_total 3.0",
        "# TYPE airflow_slots gauge",
        "airflow_slots 3.0",
        "# TYPE airflow_wait_seconds_count counter",
        "airflow_wait_seconds_count 1.0",
        "# TYPE airflow_wait_seconds_sum counter",
        "airflow_wait_seconds_sum 0.25",
    ]


def test_the_dashboard_asks_for_figures_that_exist() -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert all(any(prefix in query for prefix in ("aforo_", "airflow_", "postgres_")) for query in asked)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("fails", "ends_with", "waits_s"), [(0, 0, 0), (4, 0, 12), (1000, 7, 93)])
def test_what_prepares_something_is_tried_until_what_it_needs_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int, ends_with: int, waits_s: float
) -> None:
    clock, tries = Clock(), tmp_path / "tries"
    monkeypatch.setattr(patiently, "time", clock)
    script = f'echo >> {tries}; [ "$(wc -l < {tries})" -gt {fails} ] || exit 7'

    assert patiently.main(["sh", "-c", script]) == ends_with
    assert clock.now == waits_s
