"""Measure the prediction API beside what a user would pick instead, on this machine, with the same registered version.

::

    python benchmarks/serving/run.py --home .aforo            # after `make demo`
    python benchmarks/serving/run.py --home .aforo --only aforo bare --seconds 2 --rounds 3

One core for the server, another for the client. Rounds are interleaved: every server is measured once in each round, so
that a change of the machine's mood meets all of them. Each answer's bytes are compared with a reference whose
probabilities were checked. Prints a table; writes results.json, table.md and ratios.png.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from load_client import Exchange, Load, ask, drive, post

from aforo.contracts.prediction import PredictionContract
from aforo.export.inference import GraphPredictor, columns_of
from aforo.registry.bundle import read_bundle
from aforo.registry.signing import signing_key
from prediction_api.api_keys import ApiKeysFile, new_key

HERE = Path(__file__).parent
CASES = ((1, 1), (1, 32), (32, 32), (1_000, 32))
DISTINCT_REQUESTS = 16
MOST_OBJECTS = 100
TOLERANCE = 1e-9


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
    """

    name: str
    command: list[str]
    path: str
    body: Callable[[list[dict[str, Any]]], dict[str, Any]]
    probabilities: Callable[[dict[str, Any]], list[float]] | None
    expected: Callable[[list[dict[str, Any]]], list[float]]
    headers: dict[str, str]
    environment: dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".aforo"), help="home of the embedded default")
    parser.add_argument("--model", default="flight_delay")
    parser.add_argument("--only", nargs="*", help="names of contenders")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--workers", type=int, default=1, help="of our service")
    parser.add_argument("--server-core", type=int, nargs="*", default=[0])
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument("--lit-python", help="interpreter of an environment that has litserve")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.client_core})
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(arguments, Path(folder))
        contenders = [c for c in setup.contenders() if not arguments.only or c.name in arguments.only]
        results = measure(contenders, setup, arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    table = as_table(results)
    (arguments.output / "table.md").write_text(table)
    plot(results, arguments.output / "ratios.png")
    print(table)


class Setup:
    """The version under measurement, its rows, and the servers that serve it."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.arguments = arguments
        self.folder = folder
        self.home: Path = arguments.home.absolute()
        copy = self.home / "mirror" / arguments.model
        self.version = json.loads((copy / "aliases.json").read_text())["champion"]
        self.bundle = read_bundle(copy / self.version, signing_key(self.home / "signing.key"))
        self.contract: PredictionContract = self.bundle.contract
        self.rows = mixed_rows(self.bundle.golden.rows, count=4_000)

    def contenders(self) -> list[Contender]:
        python, cores = sys.executable, ",".join(map(str, self.arguments.server_core))
        key = new_key("benchmark")
        keys = self.folder / "keys.json"
        keys.write_text(ApiKeysFile(keys=(key.entry,)).model_dump_json())
        pinned = ["taskset", "-c", cores, python]
        environment = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        mlflow_environment = {
            **environment,
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.home}/mlflow.db",
            "AFORO_SIGNING_KEY_FILE": str(self.home / "signing.key"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GIT_PYTHON_REFRESH": "quiet",
            "PATH": f"{Path(python).parent}:{os.environ['PATH']}",  # it starts `uvicorn` by name
        }
        names = [column.name for column in self.contract.inputs]
        positive = self.contract.classes[1]
        lit = getattr(self.arguments, "lit_python", None)
        pipeline = self.tutorial_pipeline()
        return [
            Contender(
                "bare",
                [*pinned, str(HERE / "servers/bare.py"), "--port", "{port}"],
                "/",
                table_body,
                None,
                self.by_graph,
                {},
                environment,
            ),
            Contender(
                "aforo",
                [
                    *pinned,
                    str(HERE / "servers/aforo_api.py"),
                    *("--port", "{port}", "--home", str(self.home), "--api-keys", str(keys)),
                    *("--workers", str(self.arguments.workers)),
                ],
                f"/models/{self.arguments.model}/predict",
                table_body,
                lambda answer: [p["probabilities"][positive] for p in answer["predictions"]],
                self.by_graph,
                {"Authorization": f"Bearer {key.key}", "X-Request-ID": "benchmark"},
                environment,
            ),
            Contender(
                "mlflow",
                [
                    *pinned,
                    *(
                        "-m",
                        "mlflow",
                        "models",
                        "serve",
                        "--model-uri",
                        f"models:/{self.arguments.model}/{self.version}",
                    ),
                    *("--env-manager", "local", "--port", "{port}", "--workers", "1"),
                ],
                "/invocations",
                lambda rows: {"inputs": rows},
                lambda answer: [p[f"probability_{positive}"] for p in answer["predictions"]],
                self.by_graph,
                {},
                mlflow_environment,
            ),
            Contender(
                "mlflow-sklearn",
                [
                    *pinned,
                    *("-m", "mlflow", "models", "serve", "--model-uri", str(self.folder / "sklearn")),
                    *("--env-manager", "local", "--port", "{port}", "--workers", "1"),
                ],
                "/invocations",
                lambda rows: {"dataframe_split": {"columns": names, "data": [[r[n] for n in names] for r in rows]}},
                lambda answer: [yes for _, yes in answer["predictions"]],
                self.by_pipeline,
                {},
                mlflow_environment,
            ),
            Contender(
                "tutorial",
                [*pinned, str(HERE / "servers/tutorial.py"), "--port", "{port}", "--pipeline", str(pipeline)],
                "/predict",
                lambda rows: {"rows": rows},
                lambda answer: [p["yes"] for p in answer["predictions"]],
                self.by_pipeline,
                {},
                environment,
            ),
            *(
                [
                    Contender(
                        "lit",
                        [
                            *("taskset", "-c", cores, lit, str(HERE / "servers/lit.py"), "--port", "{port}"),
                            *("--bundle", str(self.bundle.folder)),
                        ],
                        "/predict",
                        lambda rows: {"rows": rows},
                        lambda answer: [p["yes"] for p in answer["predictions"]],
                        self.by_graph,
                        {},
                        environment,
                    )
                ]
                if lit
                else []
            ),
        ]

    def by_graph(self, rows: list[dict[str, Any]]) -> list[float]:
        graph: GraphPredictor = self.bundle.predictor
        return graph.run(columns_of(rows, self.contract))["probabilities"][:, 1].tolist()

    def by_pipeline(self, rows: list[dict[str, Any]]) -> list[float]:
        return self.pipeline.predict_proba(self.frame(rows))[:, 1].tolist()

    def frame(self, rows: list[dict[str, Any]]) -> Any:
        import pandas as pd

        types = {c.name: object if c.type == "string" else float for c in self.contract.inputs}
        return pd.DataFrame(rows, columns=list(types)).astype(types)

    def tutorial_pipeline(self) -> Path:
        """Fit what a tutorial would: ordinal codes, 200 boosted trees, isotonic calibration, on rows like ours."""
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.compose import ColumnTransformer
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OrdinalEncoder

        texts = [column.name for column in self.contract.inputs if column.type == "string"]
        codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        rows = mixed_rows(self.bundle.golden.rows, count=20_000, seed=1)
        labels = np.random.default_rng(2).random(len(rows)) < np.array(self.by_graph(rows))
        estimator = make_pipeline(
            ColumnTransformer([("codes", codes, texts)], remainder="passthrough"),
            HistGradientBoostingClassifier(max_iter=200, early_stopping=False),
        )
        self.pipeline = CalibratedClassifierCV(estimator, method="isotonic", cv=2, ensemble=False)
        self.pipeline.fit(self.frame(rows), labels)
        import mlflow.sklearn

        mlflow.sklearn.save_model(
            self.pipeline,
            self.folder / "sklearn",
            serialization_format="cloudpickle",
            pyfunc_predict_fn="predict_proba",
            pip_requirements=["scikit-learn"],
            signature=mlflow.models.infer_signature(self.frame(rows[:5])),
        )
        path = self.folder / "pipeline.pickle"
        columns = [(column.name, column.type == "string") for column in self.contract.inputs]
        path.write_bytes(pickle.dumps((self.pipeline, columns)))
        return path


def table_body(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a body in our protocol: objects for a few rows, columns and data for many."""
    if len(rows) <= MOST_OBJECTS:
        return {"rows": rows}
    return {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}


def mixed_rows(golden: tuple[dict[str, Any], ...], *, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return rows that take each value from another golden row, so that they differ and are all allowed.

    No value is missing: MLflow's server refuses some rows with one.
    """
    rng = np.random.default_rng(seed)
    columns = {name: [row[name] for row in golden if row[name] is not None] for name in golden[0]}
    drawn = {name: rng.integers(0, len(values), size=count).tolist() for name, values in columns.items()}
    return [{name: columns[name][drawn[name][row]] for name in columns} for row in range(count)]


def measure(contenders: list[Contender], setup: Setup, arguments: argparse.Namespace) -> dict[str, Any]:
    cells: dict[str, dict[str, list[dict[str, float]]]] = {c.name: {} for c in contenders}
    start: dict[str, list[float]] = {c.name: [] for c in contenders}
    memory: dict[str, list[float]] = {c.name: [] for c in contenders}
    exchanges: dict[tuple[str, int], list[Exchange]] = {}
    for number in range(arguments.rounds):
        for contender in contenders:
            with running(contender, setup) as server:
                start[contender.name].append(server.seconds_to_first_answer)
                for rows, connections in CASES:
                    key = (contender.name, rows)
                    if key not in exchanges:
                        exchanges[key] = prepare(contender, server.port, setup.rows, rows)
                    drive(server.port, exchanges[key], connections=connections, seconds=0.5)
                    load = drive(server.port, exchanges[key], connections=connections, seconds=arguments.seconds)
                    judge(contender, load, exchanges[key], rows)
                    cells[contender.name].setdefault(f"{rows} x {connections}", []).append(
                        {
                            "requests_per_s": load.requests_per_s,
                            "p50_ms": load.percentile_s(50) * 1e3,
                            "p99_ms": load.percentile_s(99) * 1e3,
                        }
                    )
                memory[contender.name].append(server.pss_mb())
            sys.stderr.write(f"round {number + 1}: {contender.name} measured\n")
    return {
        "machine": {"cores": os.cpu_count(), "server_cores": arguments.server_core, "workers": arguments.workers},
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "servers": {
            name: {
                "start_s": statistics.median(start[name]),
                "pss_mb": statistics.median(memory[name]),
                "cases": {
                    case: {figure: statistics.median(m[figure] for m in measured) for figure in measured[0]}
                    for case, measured in cells[name].items()
                },
            }
            for name in cells
        },
    }


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    port: int
    seconds_to_first_answer: float

    def pss_mb(self) -> float:
        """Return the proportional set size of all the server's processes."""
        top = psutil.Process(self.process.pid)
        total = 0
        for process in (top, *top.children(recursive=True)):
            with contextlib.suppress(OSError, psutil.Error):
                rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
                total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        return total / 1024


@contextlib.contextmanager
def running(contender: Contender, setup: Setup) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (setup.folder / f"{contender.name}.log").open("ab")
    command = [part.replace("{port}", str(port)) for part in contender.command]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **contender.environment}
    )
    try:
        probe = post(contender.path, json.dumps(contender.body(setup.rows[:1])).encode(), contender.headers)
        while True:
            if process.poll() is not None or time.perf_counter() - started > 120:
                raise RuntimeError((setup.folder / f"{contender.name}.log").read_text()[-3_000:])
            try:
                status, answer = ask(port, probe)
                if b" 200 " in status:
                    break
                if b" 4" in status:
                    raise RuntimeError(f"{contender.name}: {status!r} {answer[:500]!r}")
            except OSError:
                time.sleep(0.005)
        yield Server(process, port, time.perf_counter() - started)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def prepare(contender: Contender, port: int, rows: list[dict[str, Any]], size: int) -> list[Exchange]:
    """Build distinct requests, and keep the answer to each whose numbers are right."""
    exchanges = []
    for place in range(DISTINCT_REQUESTS):
        chosen = [rows[(place * size + i) % len(rows)] for i in range(size)]
        request = post(contender.path, json.dumps(contender.body(chosen)).encode(), contender.headers)
        status, answer = ask(port, request)
        if b" 200 " not in status:
            raise RuntimeError(f"{contender.name}: {status!r} {answer[:500]!r}")
        if contender.probabilities is not None:
            found = np.array(contender.probabilities(json.loads(answer)))
            worst = float(np.abs(found - np.array(contender.expected(chosen))).max())
            if not worst <= TOLERANCE:
                raise RuntimeError(f"{contender.name}: a probability differs by {worst:.3g}")
        exchanges.append(Exchange(request, answer))
    return exchanges


def judge(contender: Contender, load: Load, exchanges: list[Exchange], rows: int) -> None:
    """Refuse a measurement with a wrong answer; other bytes for the same numbers are right."""
    for index, status, body in load.unexpected:
        right = b" 200 " in status
        if right and contender.probabilities is not None:
            found = np.array(contender.probabilities(json.loads(body)))
            wanted = np.array(contender.probabilities(json.loads(exchanges[index].answer)))
            right = len(found) == rows and float(np.abs(found - wanted).max()) <= TOLERANCE
        if not right:
            raise RuntimeError(f"{contender.name} answered {status!r} {body[:300]!r}")


def as_table(results: dict[str, Any]) -> str:
    servers = results["servers"]
    cases = [f"{rows} x {connections}" for rows, connections in CASES]
    lines = [
        "Requests a second (99th percentile in ms), rows x connections; one core for the server.",
        "",
        f"| server | {' | '.join(cases)} | PSS MB | first answer s |",
        f"|---|{'---|' * len(cases)}---|---|",
    ]
    for name, server in servers.items():
        figures = [
            f"{server['cases'][case]['requests_per_s']:,.0f} ({server['cases'][case]['p99_ms']:.1f})" for case in cases
        ]
        lines.append(f"| {name} | {' | '.join(figures)} | {server['pss_mb']:.0f} | {server['start_s']:.2f} |")
    if "aforo" in servers:
        lines += ["", "| aforo ÷ | " + " | ".join(cases) + " |", f"|---|{'---|' * len(cases)}"]
        own = servers["aforo"]["cases"]
        for name, server in servers.items():
            if name != "aforo":
                ratios = [own[case]["requests_per_s"] / server["cases"][case]["requests_per_s"] for case in cases]
                lines.append(f"| {name} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")
    return "\n".join(lines) + "\n"


def plot(results: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    cases = [f"{rows} x {connections}" for rows, connections in CASES]
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    width = 0.8 / len(results["servers"])
    for place, (name, server) in enumerate(results["servers"].items()):
        rates = [server["cases"][case]["requests_per_s"] for case in cases]
        bars = axes.bar(np.arange(len(cases)) + place * width, rates, width, label=name)
        axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], fontsize=7, rotation=90, padding=2)
    axes.set_yscale("log")
    axes.margins(y=0.2)
    axes.set_xticks(np.arange(len(cases)) + 0.4 - width / 2, cases)
    axes.set_xlabel("rows in a request x connections")
    axes.set_ylabel("requests a second, one core")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    if shutil.which("taskset") is None:
        sys.exit("taskset is not here; it comes with util-linux")
    main()
