"""Measure ingest, validate and split of a big table beside a plain Polars copy of the same file, on this machine.

::

    python benchmarks/data/run.py                                  # 1, 10 and 30 million rows
    python benchmarks/data/run.py --millions 1 10 100 --rounds 3   # the 100 million need 8 GB of disk

Each measurement is a process of its own, so that its peak memory is its own. Rounds are interleaved, and the best of
each is taken: what else the machine does only ever adds time. Prints a table; writes results.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from aforo.contracts.run import RunKey
from aforo.data.splits import FingerprintSplit
from aforo.settings import Settings
from aforo.use_case import load_use_case
from aforo.workflows import ingest, split, validate
from aforo.workflows.wiring import Platform

HERE = Path(__file__).parent
# A Python hash of every row is timed on so many, and scaled.
HASHED_ROWS = 500_000
SHARES = (60, 15, 10, 15)
USE_CASE: dict[str, Any] = {
    "name": "flights",
    "title": "Big flights",
    "owner": "benchmarks",
    "task": {"kind": "binary"},
    "split": {"kind": "fingerprint", "key": ["date"]},
    "features": [{"kind": "one_hot", "columns": ["carrier"]}],
    "candidates": [{"kind": "historical_rate", "by": []}],
}  # fmt: skip


def copy(path: Path, folder: Path) -> dict[str, float]:
    """Scan and sink: what reading and writing alone cost."""
    return {"copy": _timed(lambda: pl.scan_parquet(path).sink_parquet(folder / "copy.parquet", compression="zstd"))}


def steps(path: Path, folder: Path) -> dict[str, float]:
    """Our three steps, as Airflow runs them."""
    place = folder / "use_cases" / "flights"
    place.mkdir(parents=True)
    contract = yaml.safe_load((HERE / "contract.yaml").read_text())
    document = {**USE_CASE, "data": {"source": {"kind": "parquet", "path": str(path)}, **contract}}
    (place / "use_case.yaml").write_text(yaml.safe_dump(document))
    use_case, key = load_use_case(place.parent, "flights"), RunKey("b")
    platform = Platform.of(Settings.from_environment({"AFORO_HOME": str(folder)}))
    return {
        step.__name__.split(".")[-1]: _timed(partial(step.run, use_case, key, platform))
        for step in (ingest, validate, split)
    }


def fingerprint(path: Path, _folder: Path) -> dict[str, float]:
    """The split's hash alone, and the same parts from a loop in Python."""
    texts = pl.scan_parquet(path).select(pl.concat_str("year", "month", "day", "flight", separator="-")).collect()
    strategy = FingerprintSplit(key=tuple(texts.columns), shares=SHARES)
    some = texts.to_series().head(HASHED_ROWS).to_list()

    def in_python() -> None:
        for text in some:
            percent = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) % 100
            sum(percent >= edge for edge in (60, 75, 85))

    seconds = {"fingerprint": _timed(lambda: strategy.assign(texts)), "python hash": _timed(in_python)}
    return {**seconds, "python hash": seconds["python hash"] * texts.height / len(some)}


MEASURES: dict[str, Callable[[Path, Path], dict[str, float]]] = {
    function.__name__: function for function in (copy, steps, fingerprint)
}


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _in_this_process(measure: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="aforo-bench-", dir=path.parent) as folder:
        cpu = time.process_time()
        seconds = MEASURES[measure](path, Path(folder))
        found = {
            "seconds": seconds,
            "cpu_s": time.process_time() - cpu,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    print(json.dumps(found))


def _in_its_own(measure: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", __file__, "--measure", measure, "--path", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{measure} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(path: Path, rounds: int) -> dict[str, Any]:
    """Return per measure the best of its rounds."""
    best: dict[str, Any] = {}
    for _ in range(rounds):
        for measure in MEASURES:
            found = _in_its_own(measure, path)
            kept = best.setdefault(measure, found)
            kept["seconds"] = {name: min(value, kept["seconds"][name]) for name, value in found["seconds"].items()}
            kept["cpu_s"] = min(kept["cpu_s"], found["cpu_s"])
            kept["peak_mb"] = max(kept["peak_mb"], found["peak_mb"])
    return best


COLUMNS = (
    "million rows", "copy s", "ingest s", "validate s", "split s", "copy / all three", "copy / ingest",
    "copy / all three, CPU", "peak MB", "hash x Python",
)  # fmt: skip


def _line(millions: float, found: dict[str, Any]) -> str:
    plain, ours = found["copy"]["seconds"]["copy"], found["steps"]["seconds"]
    hashed = found["fingerprint"]["seconds"]
    cells = (
        f"{millions:g}",
        *(f"{seconds:.1f}" for seconds in (plain, ours["ingest"], ours["validate"], ours["split"])),
        f"{plain / sum(ours.values()):.2f}",
        f"{plain / ours['ingest']:.2f}",
        f"{found['copy']['cpu_s'] / found['steps']['cpu_s']:.2f}",
        f"{found['steps']['peak_mb']:,.0f}",
        f"{hashed['python hash'] / hashed['fingerprint']:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 10, 30])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        _in_this_process(asked.measure, asked.path)
        return
    results = {}
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for millions in asked.millions:
        path = asked.folder / f"flights-{millions:g}m.parquet"
        if not path.exists():
            generator = [sys.executable, "-W", "ignore", str(HERE / "flights.py"), str(path)]
            subprocess.run([*generator, "--rows", str(round(millions * 1e6))], check=True)
        results[f"{millions:g}"] = compare(path, asked.rounds)
        print(_line(millions, results[f"{millions:g}"]), flush=True)
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
