"""The files in ``secrets/``: random, made once, readable by the containers' user alone.

A file that is there is never touched, so this can be repeated at any time; `rotate` is what changes one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from operating.stack import ENVIRONMENT, ROOT, SECRETS, OperatingError, containers, environment, run

# The containers' user where the operator is root, so that no container runs as root.
CONTAINER_ID = 10001
TLS_DAYS = 825


def password() -> str:
    return secrets.token_urlsafe(24)


def access_key() -> str:
    """20 capitals and digits, as S3 access keys are written."""
    return "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(20))


def fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def postgres(role: str) -> Callable[[], str]:
    """A libpq password file, so that no connection string holds a password."""
    return lambda: f"*:*:*:{role}:{secrets.token_urlsafe(24)}"


def aws_credentials() -> str:
    return f"[default]\naws_access_key_id = {access_key()}\naws_secret_access_key = {secrets.token_urlsafe(30)}"


def root_identity() -> str:
    """The same root key as in the two files beside it, as SeaweedFS reads it."""
    key = {"accessKey": read("store_root_user"), "secretKey": read("store_root_password")}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return json.dumps({"identities": [{"name": "root", "credentials": [key], "actions": actions}]})


def api_keys() -> str:
    """The prediction API's key file: it holds only the hashes of the two keys beside it."""
    keys = (
        ("first", "prediction_api_key", ["predict", "events", "feedback"]),
        ("prometheus", "prediction_api_metrics_key", ["admin"]),
    )
    entries = [
        {"name": name, "sha256": hashlib.sha256(read(file).encode()).hexdigest(), "scopes": scopes}
        for name, file, scopes in keys
    ]
    return json.dumps({"keys": entries})


def api_key() -> str:
    return "aforo_" + secrets.token_urlsafe(32)


FILES: dict[str, Callable[[], str]] = {
    "postgres_airflow": postgres("airflow"),
    "postgres_mlflow": postgres("mlflow"),
    "postgres_mlflow_auth": postgres("mlflow_auth"),
    "postgres_aforo": postgres("aforo"),
    "postgres_events": postgres("events"),
    "postgres_metrics": postgres("metrics"),
    "store_root_user": access_key,
    "store_root_password": password,
    "store_root_identity": root_identity,
    "store_mlflow": aws_credentials,
    "store_tasks_access_key": access_key,
    "store_tasks_secret_key": password,
    "store_predictions_access_key": access_key,
    "store_predictions_secret_key": password,
    "mlflow_admin_password": password,
    "mlflow_airflow_password": password,
    "mlflow_prediction_api_password": password,
    "mlflow_data_scientist_password": password,
    "airflow_admin_password": password,
    "airflow_viewer_password": password,
    "airflow_fernet_key": fernet_key,
    "airflow_api_secret_key": password,
    "airflow_jwt_secret": lambda: secrets.token_urlsafe(48),
    "signing_key": lambda: secrets.token_hex(32),
    "prediction_api_key": api_key,
    "prediction_api_metrics_key": api_key,
    "prediction_api_keys": api_keys,
}
TLS = ("tls_certificate", "tls_key", "tls_authority")

SERVICES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # what `rotate` makes anew, and which services then start again, in this order
    "postgres": (
        ("postgres_airflow", "postgres_mlflow", "postgres_mlflow_auth", "postgres_aforo", "postgres_events",
         "postgres_metrics"),
        ("postgres-init", "mlflow", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor",
         "airflow-triggerer", "prediction-api", "metrics"),
    ),
    "minio": (
        ("store_mlflow", "store_tasks_access_key", "store_tasks_secret_key",
         "store_predictions_access_key", "store_predictions_secret_key"),
        ("minio-init", "mlflow", "airflow-scheduler", "log-shipper"),
    ),
    "minio-root": (
        ("store_root_password", "store_root_identity"),
        ("minio", "minio-init"),
    ),
    "mlflow": (
        ("mlflow_admin_password", "mlflow_airflow_password", "mlflow_prediction_api_password",
         "mlflow_data_scientist_password"),
        ("mlflow-init", "mlflow", "airflow-scheduler", "prediction-api"),
    ),
    "airflow": (
        ("airflow_admin_password", "airflow_viewer_password", "airflow_api_secret_key", "airflow_jwt_secret"),
        ("airflow-init", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"),
    ),
    "prediction-api": (
        ("prediction_api_key", "prediction_api_metrics_key", "prediction_api_keys"),
        ("prediction-api", "prometheus"),
    ),
    "proxy": (TLS, ("proxy",)),
}  # fmt: skip
# Started only where it is asked for.
OPTIONAL = ("prometheus",)


def read(name: str) -> str:
    return (SECRETS / name).read_text(encoding="utf-8").strip()


def make() -> list[str]:
    """Write .env and every secret that is not there yet; return the names of those that were made."""
    write_environment()
    SECRETS.mkdir(mode=0o700, exist_ok=True)
    made = [name for name in FILES if not (SECRETS / name).exists()]
    for name in made:
        write(name, FILES[name]())
    if not all((SECRETS / name).exists() for name in TLS[:2]):
        make_certificate()
        made += TLS
    return made


def rotate(service: str) -> None:
    """Make the secrets of one service anew, and start again what uses them."""
    if service not in SERVICES:
        raise OperatingError(f"no service {service!r} has secrets to rotate; expected one of {', '.join(SERVICES)}")
    names, users = SERVICES[service]
    present = {str(container["Service"]) for container in containers()}
    users = tuple(user for user in users if user not in OPTIONAL or user in present)
    for name in names:
        if name in FILES:
            write(name, FILES[name]())
    if service == "proxy":
        make_certificate()
    run(
        ["docker", "compose", "up", "--detach", "--wait", "--no-deps", "--force-recreate", *users[:1]]
        if not users[0].endswith("-init")
        else ["docker", "compose", "run", "--rm", "--no-deps", users[0]]
    )
    if users[1:]:
        run(["docker", "compose", "up", "--detach", "--wait", "--no-deps", "--force-recreate", *users[1:]])


def write_environment() -> None:
    """Copy .env.example to .env, with the containers' user filled in. An .env that is there stays."""
    if ENVIRONMENT.exists():
        return
    user, group = (CONTAINER_ID, CONTAINER_ID) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    filled = {"AFORO_UID=": f"AFORO_UID={user}", "AFORO_GID=": f"AFORO_GID={group}"}
    ENVIRONMENT.write_text("\n".join(filled.get(line, line) for line in lines) + "\n", encoding="utf-8")


def write(name: str, content: str) -> None:
    """Write a secret with mode 600, owned by the containers' user, complete or not at all."""
    descriptor, partial = tempfile.mkstemp(dir=SECRETS, prefix=f".{name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    Path(partial).chmod(0o600)
    if os.geteuid() == 0:
        values = environment()
        os.chown(partial, int(values["AFORO_UID"]), int(values["AFORO_GID"]))
    Path(partial).replace(SECRETS / name)


def make_certificate() -> None:
    """Make a certificate authority of our own and a certificate for AFORO_HOST; the authority's key is thrown away.

    Put a certificate from elsewhere into ``secrets/tls_certificate`` and ``secrets/tls_key`` instead, if you have one.
    """
    if shutil.which("openssl") is None:
        raise OperatingError("openssl is not installed, and secrets/tls_certificate and secrets/tls_key are not there")
    host = environment().get("AFORO_HOST", "localhost")
    kind = "IP" if host.replace(".", "").isdigit() or ":" in host else "DNS"
    names = ",".join(dict.fromkeys([f"{kind}:{host}", "DNS:localhost", "IP:127.0.0.1"]))
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        (at / "names").write_text(
            f"subjectAltName={names}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n"
            "keyUsage=digitalSignature\nauthorityKeyIdentifier=keyid\n",
            encoding="utf-8",
        )
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        run(
            [
                "openssl",
                "req",
                "-x509",
                *curve,
                "-days",
                str(TLS_DAYS),
                "-subj",
                "/CN=Aforo on this machine",
                "-addext",
                "keyUsage=critical,keyCertSign,cRLSign",
                "-keyout",
                str(at / "ca.key"),
                "-out",
                str(at / "ca"),
            ],
            **silent,
        )
        run(
            ["openssl", "req", *curve, "-subj", f"/CN={host}", "-keyout", str(at / "key"), "-out", str(at / "request")],
            **silent,
        )
        run(["openssl", "x509", "-req", "-in", str(at / "request"), "-CA", str(at / "ca"), "-CAkey", str(at / "ca.key"),
             "-CAcreateserial", "-days", str(TLS_DAYS), "-extfile", str(at / "names"), "-out", str(at / "certificate")],
            **silent)  # fmt: skip
        for name, file in zip(TLS, ("certificate", "key", "ca"), strict=True):
            write(name, (at / file).read_text(encoding="utf-8").strip())
