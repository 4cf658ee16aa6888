"""The servers under measurement: how each is started, asked, and read."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from subject import Subject

from prediction_api.api_keys import ApiKeysFile, new_key

SERVERS = Path(__file__).parent / "servers"
MOST_OBJECTS = 100
OWN, LIMIT, MLFLOW = "aforo", "bare", "mlflow"
OTHERS = ("lit", "ray", "mlserver", "bento")

Rows = list[dict[str, Any]]
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass
class Contender:
    """A server under measurement.

    Attributes
    ----------
    command
        With ``{port}`` for the port.
    path
        Of its prediction route.
    body
        From rows to a request body.
    probabilities
        From an answer to one probability of the positive class a row; ``None`` if its answers mean nothing.
    expected
        From rows to the probabilities that are right.
    folder
        Where it is started, if that matters.
    """

    name: str
    command: list[str]
    path: str
    body: Callable[[Rows], dict[str, Any]]
    probabilities: Callable[[Any], list[float]] | None
    expected: Callable[[Rows], list[float]]
    headers: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=lambda: dict(_ONE_THREAD))
    folder: Path | None = None


def contenders(
    subject: Subject, *, cores: Iterable[int], workers: int, others: Mapping[str, str], only: Iterable[str] | None
) -> list[Contender]:
    """Return the servers to measure.

    Parameters
    ----------
    cores
        The servers' own.
    workers
        Of our service.
    others
        Name to the interpreter of an environment that has it.
    only
        Their names; ``None`` for all that can be started.
    """
    pinned = ["taskset", "-c", ",".join(map(str, cores))]
    makers: dict[str, Callable[[], Contender]] = {
        LIMIT: lambda: _bare(subject, pinned),
        OWN: lambda: own(subject, pinned, workers),
        MLFLOW: lambda: _mlflow(subject, pinned),
        "mlflow-sklearn": lambda: _mlflow_sklearn(subject, pinned),
        "tutorial": lambda: _tutorial(subject, pinned),
        "lit": lambda: _script("lit", "lit.py", subject, pinned, others["lit"]),
        "ray": lambda: _script("ray", "ray_serve.py", subject, pinned, others["ray"]),
        "mlserver": lambda: _mlserver(subject, pinned, others["mlserver"]),
        "bento": lambda: _bento(subject, pinned, others["bento"]),
    }
    chosen = set(only or makers)
    return [make() for name, make in makers.items() if name in chosen and (name not in OTHERS or name in others)]


def own(subject: Subject, pinned: list[str], workers: int, *, home: Path | None = None) -> Contender:
    """Return our service, with API keys on."""
    key = new_key("benchmark")
    keys = subject.folder / "keys.json"
    keys.write_text(ApiKeysFile(keys=(key.entry,)).model_dump_json())
    return Contender(
        OWN,
        [
            *(*pinned, sys.executable, str(SERVERS / "aforo_api.py"), "--port", "{port}"),
            *("--home", str(home or subject.home), "--api-keys", str(keys), "--workers", str(workers)),
        ],
        f"/models/{subject.model}/predict",
        table_body,
        lambda answer: [p["probabilities"][subject.positive] for p in answer["predictions"]],
        subject.by_graph,
        headers={"Authorization": f"Bearer {key.key}", "X-Request-ID": "benchmark"},
    )


def table_body(rows: Rows) -> dict[str, Any]:
    """Return a body in our protocol: objects for a few rows, columns and data for many."""
    if len(rows) <= MOST_OBJECTS:
        return {"rows": rows}
    return {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}


def _bare(subject: Subject, pinned: list[str]) -> Contender:
    command = [*pinned, sys.executable, str(SERVERS / "bare.py"), "--port", "{port}"]
    return Contender(LIMIT, command, "/", table_body, None, subject.by_graph)


def _mlflow(subject: Subject, pinned: list[str]) -> Contender:
    return Contender(
        MLFLOW,
        _models_serve(pinned, f"models:/{subject.model}/{subject.version}"),
        "/invocations",
        lambda rows: {"inputs": rows},
        lambda answer: [p[f"probability_{subject.positive}"] for p in answer["predictions"]],
        subject.by_graph,
        environment=_mlflow_environment(subject),
    )


def _mlflow_sklearn(subject: Subject, pinned: list[str]) -> Contender:
    assert subject.pipeline  # writes the model
    names = subject.names
    return Contender(
        "mlflow-sklearn",
        _models_serve(pinned, str(subject.folder / "sklearn")),
        "/invocations",
        lambda rows: {"dataframe_split": {"columns": names, "data": [[r[n] for n in names] for r in rows]}},
        lambda answer: [yes for _, yes in answer["predictions"]],
        subject.by_pipeline,
        environment=_mlflow_environment(subject),
    )


def _models_serve(pinned: list[str], uri: str) -> list[str]:
    serve = [*pinned, sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", uri]
    return [*serve, "--env-manager", "local", "--port", "{port}", "--workers", "1"]


def _mlflow_environment(subject: Subject) -> dict[str, str]:
    return {
        **_ONE_THREAD,
        "MLFLOW_TRACKING_URI": f"sqlite:///{subject.home}/mlflow.db",
        "AFORO_SIGNING_KEY_FILE": str(subject.home / "signing.key"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # it starts `uvicorn` by name
    }


def _tutorial(subject: Subject, pinned: list[str]) -> Contender:
    assert subject.pipeline  # writes the pickle
    pickled = str(subject.folder / "pipeline.pickle")
    command = [*pinned, sys.executable, str(SERVERS / "tutorial.py"), "--port", "{port}", "--pipeline", pickled]
    return Contender("tutorial", command, "/predict", _objects, _yes_of_predictions, subject.by_pipeline)


def _script(name: str, file: str, subject: Subject, pinned: list[str], python: str) -> Contender:
    command = [*pinned, python, str(SERVERS / file), "--port", "{port}", "--bundle", str(subject.bundle.folder)]
    return Contender(name, command, "/predict", _objects, _yes_of_predictions, subject.by_graph)


def _mlserver(subject: Subject, pinned: list[str], python: str) -> Contender:
    folder = subject.folder / "mlserver"
    folder.mkdir()
    settings = {
        "name": "flight_delay",
        "implementation": "mlserver_runtime.FlightDelay",
        "max_batch_size": 32,
        "max_batch_time": 0.001,
        "parameters": {"uri": str(subject.bundle.folder)},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings))
    (folder / "settings.json").write_text(json.dumps({"parallel_workers": 0, "debug": False}))

    def tensors(rows: Rows) -> dict[str, Any]:
        return {
            "inputs": [
                {
                    "name": name,
                    "shape": [len(rows), 1],
                    "datatype": "BYTES" if name in subject.texts else "FP64",
                    "data": [row[name] for row in rows],
                }
                for name in subject.names
            ]
        }

    return Contender(
        "mlserver",
        [*pinned, str(Path(python).parent / "mlserver"), "start", str(folder)],
        "/v2/models/flight_delay/infer",
        tensors,
        lambda answer: answer["outputs"][0]["data"],
        subject.by_graph,
        environment={
            **_ONE_THREAD,
            "PYTHONPATH": str(SERVERS),
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{port+1}",
            "MLSERVER_METRICS_PORT": "{port+2}",
        },
    )


def _bento(subject: Subject, pinned: list[str], python: str) -> Contender:
    return Contender(
        "bento",
        [*pinned, str(Path(python).parent / "bentoml"), "serve", "bento:Predictions", "--port", "{port}"],
        "/predict",
        _objects,
        lambda answer: [p["yes"] for p in answer],
        subject.by_graph,
        environment={
            **_ONE_THREAD,
            "BENCHMARK_BUNDLE": str(subject.bundle.folder),
            "BENTOML_DO_NOT_TRACK": "true",
            "BENTOML_HOME": str(subject.folder / "bentoml"),
        },
        folder=SERVERS,
    )


def _objects(rows: Rows) -> dict[str, Any]:
    return {"rows": rows}


def _yes_of_predictions(answer: dict[str, Any]) -> list[float]:
    return [p["yes"] for p in answer["predictions"]]
