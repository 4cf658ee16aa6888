"""What runs, how healthy it is, how much memory it takes, and where to look."""

from __future__ import annotations

import json
import subprocess

from operating.stack import containers, environment, run

PLACES = (
    ("predictions, start page", "AFORO_PORT", "8443", "key: secrets/prediction_api_key"),
    ("Airflow", "AFORO_AIRFLOW_PORT", "8444", "admin: secrets/airflow_admin_password"),
    ("MLflow", "AFORO_MLFLOW_PORT", "8445", "data-scientist: secrets/mlflow_data_scientist_password"),
    ("object store, console", "AFORO_STORE_CONSOLE_PORT", "8446", "secrets/store_root_user, _password"),
    ("object store, S3", "AFORO_STORE_PORT", "8447", "secrets/store_tasks_access_key, _secret_key"),
)


def show() -> None:
    listed = containers()
    memory = memory_of([str(c["ID"]) for c in listed if c["State"] == "running"])
    for container in sorted(listed, key=lambda c: str(c["Service"])):
        state = str(container["Health"] or container["State"])
        if state == "exited":
            state = "done" if container["ExitCode"] == 0 else f"failed with code {container['ExitCode']}"
        print(f"{container['Service']!s:24} {state:24} {memory.get(str(container['ID'])[:12], '')}")
    values = environment()
    host = values.get("AFORO_HOST", "localhost")
    print()
    for name, variable, port, account in PLACES:
        print(f"{name:24} https://{host}:{values.get(variable, port):6} {account}")


def memory_of(ids: list[str]) -> dict[str, str]:
    if not ids:
        return {}
    answer = run(["docker", "stats", "--no-stream", "--format", "json", *ids], stdout=subprocess.PIPE).stdout
    return {line["ID"][:12]: line["MemUsage"] for line in map(json.loads, answer.splitlines())}
