"""``make doctor`` names what was broken, and how to mend it; what it says to do mends it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from stack_platform import PORTS, Platform

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

OLD_REVISION = "000000000000"


@contextmanager
def a_port_taken(platform: Platform, _: Path) -> Iterator[str]:
    platform.compose("stop", "proxy")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", PORTS["MLFLOW"]))
        other.listen()
        yield f"port {PORTS['MLFLOW']} is taken"
    platform.compose("up", "--detach", "--no-deps", "proxy")


@contextmanager
def a_secret_missing(platform: Platform, _: Path) -> Iterator[str]:
    path = platform.folder / "secrets" / "prediction_api_key"
    hidden = path.rename(platform.folder / f"{path.name}.hidden")
    yield "secrets/prediction_api_key is missing: run `make secrets`"
    hidden.rename(path)


@contextmanager
def a_secret_that_others_can_read(platform: Platform, _: Path) -> Iterator[str]:
    path = platform.folder / "secrets" / "store_root_user"
    path.chmod(0o644)
    yield "secrets/store_root_user can be read by others: chmod 600 secrets/store_root_user"
    path.chmod(0o600)


@contextmanager
def a_jwt_secret_not_shared(platform: Platform, _: Path) -> Iterator[str]:
    path = platform.folder / "secrets" / "airflow_jwt_secret"
    hidden = path.rename(platform.folder / f"{path.name}.hidden")
    platform.operate("secrets")
    yield "airflow-scheduler runs with another airflow_jwt_secret than secrets/ holds"
    hidden.replace(path)


@contextmanager
def a_bucket_missing(platform: Platform, _: Path) -> Iterator[str]:
    buckets(platform, "store.delete_bucket(Bucket='raw')")
    yield "missing buckets: raw: docker compose run --rm minio-init"
    platform.compose("run", "--rm", "-T", "minio-init")


@contextmanager
def a_migration_pending(platform: Platform, _: Path) -> Iterator[str]:
    revision = sql(platform, "SELECT version_num FROM alembic_version")
    sql(platform, f"UPDATE alembic_version SET version_num = '{OLD_REVISION}'")
    yield "a migration is pending: make upgrade"
    sql(platform, f"UPDATE alembic_version SET version_num = '{revision}'")


@contextmanager
def an_mlflow_that_refuses_our_host(platform: Platform, folder: Path) -> Iterator[str]:
    other = folder / "other.json"
    other.write_text(
        json.dumps({"services": {"mlflow": {"environment": {"AFORO_MLFLOW_ALLOWED_HOSTS": "mlflow:5000"}}}})
    )
    platform.compose("-f", "docker-compose.yaml", "-f", str(other), "up", "--detach", "--wait", "--no-deps", "mlflow")
    yield f"MLflow refuses {platform.url('MLFLOW')}: after a change of AFORO_HOST or a port, run `make up` again"
    platform.compose("up", "--detach", "--no-deps", "mlflow")


def buckets(platform: Platform, statement: str) -> None:
    program = (
        "import sys; sys.path.insert(0, '/opt/deploy/prepare'); import os, boto3, objects as o\n"
        "store = boto3.client('s3', endpoint_url=os.environ['AFORO_S3_ENDPOINT_URL'], region_name='us-east-1',\n"
        "  aws_access_key_id=(o.SECRETS / 'store_root_user').read_text().strip(),\n"
        "  aws_secret_access_key=(o.SECRETS / 'store_root_password').read_text().strip())\n"
        f"{statement}"
    )
    platform.compose("run", "--rm", "--no-deps", "-T", "minio-init", "python", "-c", program)


def sql(platform: Platform, statement: str) -> str:
    command = ("psql", "--username=postgres", "--tuples-only", "--no-align", "--command", statement, "airflow")
    return platform.compose("exec", "-T", "postgres", *command).strip()


# All at once, but for the port: with it taken, the proxy does not run, through which MLflow is asked. The first one
# makes the secrets that are missing.
AT_ONCE = (
    a_jwt_secret_not_shared, a_secret_missing, a_secret_that_others_can_read, an_mlflow_that_refuses_our_host,
    a_bucket_missing, a_migration_pending,
)  # fmt: skip


@dataclass(frozen=True)
class Examined:
    """What was broken at the same time, by its name with what the doctor has to say of it, and what the doctor said."""

    expected: dict[str, str]
    code: int
    said: str


@pytest.fixture(scope="module")
def examined(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Examined:
    with ExitStack() as broken:
        folder = tmp_path_factory.mktemp("broken")
        expected = {breaking.__name__: broken.enter_context(breaking(platform, folder)) for breaking in AT_ONCE}
        done = platform.operate("doctor", check=False)
    return Examined(expected, done.returncode, done.stdout)


@pytest.mark.parametrize("breaking", [breaking.__name__ for breaking in AT_ONCE])
def test_the_doctor_names_it(examined: Examined, breaking: str) -> None:
    assert examined.code == 1, examined.said
    assert examined.expected[breaking] in examined.said


def test_the_doctor_finds_nothing_else(examined: Examined) -> None:
    named = (*examined.expected.values(), "runs with another airflow_jwt_secret")
    findings = [line for line in examined.said.splitlines() if line.startswith("       - ")]
    assert [line for line in findings if not any(what in line for what in named)] == []


def test_the_doctor_names_a_port_that_is_taken(platform: Platform, tmp_path: Path) -> None:
    with a_port_taken(platform, tmp_path) as expected:
        done = platform.operate("doctor", check=False)
    assert done.returncode == 1, done.stdout
    assert expected in done.stdout


def test_nothing_is_wrong_after_all_of_it_was_mended(platform: Platform) -> None:
    platform.up()
    done = platform.operate("doctor", check=False)
    assert done.returncode == 0, done.stdout
