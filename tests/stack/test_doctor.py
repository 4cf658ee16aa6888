"""``make doctor`` names what was broken, and how to mend it; what it says to do mends it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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
    platform.compose("start", "proxy")


@contextmanager
def a_secret_missing(platform: Platform, _: Path) -> Iterator[str]:
    path = platform.folder / "secrets" / "prediction_api_key"
    hidden = path.rename(platform.folder / "hidden")
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
    hidden = path.rename(platform.folder / "hidden")
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
    platform.compose("up", "--detach", "--wait", "--no-deps", "mlflow")


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


@pytest.mark.parametrize(
    "breaking",
    [a_port_taken, a_secret_missing, a_secret_that_others_can_read, a_jwt_secret_not_shared, a_bucket_missing,
     a_migration_pending, an_mlflow_that_refuses_our_host],
)  # fmt: skip
def test_the_doctor_names_it(
    platform: Platform,
    tmp_path: Path,
    breaking: Callable[[Platform, Path], AbstractContextManager[str]],
) -> None:
    with breaking(platform, tmp_path) as expected:
        examined = platform.operate("doctor", check=False)
    assert examined.returncode == 1, examined.stdout
    assert expected in examined.stdout


def test_nothing_is_wrong_after_all_of_it_was_mended(platform: Platform) -> None:
    platform.up()
    examined = platform.operate("doctor", check=False)
    assert examined.returncode == 0, examined.stdout
