"""Where the embedded platform lives, and the environment that its processes are given."""

from __future__ import annotations

import fcntl
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from embedded.processes import CannotStart

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 10


@dataclass(frozen=True)
class Embedded:
    """One folder, and the commands of the two environments.

    Attributes
    ----------
    home
        ``AFORO_HOME``, or ``.aforo`` beside the Makefile.
    airflow
        The ``airflow`` command of the environment that has Airflow.
    """

    home: Path
    airflow: Path

    @classmethod
    def from_environment(cls, airflow: Path) -> Embedded:
        """Read ``AFORO_HOME``, and make the folder."""
        home = Path(os.environ.get("AFORO_HOME") or ROOT / ".aforo").absolute()
        (home / "airflow").mkdir(parents=True, exist_ok=True)
        return cls(home, airflow)

    @property
    def aforo(self) -> Path:
        return beside_python("aforo")

    @property
    def log(self) -> Path:
        """Everything that Airflow and the prediction API said during the last demo."""
        return self.home / "demo.log"

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of every process: Airflow on SQLite, secrets of this call's own, no telemetry."""
        return {
            "AFORO_MLFLOW_PUBLIC_URL": "http://127.0.0.1:5000",
            **os.environ,
            "AFORO_HOME": str(self.home),
            "AFORO_COMMAND": str(self.aforo),
            "AIRFLOW_HOME": str(self.home / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "airflow" / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            # A new DAG can be triggered at once, without a search for its switch.
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
            "AIRFLOW__API__INSTANCE_NAME": "Aforo",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(32),
            "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
            "GIT_PYTHON_REFRESH": "quiet",
            "PYTHONUNBUFFERED": "1",
            **more,
        }

    @contextmanager
    def airflow_to_ourselves(self) -> Iterator[int]:
        """Hold Airflow's folder, for as long as this process and its child with the yielded file lives.

        A scheduler takes up every run it finds, so that two of them on one SQLite file would do the same work twice.

        Raises
        ------
        CannotStart
            Another call holds it.
        """
        path = self.home / "airflow" / "in-use"
        with path.open("a+") as file:
            if not _locked(file):
                file.seek(0)
                raise CannotStart(
                    f"Airflow is at work in {self.home} already (process {file.read().strip()}): "
                    "wait for it, or end it, and call again"
                )
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield file.fileno()


def _locked(file: IO[str]) -> bool:
    """Lock ``file``, with some patience for what a call that was killed has left behind to end."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up:
                return False
            time.sleep(0.2)
        else:
            return True


def beside_python(command: str) -> Path:
    """The command of that name in this interpreter's environment."""
    return Path(sys.executable).with_name(command)
