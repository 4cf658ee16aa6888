"""Real servers for the tests, started when the first test asks for them and gone with the session."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import hypothesis
import local_s3
import psutil
import pytest

from aforo.settings import Settings
from aforo.storage import LocalStore

# How long one example takes is the machine's affair; a clock belongs into benchmarks.
hypothesis.settings.register_profile("aforo", deadline=None)
hypothesis.settings.load_profile("aforo")

# Folders whose tests take longest: they go first, so that no worker is left with one of them when others have ended.
LONGEST_FIRST = ("use_cases", "dags", "docs", "patterns", "api")
BUCKETS = ("raw", "snapshots", "runs", "models", "predictions")
S3_KEYS = {"AFORO_S3_ACCESS_KEY": "tests", "AFORO_S3_SECRET_KEY": "not-a-secret"}
_KEYS = {"access_key": S3_KEYS["AFORO_S3_ACCESS_KEY"], "secret_key": S3_KEYS["AFORO_S3_SECRET_KEY"]}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=place)  # the order within a folder stays


@pytest.fixture(scope="session")
def living() -> Callable[[str, str], list[str]]:
    """Return the command lines of the processes that live and have a variable of that name and value."""

    def find(variable: str, value: str) -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(variable) == value and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue  # it has ended, or is another user's
        return found

    return find


@pytest.fixture(autouse=True)
def no_addresses_of_another_test() -> Iterator[None]:
    """MLflow puts the addresses that it was given last into the environment, where `Settings` would find them."""
    _forget_addresses()
    yield
    _forget_addresses()


def _forget_addresses() -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The embedded default: everything in one folder of this test."""
    return Settings.from_environment({"AFORO_HOME": str(tmp_path / "home")})


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """The store of `settings`."""
    return LocalStore(tmp_path / "home" / "store")


@contextmanager
def _serving(environment: dict[str, str], log: Path, *, wait_for: str = "/health/ready") -> Iterator[httpx.Client]:
    aforo = Path(sys.executable).with_name("aforo")
    with log.open("a") as stderr:
        service = subprocess.Popen(
            [aforo, "serve", "--port", "0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
    assert service.stdout is not None
    try:
        url = service.stdout.readline().strip()
        assert url, log.read_text()
        transport = httpx.HTTPTransport(retries=5)
        with httpx.Client(base_url=url, timeout=30, trust_env=False, transport=transport) as client:
            end = time.monotonic() + 240
            while client.get(wait_for).status_code != 200:
                assert service.poll() is None, log.read_text()
                assert time.monotonic() < end, f"{wait_for} never answered:\n{log.read_text()}"
                time.sleep(0.1)
            yield client
    finally:
        service.terminate()
        try:
            service.wait(30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(service.pid, signal.SIGKILL)
            service.stdout.close()


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[httpx.Client]]:
    """Run `aforo serve` in an environment until the end of a block; what it has recorded is in the store by then."""
    return _serving


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables: making them takes two seconds."""
    home = tmp_path_factory.mktemp("mlflow")
    from aforo.registry.tracking import Tracker

    Tracker(Settings.from_environment({"AFORO_HOME": str(home)})).run("warm_up", "once", {})
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("warm_up")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    return home / "mlflow.db"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a real PostgreSQL's `postgres` database, on a socket of its own."""
    # The server runs as another user when we are root, and a socket's path is at most 107 signs long.
    folder = Path(tempfile.mkdtemp(prefix="aforo-pg-", dir="/tmp"))
    with warnings.catch_warnings():
        # It looks for XDG_RUNTIME_DIR, which a container lacks, and does well without.
        warnings.simplefilter("ignore")
        import pgserver

        server = pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty database, removed after the test."""
    import sqlalchemy

    name = f"test_{uuid.uuid4().hex[:12]}"
    url = sqlalchemy.make_url(postgres_server).set(drivername="postgresql+psycopg2")
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    yield url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Endpoint of a real S3 store, on ports of its own. Its keys are `S3_KEYS`."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="aforo-s3-", ignore_cleanup_errors=True))
        store = local_s3.SeaweedFS(Path(folder), **_KEYS)
        stack.callback(store.kill)
        store.start()
        yield store.endpoint


@pytest.fixture(scope="session")
def minio_server() -> Iterator[str]:
    """Endpoint of MinIO's own front end, as JuiceFS's gateway carries it. Its keys are `S3_KEYS`."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="aforo-minio-", ignore_cleanup_errors=True))
        )
        program, meta = Path(sys.executable).with_name("juicefs"), f"sqlite3://{folder}/meta.db"
        log = stack.enter_context((folder / "log").open("wb"))
        objects = ("--storage", "file", "--bucket", f"{folder}/objects/", "--trash-days", "0")
        subprocess.run([program, "format", *objects, meta, "tests"], check=True, stdout=log, stderr=log)
        (port,) = local_s3.free_ports(1)
        server = subprocess.Popen(
            [program, "gateway", "--multi-buckets", "--no-usage-report", f"--cache-dir={folder}/cache", meta,
             f"127.0.0.1:{port}"],
            env=os.environ | {"MINIO_ROOT_USER": S3_KEYS["AFORO_S3_ACCESS_KEY"],
                              "MINIO_ROOT_PASSWORD": S3_KEYS["AFORO_S3_SECRET_KEY"]},
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        stack.callback(server.wait)
        stack.callback(os.killpg, server.pid, signal.SIGKILL)
        endpoint = f"http://127.0.0.1:{port}"
        local_s3.wait_until_it_answers(f"{endpoint}/minio/health/live", server, folder / "log")
        yield endpoint


@pytest.fixture
def s3_environment(s3_server: str) -> dict[str, str]:
    """The environment of a platform on the S3 store, with empty buckets of its own."""
    return environment_of(s3_server)


@pytest.fixture
def s3_settings(s3_environment: dict[str, str], tmp_path: Path) -> Settings:
    """The settings of `s3_environment`."""
    return Settings.from_environment({"AFORO_HOME": str(tmp_path / "home"), **s3_environment})


@pytest.fixture
def minio_settings(minio_server: str, tmp_path: Path) -> Settings:
    """The settings of a platform on MinIO's front end, with empty buckets of its own."""
    return Settings.from_environment({"AFORO_HOME": str(tmp_path / "home"), **environment_of(minio_server)})


def environment_of(endpoint: str) -> dict[str, str]:
    """Make buckets that nobody else has, and return the environment that names them."""
    environment = {
        "AFORO_STORE_URL": "s3://",
        "AFORO_S3_ENDPOINT_URL": endpoint,
        "AFORO_S3_BUCKET_PREFIX": f"t{uuid.uuid4().hex[:10]}-",
        **S3_KEYS,
    }
    for bucket in BUCKETS:
        local_s3.make_bucket(endpoint, environment["AFORO_S3_BUCKET_PREFIX"] + bucket, **_KEYS)
    return environment
