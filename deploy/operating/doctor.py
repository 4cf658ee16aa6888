"""Name what is wrong with the platform, and how to mend it. Changes nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import ssl
import stat
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

from operating.secret_files import FILES, TLS
from operating.stack import (
    ENVIRONMENT,
    ROOT,
    SECRETS,
    OperatingError,
    answer_of,
    compose,
    containers,
    environment,
    run,
    written,
)

GIB = 2**30
NEEDED_MEMORY_BYTES = 8 * 10**9
NEEDED_DISK_BYTES = 15 * 10**9
LARGEST_SKEW_S = 5
PORTS = {
    "AFORO_PORT": "8443",
    "AFORO_AIRFLOW_PORT": "8444",
    "AFORO_MLFLOW_PORT": "8445",
    "AFORO_STORE_CONSOLE_PORT": "8446",
    "AFORO_STORE_PORT": "8447",
}
AIRFLOW = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")


def examine() -> int:
    """Print a line for each thing examined; return 1 if anything is wrong."""
    findings = 0
    for check in (
        settings,
        secret_files,
        machine,
        ports,
        services,
        clock,
        airflow_secrets,
        buckets,
        migrations,
        mlflow,
    ):
        wrong = list(attempt(check))
        print(f"{'ok' if not wrong else 'WRONG':6} {check.__doc__}")
        for what in wrong:
            print(f"       - {what}")
        findings += len(wrong)
        if wrong and check is settings:
            break
    return 1 if findings else 0


def attempt(check: Callable[[], Iterator[str]]) -> Iterator[str]:
    try:
        yield from check()
    except OperatingError as error:
        yield f"could not be examined: {error}"


def running() -> set[str]:
    return {str(container["Service"]) for container in containers() if container["State"] == "running"}


def settings() -> Iterator[str]:
    """.env and docker-compose.yaml"""
    if not ENVIRONMENT.exists():
        yield ".env is missing: run `make secrets`"
        return
    known = {
        line.partition("=")[0]
        for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
        if "=" in line and not line.startswith("#")
    }
    for name in written():
        if name.startswith("AFORO_") and name not in known:
            yield f"{name} in .env is no variable of the platform: see .env.example for the right name"
    compose("config", "--quiet", stderr=subprocess.PIPE)


def secret_files() -> Iterator[str]:
    """secrets"""
    owner = int(environment().get("AFORO_UID") or -1)
    for name in (*FILES, *TLS[:2]):
        path = SECRETS / name
        if not path.exists():
            yield f"secrets/{name} is missing: run `make secrets`"
            continue
        status = path.stat()
        if stat.S_IMODE(status.st_mode) & 0o077:
            yield f"secrets/{name} can be read by others: chmod 600 secrets/{name}"
        if status.st_uid != owner:
            yield (
                f"secrets/{name} belongs to user {status.st_uid}, and containers run as {owner}: "
                f"sudo chown {owner} secrets/{name}"
            )
        if status.st_size == 0:
            yield f"secrets/{name} is empty: delete it and run `make secrets`"
    certificate = SECRETS / "tls_certificate"
    if certificate.exists() and shutil.which("openssl"):
        month_s = 30 * 24 * 3600
        answer = subprocess.run(
            ["openssl", "x509", "-checkend", str(month_s), "-noout", "-in", str(certificate)],
            capture_output=True,
            check=False,
        )
        if answer.returncode:
            yield "the TLS certificate ends within 30 days: make rotate SERVICE=proxy"


def machine() -> Iterator[str]:
    """memory and disk"""
    told = json.loads(
        run(["docker", "info", "--format", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout
    )
    if told["MemTotal"] < NEEDED_MEMORY_BYTES * 0.95:
        has, needs = told["MemTotal"] / GIB, NEEDED_MEMORY_BYTES / GIB
        yield f"Docker has {has:.1f} GiB of memory, and the limits add up to {needs:.1f}: give it more"
    try:
        free = shutil.disk_usage(told["DockerRootDir"]).free
    except OSError:  # Docker Desktop keeps it in a machine of its own
        return
    if free < NEEDED_DISK_BYTES:
        expected = NEEDED_DISK_BYTES / GIB
        yield f"{told['DockerRootDir']} has {free / GIB:.1f} GiB free; expected {expected:.0f}: docker system prune"


def ports() -> Iterator[str]:
    """published ports"""
    if "proxy" in running():
        return
    values = environment()
    address = values.get("AFORO_BIND", "127.0.0.1")
    for variable, default in PORTS.items():
        port = int(values.get(variable, default))
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                yield f"port {port} is taken ({error.strerror}): stop what holds it, or change {variable} in .env"


def services() -> Iterator[str]:
    """services"""
    listed = containers()
    if not listed:
        yield "nothing runs: make up"
    for container in listed:
        name, state, health = (str(container[key]) for key in ("Service", "State", "Health"))
        if state == "exited" and container["ExitCode"] == 0 and name.endswith("-init"):
            continue
        if state != "running" or health == "unhealthy":
            last = answer_of("logs", "--no-log-prefix", "--tail", "1", name).replace("\x1b[2K", "").strip()
            yield f"{name} is {health or state}; it last said: {last[-300:]}\n         more: make logs SERVICE={name}"


def clock() -> Iterator[str]:
    """clock"""
    if "postgres" in running():
        there = int(answer_of("exec", "-T", "postgres", "date", "+%s"))
        if abs(there - time.time()) > LARGEST_SKEW_S:
            yield f"the containers' clock is {there - time.time():+.0f} s off this machine's: restart Docker"


def airflow_secrets() -> Iterator[str]:
    """Airflow's shared secrets"""
    program = "import hashlib,sys;print(hashlib.sha256(open(sys.argv[1],'rb').read()).hexdigest())"
    up = running()
    for name in ("airflow_jwt_secret", "airflow_api_secret_key", "airflow_fernet_key"):
        ours = hashlib.sha256((SECRETS / name).read_bytes()).hexdigest()
        for service in AIRFLOW:
            if service in up:
                theirs = answer_of("exec", "-T", service, "python", "-c", program, f"/run/secrets/{name}").strip()
                if theirs != ours:
                    mend = f"docker compose up --detach --force-recreate {service}"
                    yield f"{service} runs with another {name} than secrets/ holds: {mend}"


def buckets() -> Iterator[str]:
    """buckets"""
    if "minio" in running():
        try:
            compose("run", "--rm", "--no-deps", "-T", "minio-init", "python", "/opt/deploy/prepare/objects.py", "check",
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        except OperatingError as error:
            yield f"{str(error).strip().splitlines()[-1]}: docker compose run --rm minio-init"


def migrations() -> Iterator[str]:
    """Airflow's database"""
    if "airflow-scheduler" in running():
        try:
            compose("exec", "-T", "airflow-scheduler", "airflow", "db", "check-migrations", "--migration-wait-timeout",
                    "0", stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        except OperatingError:
            yield "a migration is pending: make upgrade"


def mlflow() -> Iterator[str]:
    """MLflow, through the proxy"""
    if not {"proxy", "mlflow"} <= running():
        return
    values = environment()
    place = f"https://{values.get('AFORO_HOST', 'localhost')}:{values.get('AFORO_MLFLOW_PORT', '8445')}"
    secret = (SECRETS / "mlflow_data_scientist_password").read_text(encoding="utf-8").strip()
    request = urllib.request.Request(
        f"{place}/api/2.0/mlflow/experiments/search",
        data=b'{"max_results": 1}',
        headers={
            "Authorization": "Basic " + base64.b64encode(f"data-scientist:{secret}".encode()).decode(),
            "Content-Type": "application/json",
        },
    )
    context = ssl.create_default_context()
    if (SECRETS / "tls_authority").exists():
        context.load_verify_locations(SECRETS / "tls_authority")
    try:
        urllib.request.urlopen(request, timeout=10, context=context).close()
    except urllib.error.HTTPError as error:
        said = error.read(200).decode("utf-8", "replace")
        if error.code == 403 and "host" in said.lower():
            yield f"MLflow refuses {place}: after a change of AFORO_HOST or a port, run `make up` again"
        elif error.code == 401:
            yield "MLflow does not know secrets/mlflow_data_scientist_password: docker compose run --rm mlflow-init"
        else:
            yield f"{place} answers {error.code}: {said}"
    except (OSError, ssl.SSLError) as error:
        yield f"{place} does not answer: {error}"
