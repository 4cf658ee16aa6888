"""Each service's key reaches its own buckets and nothing else, whichever way the store makes users."""

from __future__ import annotations

import configparser
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from stack_platform import Platform

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

BUCKETS = ("raw", "snapshots", "runs", "models", "predictions")
REACH = {
    "mlflow": {"models"},
    "tasks": {"raw", "snapshots", "runs", "predictions"},
    "predictions": {"predictions"},
}


@dataclass(frozen=True)
class Store:
    endpoint: str
    secrets: Path
    certificate: str | None = None

    def client(self, service: str) -> Any:
        if service == "mlflow":
            parser = configparser.ConfigParser()
            parser.read(self.secrets / "store_mlflow")
            key = parser["default"]["aws_access_key_id"], parser["default"]["aws_secret_access_key"]
        else:
            key = self.read(f"store_{service}_access_key"), self.read(f"store_{service}_secret_key")
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=key[0],
            aws_secret_access_key=key[1],
            region_name="us-east-1",
            verify=self.certificate,
            config=Config(request_checksum_calculation="when_required", response_checksum_validation="when_required"),
        )

    def read(self, name: str) -> str:
        return (self.secrets / name).read_text(encoding="utf-8").strip()


@pytest.fixture(scope="module")
def admin_api_store(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with MinIO's admin API: JuiceFS's gateway, which carries MinIO's own front end."""
    program = shutil.which("juicefs", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.fail("juicefs is not installed; it comes with the development requirements")
    folder = tmp_path_factory.mktemp("juicefs")
    secrets = shutil.copytree(platform.folder / "secrets", folder / "secrets")
    for path in (secrets, *secrets.iterdir()):
        shutil.chown(path, *ownership(platform))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meta = f"sqlite3://{folder}/meta.db"
    platform.run(program, "format", "--storage", "file", "--bucket", f"{folder}/objects/", meta, "tests")
    root = {
        "MINIO_ROOT_USER": platform.secret("store_root_user"),
        "MINIO_ROOT_PASSWORD": platform.secret("store_root_password"),
    }
    gateway = subprocess.Popen(
        [program, "gateway", "--multi-buckets", "--no-usage-report", meta, f"127.0.0.1:{port}"],
        env=os.environ | root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for_port(port)
        endpoint = f"http://127.0.0.1:{port}"
        for _ in range(2):  # as often as wanted
            said = prepare(platform, endpoint, secrets)
        assert "MinioAccounts" in said
        yield Store(endpoint, secrets)
    finally:
        os.killpg(gateway.pid, signal.SIGKILL)
        gateway.wait(10)


@pytest.fixture(scope="module")
def stack_store(platform: Platform) -> Store:
    """The platform's own store, through its published port."""
    return Store(platform.url("STORE"), platform.folder / "secrets", str(platform.folder / "secrets" / "tls_authority"))


def ownership(platform: Platform) -> tuple[int, int]:
    status = (platform.folder / "secrets" / "store_root_user").stat()
    return status.st_uid, status.st_gid


def prepare(platform: Platform, endpoint: str, secrets: Path) -> str:
    image = platform.inspect("mlflow")["Config"]["Image"]
    user, group = ownership(platform)
    done = platform.run(
        "docker", "run", "--rm", "--network=host", f"--user={user}:{group}", f"--volume={secrets}:/run/secrets:ro",
        f"--env=AFORO_S3_ENDPOINT_URL={endpoint}", image, "python", "/opt/deploy/prepare/buckets.py",
    )  # fmt: skip
    return done.stdout


def wait_for_port(port: int) -> None:
    for _ in range(150):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"nothing listens on port {port}")


def allowed(client: Any, bucket: str) -> bool:
    """Whether the key may do all of writing, reading, listing and deleting; fails if it may do only some of it."""
    done = []
    for call in (
        lambda: client.put_object(Bucket=bucket, Key="tests/reach", Body=b"1"),
        lambda: client.get_object(Bucket=bucket, Key="tests/reach"),
        lambda: client.list_objects_v2(Bucket=bucket),
        lambda: client.delete_object(Bucket=bucket, Key="tests/reach"),
    ):
        try:
            call()
            done.append(True)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("AccessDenied", "403"):
                raise
            done.append(False)
    assert len(set(done)) == 1, (bucket, done)
    return done[0]


@pytest.mark.parametrize("store", ["stack_store", "admin_api_store"])
@pytest.mark.parametrize("service", REACH)
def test_a_key_reaches_its_own_buckets_and_no_other(request: pytest.FixtureRequest, store: str, service: str) -> None:
    client = request.getfixturevalue(store).client(service)
    assert {bucket for bucket in BUCKETS if allowed(client, bucket)} == REACH[service]


@pytest.mark.parametrize("store", ["stack_store", "admin_api_store"])
@pytest.mark.parametrize("service", REACH)
def test_a_key_can_make_no_bucket(request: pytest.FixtureRequest, store: str, service: str) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        request.getfixturevalue(store).client(service).create_bucket(Bucket="another")
