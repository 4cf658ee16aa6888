"""Measure ingest, validate and split of a big table beside a plain Polars copy of the same file, on this machine.

::

    python benchmarks/data/run.py                                  # 1, 3 and 10 million rows
    python benchmarks/data/run.py --millions 100 --rounds 1        # 5 GB of disk
    python benchmarks/data/run.py --store s3                       # tables and snapshots in the store of AFORO_S3_*
    python benchmarks/data/run.py --millions                       # measures nothing, and prints what was

Each measurement is a process of its own, so that its peak memory is its own. Rounds are interleaved, and the best of
each is taken: what else the machine does only ever adds time. Each size is added to results.json when it is done,
in place of what was there for it, and its table is removed; then report.py prints the table and draws the plot.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
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
import report
import yaml

from aforo.cli.entry import ALLOCATOR
from aforo.contracts.run import RunKey
from aforo.data.splits import FingerprintSplit
from aforo.settings import Settings
from aforo.storage import ObjectStore, S3Store, open_store
from aforo.use_case import load_use_case
from aforo.workflows import ingest, split, validate
from aforo.workflows.wiring import Platform

HERE = Path(__file__).parent
# Of each thing that was timed, the seconds on the clock and those of all processors.
Times = dict[str, tuple[float, float]]
STORES = ("folder", "s3")
# In the store: where the table and its copy are, in a bucket that every platform has; what is written is removed.
BUCKET = "snapshots"
PREFIX = "benchmark-"
HASHED_ROWS = 1_000_000
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


def copy(path: str, folder: Path, settings: Settings) -> Times:
    """Scan and sink with the snapshots' compression: what reading and writing alone cost."""
    store, target = open_store(settings), str(folder / "copy.parquet")
    if path.startswith("s3://"):
        target = store.url(f"{BUCKET}/benchmark/copy.parquet")
    options = store.scan_options() or None
    rows = pl.scan_parquet(path, storage_options=options)
    written = partial(rows.sink_parquet, target, compression="zstd", compression_level=1, storage_options=options)
    return {"copy": _timed(written)}


def steps(path: str, folder: Path, settings: Settings) -> Times:
    """Our three steps, as Airflow runs them."""
    place = folder / "use_cases" / "flights"
    place.mkdir(parents=True)
    contract = yaml.safe_load((HERE / "contract.yaml").read_text())
    document = {**USE_CASE, "data": {"source": {"kind": "parquet", "path": path}, **contract}}
    (place / "use_case.yaml").write_text(yaml.safe_dump(document))
    use_case, key = load_use_case(place.parent, "flights"), RunKey("b")
    platform = Platform.of(settings)
    return {
        step.__name__.split(".")[-1]: _timed(partial(step.run, use_case, key, platform))
        for step in (ingest, validate, split)
    }


def fingerprint(path: str, _folder: Path, settings: Settings) -> Times:
    """The split's hash alone, and the same parts from a loop in Python, for the first rows."""
    rows = pl.scan_parquet(path, storage_options=open_store(settings).scan_options() or None).head(HASHED_ROWS)
    texts = rows.select(pl.concat_str("year", "month", "day", "flight", separator="-")).collect()
    strategy = FingerprintSplit(key=tuple(texts.columns), shares=SHARES)
    some = texts.to_series().to_list()

    def in_python() -> None:
        for text in some:
            percent = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) % 100
            sum(percent >= edge for edge in (60, 75, 85))

    return {"fingerprint": _timed(lambda: strategy.assign(texts)), "python hash": _timed(in_python)}


MEASURES: dict[str, Callable[[str, Path, Settings], Times]] = {
    function.__name__: function for function in (copy, steps, fingerprint)
}


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds on the clock, and those of all processors."""
    started, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - cpu


def _in_this_process(measure: str, path: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="aforo-bench-", dir=folder) as home:
        store = {"AFORO_STORE_URL": "s3://"} if path.startswith("s3://") else {}
        settings = Settings.from_environment(os.environ | {"AFORO_HOME": home} | store)
        try:
            times = MEASURES[measure](path, Path(home), settings)
        finally:
            if store:
                _remove_what_was_written(open_store(settings))
        found = {
            "seconds": {name: seconds for name, (seconds, _) in times.items()},
            "cpu_s": {name: cpu for name, (_, cpu) in times.items()},
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    print(json.dumps(found))


def _remove_what_was_written(store: ObjectStore) -> None:
    written = [key for key in store.list(f"{BUCKET}/") if not key.endswith("/table.parquet")]
    for key in (*written, *store.list("runs/flights/b/")):
        store.delete(key)


def _in_its_own(measure: str, path: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", __file__, "--measure", measure, "--path", path, "--folder", str(folder)]
    # As the command line sets it, and for the copy as well.
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | ALLOCATOR)
    if done.returncode:
        raise SystemExit(f"{measure} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(path: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Return per measure the best of its rounds."""
    best: dict[str, Any] = {}
    for _ in range(rounds):
        for measure in MEASURES:
            found = _in_its_own(measure, path, folder)
            kept = best.setdefault(measure, found)
            for figure in ("seconds", "cpu_s"):
                kept[figure] = {name: min(value, kept[figure][name]) for name, value in found[figure].items()}
            kept["peak_mib"] = max(kept["peak_mib"], found["peak_mib"])
    return best


def measure_size(millions: float, store: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Make the table, measure, and remove it."""
    path = folder / f"flights-{millions:g}m.parquet"
    try:
        generator = [sys.executable, "-W", "ignore", str(HERE / "flights.py"), str(path)]
        subprocess.run([*generator, "--rows", str(round(millions * 1e6))], check=True)
        if store == "folder":
            return compare(str(path), folder, rounds)
        settings = Settings.from_environment(os.environ | {"AFORO_STORE_URL": "s3://"})
        bucket = S3Store.from_settings(settings, bucket_prefix=settings.s3_bucket_prefix)
        key = f"{BUCKET}/benchmark/table.parquet"
        bucket.upload(path, key, move=True)
        try:
            return compare(bucket.url(key), folder, rounds)
        finally:
            bucket.delete(key)
    finally:
        path.unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--millions", type=float, nargs="*", default=[1, 3, 10])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--store", choices=STORES, default="folder")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.store == "s3" and not os.environ.get("AFORO_S3_BUCKET_PREFIX", "").startswith(PREFIX):
        parser.error(f"AFORO_S3_BUCKET_PREFIX has to begin with {PREFIX!r}: what is in those buckets is removed")
    if asked.measure:
        _in_this_process(asked.measure, asked.path, asked.folder)
        return
    for millions in asked.millions:
        results = json.loads(report.RESULTS.read_text()) if report.RESULTS.exists() else {}
        found = measure_size(millions, asked.store, asked.folder, asked.rounds)
        sizes = {**results.get(asked.store, {}), f"{millions:g}": found}
        results[asked.store] = dict(sorted(sizes.items(), key=lambda item: float(item[0])))
        report.RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    report.main()


if __name__ == "__main__":
    main()
