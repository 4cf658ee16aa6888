"""Bulk prediction of many rows: how fast, in how much memory, killed in the middle, and equal to the API.

::

    python benchmarks/serving/bulk.py --rows 50_000_000            # writes about 3 GB into a temporary folder

Flights of 2013 are drawn with replacement into one Parquet file, each with a number of its own. ``aforo predict`` reads
it; when a part of the output is there it is ended with SIGKILL and started again. Then every number must be in the
output once and in order, and a sample must have the answers of the prediction API bit for bit.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import yaml

from aforo.settings import Settings
from aforo.use_case import UseCase, load_use_case
from aforo.workflows.wiring import Platform

AFORO = Path(sys.executable).with_name("aforo")
MODEL, NUMBER = "flight_delay", "number_of_row"
ROWS_PER_GROUP = 250_000
KILL_AT = 0.4
SAMPLE = 5_000
ROWS_PER_REQUEST = 500


@dataclass(frozen=True)
class Child:
    """What one process took."""

    seconds: float
    peak_mib: float
    exit_code: int


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--candidate", default="linear", help="trained beside its baseline")
    parser.add_argument("--folder", type=Path, help="default: a temporary one")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="aforo-bulk-benchmark-", dir=asked.folder) as temporary:
        folder = Path(temporary)
        home = train(folder, asked.candidate)
        source, output = folder / "flights.parquet", folder / "answers"
        generate(source, asked.rows, home)
        killed = predict(home, source, output, kill_after_parts=int(KILL_AT * asked.rows / 100_000))
        parts = sorted(path.name for path in output.glob("part-*"))
        resumed = predict(home, source, output)
        check_every_row_is_there_once(output, asked.rows)
        found = {
            "rows": asked.rows,
            "candidate": asked.candidate,
            "input_mib": round(source.stat().st_size / 2**20),
            "output_mib": round(sum(path.stat().st_size for path in output.iterdir()) / 2**20),
            "killed": {**asdict(killed), "parts": len(parts)},
            "resumed": asdict(resumed),
            "rows_a_second": round(asked.rows / (killed.seconds + resumed.seconds)),
            "equal_to_the_api": compare_with_the_api(home, source, output, asked.rows),
        }
    print(json.dumps(found, indent=1))


def train(folder: Path, candidate: str) -> dict[str, str]:
    """Train ``flight_delay`` with one candidate and its baseline, and return the environment of its platform."""
    shipped = Settings.from_environment({}).use_cases / MODEL / "use_case.yaml"
    document = yaml.safe_load(shipped.read_text(encoding="utf-8"))
    kept = [each for each in document["candidates"] if each["kind"] in (candidate, "historical_rate")]
    # Only a version is wanted here, whatever its quality.
    gate = dict.fromkeys(("beats_baseline", "not_worse_than_champion", "calibrated", "enough_test_rows"))
    document |= {"candidates": kept, "budget": {"fits": 1}, "gate": gate}
    (folder / "use_cases" / MODEL).mkdir(parents=True)
    (folder / "use_cases" / MODEL / "use_case.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    home = {"AFORO_HOME": str(folder / "home"), "AFORO_USE_CASES": str(folder / "use_cases"), "MLFLOW_TRACKING_URI": ""}
    environment = {**os.environ, **home}
    subprocess.run([AFORO, "run", MODEL, "--run-key", "one"], env=environment, check=True, capture_output=True)
    return environment


def generate(path: Path, rows: int, environment: dict[str, str]) -> None:
    """Write so many flights into one file, a group at a time."""
    settings = Settings.from_environment(environment)
    platform, use_case = Platform.of(settings), load_use_case(settings.use_cases, MODEL)
    version = platform.versions.resolve(MODEL, "champion")
    flights = platform.snapshots.load(version.tags["snapshot_id"]).select(inputs(use_case))
    rng = np.random.default_rng(2013)
    schema = flights.head(0).with_columns(pl.Series(NUMBER, [], dtype=pl.Int64)).to_arrow().schema
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for start in range(0, rows, ROWS_PER_GROUP):
            count = min(ROWS_PER_GROUP, rows - start)
            drawn = flights[rng.integers(0, flights.height, count)]
            numbers = pl.Series(NUMBER, np.arange(start + 1, start + count + 1))
            file.write_table(drawn.with_columns(numbers).to_arrow().cast(schema))


def inputs(use_case: UseCase) -> list[str]:
    return [column.name for column in use_case.inputs]


def predict(environment: dict[str, str], source: Path, output: Path, kill_after_parts: int | None = None) -> Child:
    """Run ``aforo predict``, and kill it when the output has so many parts."""
    started = time.monotonic()
    with (output.parent / "predict.log").open("ab") as log:
        process = subprocess.Popen(
            [AFORO, "predict", MODEL, "--input", source, "--output", output, "--keep", NUMBER],
            env=environment,
            stdout=log,
            stderr=log,
        )
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if kill_after_parts is not None and len(list(output.glob("part-*"))) >= kill_after_parts:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.1)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != (0 if kill_after_parts is None else -signal.SIGKILL):
        raise SystemExit(
            f"aforo predict ended with {process.returncode}: {(output.parent / 'predict.log').read_text()}"
        )
    return Child(round(time.monotonic() - started, 1), round(used.ru_maxrss / 1024), process.returncode)


def check_every_row_is_there_once(output: Path, rows: int) -> None:
    """Look at every part: the numbers go on from part to part, and each row has its answer."""
    manifest = json.loads((output / "manifest.json").read_text())
    names = [part["name"] for part in manifest["parts"]]
    if names != sorted(path.name for path in output.glob("part-*")) or manifest["rows"] != rows:
        raise SystemExit(f"the manifest tells of {len(names)} parts and {manifest['rows']} rows; expected {rows}")
    expected = 1
    for name in names:
        part = pl.read_parquet(output / name, columns=[NUMBER, "label", "problem"])
        numbers = part[NUMBER].to_numpy()
        if not np.array_equal(numbers, np.arange(expected, expected + len(numbers))):
            raise SystemExit(f"{name}: its rows are not {expected} to {expected + len(numbers) - 1}")
        if part["label"].null_count() or part["problem"].count():
            raise SystemExit(f"{name}: rows without an answer")
        expected += len(numbers)
    if expected != rows + 1:
        raise SystemExit(f"{expected - 1} rows are there; expected {rows}")


def compare_with_the_api(environment: dict[str, str], source: Path, output: Path, rows: int) -> int:
    """Ask the real prediction API about a sample, and return how many answers have the same bits: all of them."""
    settings = Settings.from_environment(environment)
    numbers = np.random.default_rng(1).choice(rows, size=min(SAMPLE, rows), replace=False) + 1
    wanted = pl.DataFrame({NUMBER: np.sort(numbers)})
    sample = pl.scan_parquet(source).join(wanted.lazy(), on=NUMBER, how="semi").collect(engine="streaming").sort(NUMBER)
    answers = pl.scan_parquet(output / "part-*.parquet").join(wanted.lazy(), on=NUMBER, how="semi")
    answers = answers.collect(engine="streaming").sort(NUMBER)
    equal = 0
    with serving(environment) as client:
        names = inputs(load_use_case(settings.use_cases, MODEL))
        for start in range(0, sample.height, ROWS_PER_REQUEST):
            asked = sample.slice(start, ROWS_PER_REQUEST).select(names).to_dicts()
            answer = client.post(f"/models/{MODEL}/predict", json={"rows": asked})
            answer.raise_for_status()
            found = answers.slice(start, ROWS_PER_REQUEST)
            for row, told in zip(found.iter_rows(named=True), answer.json()["predictions"], strict=True):
                numbers_of_row = [row[f"probability_{label}"] for label in told["probabilities"]]
                equal += (numbers_of_row, row["label"]) == (list(told["probabilities"].values()), told["label"])
    if equal != sample.height:
        raise SystemExit(f"{sample.height - equal} of {sample.height} answers differ from those of the API")
    return equal


@contextmanager
def serving(environment: dict[str, str]) -> Iterator[httpx.Client]:
    """Run the prediction API on a free port."""
    process = subprocess.Popen(
        [AFORO, "serve", "--port", "0"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        with httpx.Client(base_url=process.stdout.readline().strip(), timeout=60, trust_env=False) as client:
            while client.get("/health/ready").status_code != 200:
                time.sleep(0.2)
            yield client
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    main()
