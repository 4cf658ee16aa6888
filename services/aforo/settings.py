"""The environment, read once.

Addresses and secrets come from environment variables, and from nowhere else. A secret is given as
a file (``AFORO_S3_SECRET_KEY_FILE=/run/secrets/...``), so that it appears in no process listing.
Every variable is documented in ``.env.example``; a test holds the two together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aforo.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where everything is. Without any variable set, all of it is in one folder.

    Attributes
    ----------
    home
        Folder of the embedded default: store, MLflow, ledger and signing key live under it.
    store_url
        ``file:///folder`` or ``s3://`` (one bucket per kind of data: ``snapshots``, ``runs``, ...).
    mlflow_tracking_uri
        Any tracking URI that MLflow accepts.
    ledger_url
        SQLAlchemy URL of the ledger's database.
    use_cases
        Folder with one folder per use case.
    signing_key_file
        File with the HMAC key that signs bundles; made on first use in the embedded default.
    patience_s
        For how long a step tries again while a store, database or server does not answer, in s; 0: not at all.
    code_commit
        The git commit an image was built from; ``None`` where the code runs from a checkout, which can be asked.
    """

    home: Path
    store_url: str
    s3_endpoint_url: str | None = None
    s3_region: str = "us-east-1"
    s3_access_key: str | None = None
    s3_secret_key: str | None = None
    s3_bucket_prefix: str = ""
    mlflow_tracking_uri: str
    mlflow_username: str | None = None
    mlflow_password: str | None = None
    mlflow_public_url: str | None = None
    ledger_url: str
    use_cases: Path
    signing_key_file: Path
    log_format: str = "text"
    patience_s: float = 0.0
    code_commit: str | None = None

    @property
    def is_embedded(self) -> bool:
        """Whether everything lives in one folder of this machine."""
        return self.store_url.startswith("file://")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the environment.

        Raises
        ------
        SettingsError
            A variable has a value that cannot be used, or a secret file cannot be read.
        """
        home = Path(environ.get("AFORO_HOME", ".aforo")).expanduser().absolute()
        store_url = environ.get("AFORO_STORE_URL") or (home / "store").as_uri()
        if not store_url.startswith(("file:///", "s3://")):
            raise SettingsError(
                f"AFORO_STORE_URL is {store_url!r}; expected file:///folder or s3://",
                hint="unset it to keep everything in one folder",
            )
        log_format = environ.get("AFORO_LOG_FORMAT", "text")
        if log_format not in ("text", "json"):
            raise SettingsError(f"AFORO_LOG_FORMAT is {log_format!r}; expected text or json")
        patience = environ.get("AFORO_PATIENCE_S") or "0"
        if not patience.isdecimal():
            raise SettingsError(f"AFORO_PATIENCE_S is {patience!r}; expected whole seconds, such as 600")
        packaged = Path(__file__).parent.parent / "use_cases"
        return cls(
            home=home,
            store_url=store_url,
            s3_endpoint_url=environ.get("AFORO_S3_ENDPOINT_URL"),
            s3_region=environ.get("AFORO_S3_REGION", "us-east-1"),
            s3_access_key=secret(environ, "AFORO_S3_ACCESS_KEY"),
            s3_secret_key=secret(environ, "AFORO_S3_SECRET_KEY"),
            s3_bucket_prefix=environ.get("AFORO_S3_BUCKET_PREFIX", ""),
            mlflow_tracking_uri=environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home}/mlflow.db",
            mlflow_username=environ.get("MLFLOW_TRACKING_USERNAME"),
            mlflow_password=secret(environ, "MLFLOW_TRACKING_PASSWORD"),
            mlflow_public_url=environ.get("AFORO_MLFLOW_PUBLIC_URL"),
            ledger_url=secret(environ, "AFORO_LEDGER_URL") or f"sqlite:///{home}/ledger.db",
            use_cases=Path(environ.get("AFORO_USE_CASES") or packaged).absolute(),
            signing_key_file=Path(environ.get("AFORO_SIGNING_KEY_FILE") or home / "signing.key"),
            log_format=log_format,
            patience_s=float(patience),
            code_commit=environ.get("AFORO_CODE_COMMIT") or None,
        )


def secret(environ: Mapping[str, str], name: str) -> str | None:
    """Return the secret in the file that ``<name>_FILE`` points at, else the variable's own value."""
    path = environ.get(f"{name}_FILE")
    if path is None:
        return environ.get(name)
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(
            f"{name}_FILE points at {path}, which cannot be read: {error.strerror}",
            hint="run `make secrets`, and check the file's owner",
        ) from error
