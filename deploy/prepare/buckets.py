"""Make the buckets, and for each service a key that reaches its own buckets and nothing else.

Users are made through MinIO's admin API where the store has one, else through the AWS IAM API, as
SeaweedFS offers it. Runs before the services, as often as wanted: what is there stays, keys become those in
the secret files.
"""

from __future__ import annotations

import configparser
import json
import os
import sys
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session
from minio.credentials import StaticProvider
from minio.error import MinioAdminException
from minio.minioadmin import MinioAdmin

SECRETS = Path(os.environ.get("AFORO_SECRETS", "/run/secrets"))
BUCKETS = ("raw", "snapshots", "runs", "models", "predictions")
REACH = {
    "mlflow": ("models",),
    "tasks": ("raw", "snapshots", "runs", "predictions"),
    "predictions": ("predictions",),
}
"""Which buckets each service's key reads and writes."""


class Accounts(Protocol):
    """Makes users of the store."""

    def put(self, name: str, key: Credentials, policy: dict[str, object]) -> None: ...


def main() -> None:
    endpoint = os.environ["AFORO_S3_ENDPOINT_URL"]
    root = Credentials(read("store_root_user"), read("store_root_password"))
    make_buckets(endpoint, root)
    accounts = accounts_of(endpoint, root)
    for service, buckets in REACH.items():
        accounts.put(service, key_of(service), policy_for(buckets))
    print(f"buckets ready: {', '.join(BUCKETS)}; keys ready: {', '.join(REACH)} ({type(accounts).__name__})")


def read(name: str) -> str:
    return (SECRETS / name).read_text(encoding="utf-8").strip()


def key_of(service: str) -> Credentials:
    """Return a service's key from its two files, or from its one AWS credentials file."""
    if (SECRETS / f"store_{service}_access_key").exists():
        return Credentials(read(f"store_{service}_access_key"), read(f"store_{service}_secret_key"))
    parser = configparser.ConfigParser()
    parser.read_string(read(f"store_{service}"))
    return Credentials(parser["default"]["aws_access_key_id"], parser["default"]["aws_secret_access_key"])


def make_buckets(endpoint: str, root: Credentials) -> None:
    store = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=root.access_key,
        aws_secret_access_key=root.secret_key,
        region_name="us-east-1",
        config=Config(request_checksum_calculation="when_required", response_checksum_validation="when_required"),
    )
    present = {bucket["Name"] for bucket in store.list_buckets().get("Buckets", [])}
    for bucket in BUCKETS:
        if bucket not in present:
            store.create_bucket(Bucket=bucket)


def policy_for(buckets: tuple[str, ...]) -> dict[str, object]:
    names = [f"arn:aws:s3:::{bucket}" for bucket in buckets]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": names,
            },
            {
                "Effect": "Allow",
                "Action": [
                    "s3:GetObject",
                    "s3:PutObject",
                    "s3:DeleteObject",
                    "s3:AbortMultipartUpload",
                ],
                "Resource": [f"{name}/*" for name in names],
            },
        ],
    }


def accounts_of(endpoint: str, root: Credentials) -> Accounts:
    """Return what makes users in this store: MinIO's admin API if it is there, else IAM."""
    address = urlsplit(endpoint)
    admin = MinioAdmin(
        endpoint=address.netloc,
        credentials=StaticProvider(root.access_key, root.secret_key),
        secure=address.scheme == "https",
    )
    try:
        admin.user_list()
    except (MinioAdminException, ValueError):  # no such route: an S3 error page, or an answer that does not decrypt
        return IamAccounts(endpoint, root)
    return MinioAccounts(admin)


class MinioAccounts:
    """Users through MinIO's admin API; a user's name is its access key."""

    def __init__(self, admin: MinioAdmin) -> None:
        self._admin = admin

    def put(self, name: str, key: Credentials, policy: dict[str, object]) -> None:
        policy_name = f"aforo-{name}"
        self._admin.policy_add(policy_name, policy=policy)
        self._admin.user_add(key.access_key, key.secret_key)
        self._admin.policy_set(policy_name, user=key.access_key)


class IamAccounts:
    """Users through the AWS IAM API, with keys of our own choice, which SeaweedFS accepts and AWS would not."""

    def __init__(self, endpoint: str, root: Credentials) -> None:
        self._endpoint, self._root = endpoint, root
        self._iam = boto3.client(
            "iam",
            endpoint_url=endpoint,
            aws_access_key_id=root.access_key,
            aws_secret_access_key=root.secret_key,
            region_name="us-east-1",
        )

    def put(self, name: str, key: Credentials, policy: dict[str, object]) -> None:
        try:
            self._iam.create_user(UserName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] == "AccessDenied":
                sys.exit(
                    f"{self._endpoint} has neither MinIO's admin API nor writable users: {error}\n"
                    "hint: use the MinIO image of .env.example, or set AFORO_STORE=seaweedfs"
                )
            if error.response["Error"]["Code"] != "EntityAlreadyExists":
                raise
        for old in self._iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
            self._iam.delete_access_key(UserName=name, AccessKeyId=old["AccessKeyId"])
        self._create_key(name, key)
        self._iam.put_user_policy(UserName=name, PolicyName=f"aforo-{name}", PolicyDocument=json.dumps(policy))

    def _create_key(self, name: str, key: Credentials) -> None:
        # boto3 has no parameters for a key of one's own, so this one call is signed by hand.
        request = AWSRequest(
            method="POST",
            url=self._endpoint,
            data={
                "Action": "CreateAccessKey",
                "Version": "2010-05-08",
                "UserName": name,
                "AccessKeyId": key.access_key,
                "SecretAccessKey": key.secret_key,
            },
            headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
        )
        SigV4Auth(self._root, "iam", "us-east-1").add_auth(request)
        answer = URLLib3Session().send(request.prepare())
        if answer.status_code != 200 or key.access_key not in answer.text:
            sys.exit(f"{self._endpoint} did not take the key of {name!r}: HTTP {answer.status_code}")


if __name__ == "__main__":
    main()
