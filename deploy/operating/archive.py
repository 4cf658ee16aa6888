"""One consistent archive of the platform's data, and the way back.

What writes is stopped while the archive is made, and predictions go on being answered meanwhile. The archive is a
tar file: a dump of each database, the objects of all buckets, the two keys without which the data is of no use (the
one that signed the bundles, and the one that Airflow's connections are encrypted with), and a manifest with the
SHA-256 of each. It holds those keys: guard it as you guard ``secrets/``.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from operating import secret_files
from operating.stack import ROOT, SECRETS, OperatingError, compose, containers, environment

FORMAT = 1
DATABASES = ("airflow", "mlflow", "mlflow_auth", "aforo")
KEYS = ("signing_key", "airflow_fernet_key")
WRITERS = (
    "airflow-scheduler", "airflow-api-server", "airflow-dag-processor", "airflow-triggerer", "mlflow", "log-shipper",
)  # fmt: skip


def backup(to: Path | None = None) -> Path:
    """Write the archive, complete or not at all, and return where it is."""
    now = dt.datetime.now(dt.UTC)
    to = (to or ROOT / "backups" / f"{now:%Y-%m-%dT%H-%M-%SZ}.tar").absolute()
    to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    running = {str(c["Service"]) for c in containers() if c["State"] == "running"}
    if not {"postgres", "minio"} <= running:
        raise OperatingError("postgres and minio must run for a backup\nhint: `make up` first")
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".backup-") as name:
        folder = Path(name)
        with stopped([service for service in WRITERS if service in running]):
            for database in DATABASES:
                with (folder / f"{database}.dump").open("wb") as file:
                    compose("exec", "-T", "postgres", "pg_dump", "--username=postgres", "--format=custom", database,
                            stdout=file)  # fmt: skip
            with (folder / "objects.tar").open("wb") as file:
                in_store("save", stdout=file)
        for key in KEYS:
            (folder / key).write_bytes((SECRETS / key).read_bytes())
        seal(folder, to, now)
    return to


def restore(file: Path) -> None:
    """Put the archive in the place of all data there is now. Nothing is touched before the archive is found sound."""
    with tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=".restore-") as name:
        folder = Path(name)
        unseal(file, folder)
        secret_files.make()
        for key in KEYS:
            secret_files.write(key, (folder / key).read_text(encoding="utf-8"))
        compose("stop", *WRITERS, "prediction-api")
        compose("up", "--detach", "--wait", "postgres", "minio")
        for database in DATABASES:
            sql = f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)'
            compose("exec", "-T", "postgres", "psql", "--username=postgres", "--quiet", "--command", sql)
        compose("run", "--rm", "--no-deps", "-T", "postgres-init")
        compose("run", "--rm", "--no-deps", "-T", "minio-init")
        for database in DATABASES:
            with (folder / f"{database}.dump").open("rb") as dump:
                compose("exec", "-T", "postgres", "pg_restore", "--username=postgres", f"--dbname={database}",
                        "--no-owner", f"--role={database}", "--exit-on-error", "--single-transaction",
                        stdin=dump)  # fmt: skip
        with (folder / "objects.tar").open("rb") as objects:
            in_store("load", stdin=objects)
        forget_served_models()
        compose("up", "--detach", "--wait", "--force-recreate", *WRITERS, "prediction-api", "proxy", "metrics")


def in_store(command: str, **options: object) -> None:
    compose("run", "--rm", "--no-deps", "-T", "minio-init", "python", "/opt/deploy/prepare/objects.py", command,
            **options)  # fmt: skip


def forget_served_models() -> None:
    # Version 3 of before the restore may be another model than version 3 of the archive.
    compose("run", "--rm", "--no-deps", "-T", "prediction-api", "find", "/var/lib/aforo", "-mindepth", "1", "-delete")


@contextmanager
def stopped(services: list[str]) -> Iterator[None]:
    """Stop the services, and start them again whatever happens in between."""
    if services:
        compose("stop", *services)
    try:
        yield
    finally:
        if services:
            compose("up", "--detach", "--wait", "--no-deps", "--no-recreate", *services)


def seal(folder: Path, to: Path, now: dt.datetime) -> None:
    files = sorted(path.name for path in folder.iterdir())
    manifest = {
        "format": FORMAT,
        "made": now.isoformat(),
        "version": environment().get("AFORO_VERSION", ""),
        "files": {name: {"sha256": digest_of(folder / name), "size": (folder / name).stat().st_size} for name in files},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    partial = to.with_name(f".{to.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name in ("manifest.json", *files):
                archive.add(folder / name, arcname=name)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(to)


def unseal(file: Path, folder: Path) -> None:
    """Unpack the archive into ``folder``, and refuse it unless each file is there and is what was saved."""
    try:
        with tarfile.open(file) as archive:
            archive.extractall(folder, filter="data")
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        files, version = manifest["files"], manifest["format"]
    except (OSError, tarfile.TarError, ValueError, KeyError) as error:
        raise OperatingError(f"{file} cannot be read as a backup: {error}; nothing was changed") from error
    if version != FORMAT:
        raise OperatingError(f"{file} has format {version}; expected {FORMAT}; nothing was changed")
    expected = {f"{database}.dump" for database in DATABASES} | {"objects.tar", *KEYS}
    damaged = [
        name
        for name in sorted(expected | set(files))
        if name not in files or not (folder / name).is_file() or digest_of(folder / name) != files[name]["sha256"]
    ]
    if damaged:
        raise OperatingError(f"{file} is damaged: {', '.join(damaged)} are not as saved; nothing was changed")


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
