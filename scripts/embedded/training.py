"""The training DAG, run by Airflow's own tester: what a person wants to see on the terminal, all of it in a file.

The tester runs each task in its own process and prints what the scheduler would have filed, so the lines are filed
here: Airflow's user interface then shows the log of each task of this run as of any other.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from embedded.folder import Embedded
from embedded.processes import quietly, say, started

# Log lines of a task's command and of MLflow. Their facts come again in the command's result; warnings and progress
# do not.
_ROUTINE = re.compile(r"\d\d:\d\d:\d\d (?!warning: |error: |\w+  done=)|\d{4}/\d\d/\d\d [\d:]+ INFO ")


def train(embedded: Embedded, use_case: str) -> int:
    """Run the DAG, and return Airflow's exit code."""
    dag = f"{use_case}__training"
    environment = embedded.environment(AIRFLOW__LOGGING__JSON_LOGS="true")
    with embedded.log.open("wb") as log, embedded.airflow_to_ourselves() as held:
        say(f"running the Airflow DAG {dag}; the whole log is in {embedded.log}")
        if code := quietly([embedded.airflow, "db", "migrate"], environment, log):
            return code
        close_interrupted_runs(embedded.home)
        command = [embedded.airflow, "dags", "test", dag]
        try:
            with started(
                command, environment, keep=[held], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as process:
                assert process.stdout is not None
                Follower(log, embedded.home / "airflow" / "logs" / f"dag_id={dag}").follow(process.stdout)
                return process.wait()
        except KeyboardInterrupt:
            close_interrupted_runs(embedded.home)
            raise


class Follower:
    """Reads Airflow's log as JSON lines.

    Parameters
    ----------
    log
        Where all of it goes.
    task_logs
        Folder of the DAG in Airflow's folder of task logs.
    """

    def __init__(self, log: IO[bytes], task_logs: Path) -> None:
        self._log = log
        self._task_logs = task_logs
        self._run_id = ""
        self._task = ""
        self._lines: list[bytes] = []
        self._in_output = False
        self._asks = False

    def follow(self, lines: Iterable[bytes]) -> None:
        """Go on until Airflow ends."""
        for line in lines:
            self._log.write(line)
            self._log.flush()
            try:
                event: dict[str, Any] = json.loads(line)
            except ValueError:
                continue  # not of Airflow's log: some library has printed it, and it is in the file
            self._take(str(event.get("event", "")), str(event.get("logger", "")), event, line)

    def _take(self, text: str, logger: str, event: dict[str, Any], line: bytes) -> None:
        if text == "creating dag run":
            self._run_id = event["run_id"]
        elif text.startswith("[DAG TEST] starting task_id="):
            self._task, self._lines, began = text.split()[3].removeprefix("task_id="), [], time.strftime("%H:%M:%S")
            print(f"\n{began} {self._task}", flush=True)
        elif text.startswith("[DAG TEST] end task"):
            self._file()
        elif text.startswith("Waiting for Human-in-the-loop input") and not self._asks:
            self._asks = True
            say("the gate asks a person: end this with Ctrl-C, and answer with `aforo promote`, or leave it")
        elif logger == "task" or logger.startswith("airflow.task"):
            self._lines.append(line)
            self._show(text)

    def _show(self, text: str) -> None:
        if text == "Output:":
            self._in_output = True
        elif text.startswith("Command exited with return code "):
            self._in_output = False
        elif self._in_output and not _ROUTINE.match(text):
            print(f"  {text}".rstrip(), flush=True)

    def _file(self) -> None:
        folder = self._task_logs / f"run_id={self._run_id}" / f"task_id={self._task}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "attempt=1.log").write_bytes(b"".join(self._lines))


def close_interrupted_runs(home: Path) -> None:
    """Mark as failed what an interrupted call left as running: a scheduler would take it up again.

    Airflow has no command for it. Only to be called by whoever holds Airflow's folder.
    """
    database = home / "airflow" / "airflow.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        for table in ("dag_run", "task_instance"):
            connection.execute(
                f"UPDATE {table} SET state = 'failed' WHERE state IN ('running', 'queued', 'scheduled', 'restarting')"
            )
