"""Each service's key reaches its own buckets and nothing else, whichever way the store makes users."""

from __future__ import annotations

import configparser
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from stack_platform import Platform, copy_of_the_working_tree, wait_for
from test_a_fresh_platform import example_of

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

BUCKETS = ("raw", "snapshots", "runs", "models", "predictions")
FRONT_END = "aforo-test/minio-front-end"
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
def minio(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The `minio` service of docker-compose.yaml alone, with MinIO's own front end under MinIO's command line."""
    program = shutil.which("juicefs", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.fail("juicefs is not installed; it comes with the development requirements")
    context = shutil.copytree(Path(__file__).parent / "minio_front_end", tmp_path_factory.mktemp("image") / "context")
    shutil.copy(program, context / "juicefs")
    platform.run("docker", "build", "--tag", FRONT_END, str(context))
    alone = Platform(copy_of_the_working_tree(tmp_path_factory.mktemp("minio")), project="aforo-test-minio")
    alone.operate("secrets")
    alone.set("AFORO_STORE", "minio")
    alone.set("AFORO_MINIO_IMAGE", FRONT_END)
    try:
        alone.up("minio")
        alone.compose("run", "--rm", "-T", "minio-init")
        yield alone
    finally:
        alone.compose("down", "--volumes", "--remove-orphans", check=False)


@pytest.fixture(scope="module")
def minio_store(minio: Platform) -> Store:
    networks = minio.inspect("minio")["NetworkSettings"]["Networks"]
    return Store(f"http://{networks[f'{minio.project}_back']['IPAddress']}:9000", minio.folder / "secrets")


@pytest.fixture(scope="module")
def stack_store(platform: Platform) -> Store:
    """The platform's own store, through its published port."""
    return Store(platform.url("STORE"), platform.folder / "secrets", str(platform.folder / "secrets" / "tls_authority"))


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


@pytest.mark.parametrize("store", ["stack_store", "minio_store"])
@pytest.mark.parametrize("service", REACH)
def test_a_key_reaches_its_own_buckets_and_no_other(request: pytest.FixtureRequest, store: str, service: str) -> None:
    client = request.getfixturevalue(store).client(service)
    assert {bucket for bucket in BUCKETS if allowed(client, bucket)} == REACH[service]


@pytest.mark.parametrize("store", ["stack_store", "minio_store"])
@pytest.mark.parametrize("service", REACH)
def test_a_key_can_make_no_bucket(request: pytest.FixtureRequest, store: str, service: str) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        request.getfixturevalue(store).client(service).create_bucket(Bucket="another")


def test_users_of_minio_are_made_through_its_admin_api_as_often_as_wanted(minio: Platform, minio_store: Store) -> None:
    said = minio.compose("run", "--rm", "-T", "minio-init")
    assert "keys ready: mlflow, tasks, predictions (MinioAccounts)" in said
    assert allowed(minio_store.client("tasks"), "runs")


def test_a_key_of_minio_that_was_rotated_is_of_no_use_any_more(minio: Platform, minio_store: Store) -> None:
    before = minio_store.client("tasks")
    secret = minio.folder / "secrets" / "store_tasks_secret_key"
    secret.unlink()
    minio.operate("secrets")
    minio.compose("run", "--rm", "-T", "minio-init")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        before.list_objects_v2(Bucket="runs")
    assert allowed(minio_store.client("tasks"), "runs")


def test_answered_predictions_are_shipped_to_their_bucket(
    platform: Platform, champion: str, stack_store: Store
) -> None:
    with platform.api() as api:
        assert api.post(f"/models/{champion}/predict", json=example_of(api, champion)).status_code == 200
    tasks = stack_store.client("tasks")
    wait_for(lambda: tasks.list_objects_v2(Bucket="predictions")["KeyCount"] > 0, 150, "the prediction log")
