"""What run.py measured, as a table and as a plot.

::

    python benchmarks/data/report.py      # prints the table, and draws docs/data_speed.svg
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

RESULTS = Path(__file__).with_name("results.json")
PLOT = Path(__file__).parents[2] / "docs" / "data_speed.svg"
NAMES = {"folder": "local folder", "s3": "S3 store"}
COLUMNS = (
    "million rows", "copy s", "ingest s", "validate s", "split s", "copy / ingest", "the same, CPU", "copy / all three",
    "the same, CPU", "peak MiB", "hash x Python",
)  # fmt: skip


def as_table(results: dict[str, Any]) -> str:
    """Return Markdown: one table a store, with how steeply its times grow."""
    lines = []
    for store, sizes in results.items():
        lines += [f"From a {NAMES[store]}:" if store == "folder" else f"From an {NAMES[store]}:", ""]
        lines += [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        lines += [_line(millions, found) for millions, found in sizes.items()]
        if len(sizes) > 1:
            slopes = [f"{name} {_slope(*_points(sizes, name)):.2f}" for name in ("copy", "ingest", "all three")]
            lines += ["", f"Time grows with the rows to the power of: {', '.join(slopes)}."]
        lines.append("")
    return "\n".join(lines)


def _line(millions: str, found: dict[str, Any]) -> str:
    plain, ours = found["copy"]["seconds"]["copy"], found["steps"]["seconds"]
    hashed = found["fingerprint"]["seconds"]
    cpu, ours_cpu = found["copy"]["cpu_s"]["copy"], found["steps"]["cpu_s"]
    cells = (
        millions,
        *(f"{seconds:.1f}" for seconds in (plain, ours["ingest"], ours["validate"], ours["split"])),
        f"{plain / ours['ingest']:.2f}",
        f"{cpu / ours_cpu['ingest']:.2f}",
        f"{plain / sum(ours.values()):.2f}",
        f"{cpu / sum(ours_cpu.values()):.2f}",
        f"{found['steps']['peak_mib']:,.0f}",
        f"{hashed['python hash'] / hashed['fingerprint']:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _points(sizes: dict[str, Any], name: str) -> tuple[list[float], list[float]]:
    """Millions of rows, and seconds."""
    seconds = []
    for found in sizes.values():
        every = {**found["copy"]["seconds"], **found["steps"]["seconds"]}
        seconds.append(sum(found["steps"]["seconds"].values()) if name == "all three" else every[name])
    return [float(millions) for millions in sizes], seconds


def _slope(millions: list[float], seconds: list[float]) -> float:
    return float(np.polyfit(np.log(millions), np.log(seconds), 1)[0])


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw seconds over rows, both in powers of ten: what grows in proportion rises at 45 degrees."""
    mpl.rcParams["svg.hashsalt"] = "aforo"
    figure, every = plt.subplots(
        1, len(results), figsize=(4.6 * len(results), 4.4), sharex=True, sharey=True, squeeze=False
    )
    drawn = (("copy", "Polars copy", "#7f7f7f"), ("ingest", "ingest", "#1f77b4"),
             ("all three", "ingest, validate, split", "#d62728"))  # fmt: skip
    for axes, (store, sizes) in zip(every[0], results.items(), strict=True):
        for name, label, colour in drawn:
            millions, seconds = _points(sizes, name)
            slope = f", slope {_slope(millions, seconds):.2f}" if len(sizes) > 1 else ""
            axes.plot(millions, seconds, "o-", color=colour, label=label + slope)
        axes.set(xscale="log", yscale="log", xlabel="million rows", title=NAMES[store])
        axes.set_aspect("equal")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(which="major", color="#dddddd")
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    every[0][0].set_ylabel("seconds")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    plt.close(figure)


def main() -> None:
    results = json.loads(RESULTS.read_text())
    print(as_table(results))
    plot(results, PLOT)


if __name__ == "__main__":
    main()
