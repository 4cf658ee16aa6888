"""Measure columns over windows of a stream of events: processor time and peak memory, as events and as time grow.

::

    python benchmarks/data/windows.py                              # 1, 3 and 10 million events
    python benchmarks/data/windows.py --millions 1 10 --years 1 30

Each measurement is a process of its own, so that its peak memory is its own. Events are made batch by batch, spread
evenly over the years, from three airports; then as many questions are answered as there are events. What is timed is
what ingest does with windows: stage the events (each counted once), add them up in panes, and fill the columns in, one
part in memory at a time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from aforo.contracts.table import TableContract
from aforo.contracts.windows import EventStream, WindowSpec, event_streams
from aforo.data.windows import EventCollector

BATCH_ROWS = 500_000
YEAR_US = 365 * 86_400_000_000


def stream() -> EventStream:
    """The windows of `flight_delay`, by airport."""
    columns: list[dict[str, Any]] = [
        {"name": "flight", "type": "integer", "role": "key"},
        {"name": "origin", "type": "string", "role": "feature"},
        {"name": "asked_at", "type": "timestamp", "role": "info"},
        {"name": "departed_at", "type": "timestamp", "role": "leak"},
        {"name": "dep_delay", "type": "number", "role": "leak", "known_at": "departed_at"},
        *(
            {"name": name, "type": "number", "role": "feature", "nullable": True}
            for name in ("departures_2h", "mean_delay_2h", "late_share_2h")
        ),
        {"name": "late", "type": "boolean", "role": "target"},
    ]
    window = {
        "stream": "departures",
        "known_at": "departed_at",
        "asked_at": "asked_at",
        "by": ["origin"],
        "columns": {
            "departures_2h": {"kind": "count", "minutes": 120},
            "mean_delay_2h": {"kind": "mean", "of": "dep_delay", "minutes": 120},
            "late_share_2h": {"kind": "share", "of": "dep_delay", "at_least": 15, "minutes": 120},
        },
    }
    return event_streams((WindowSpec.model_validate(window),), TableContract.model_validate({"columns": columns}))[0]


def batches(rows: int, years: int) -> Iterator[pl.DataFrame]:
    """Yield flights in order of their schedule; some leave hours later."""
    step_us = years * YEAR_US / rows
    for first in range(0, rows, BATCH_ROWS):
        rng = np.random.default_rng(first)
        number = np.arange(first, min(first + BATCH_ROWS, rows))
        delay = np.maximum(-40, rng.exponential(30.0, len(number)).round() - 15)
        scheduled = (number * step_us).astype(np.int64)
        moments = {"asked_at": scheduled - 3_600_000_000, "departed_at": scheduled + (delay * 60e6).astype(np.int64)}
        yield pl.DataFrame(
            {
                "flight": number,
                "origin": rng.choice(["EWR", "JFK", "LGA"], len(number)),
                **{name: pl.Series(values).cast(pl.Datetime("us", "UTC")) for name, values in moments.items()},
                "dep_delay": delay,
            }
        )


def measure(rows: int, years: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="aforo-bench-") as folder:
        started = time.process_time()
        with EventCollector(stream(), Path(folder)) as collector:
            for batch in batches(rows, years):
                collector.add(batch, batch["flight"].to_numpy() + 1, "made")
            panes = collector.finish()
        added_s = time.process_time() - started
        known = 0
        for batch in batches(rows, years):
            known += panes.add_columns_to(batch)["mean_delay_2h"].count()
    return {
        "panes": panes.table.height,
        "add_s": added_s,
        "fill_s": time.process_time() - started - added_s,
        "known": known,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 3, 10])
    parser.add_argument("--years", type=int, nargs="+", default=[1])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(round(asked.millions[0] * 1e6), asked.years[0])))
        return
    print("| million events | years | panes | add up CPU s | fill in CPU s | peak MB |\n|---|---|---|---|---|---|")
    for years in asked.years:
        for millions in asked.millions:
            command = [
                sys.executable,
                "-W",
                "ignore",
                __file__,
                "--one",
                "--millions",
                str(millions),
                "--years",
                str(years),
            ]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            cells = (millions, years, f"{found['panes']:,}", f"{found['add_s']:.1f}", f"{found['fill_s']:.1f}")
            print(f"| {' | '.join(map(str, cells))} | {found['peak_mb']:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
