"""The figures as a table and as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from contenders import LIMIT, MLFLOW, OTHERS, OWN

mpl.use("Agg")
from matplotlib import pyplot as plt

CASES = ((1, 1), (1, 32), (32, 32), (1_000, 32))
NAMES = [f"{rows} x {connections}" for rows, connections in CASES]


def as_table(results: dict[str, Any]) -> str:
    """Return Markdown: the rates of all servers, and ours divided by each of the others."""
    servers = results["servers"]
    lines = [
        "Requests a second (99th percentile in ms), rows x connections; one core for the client.",
        "",
        f"| server | {' | '.join(NAMES)} | PSS MB | first answer s |",
        f"|---|{'---|' * len(NAMES)}---|---|",
    ]
    for name, server in servers.items():
        figures = [
            f"{server['cases'][case]['requests_per_s']:,.0f} ({server['cases'][case]['p99_ms']:.1f})" for case in NAMES
        ]
        lines.append(f"| {name} | {' | '.join(figures)} | {server['pss_mb']:.0f} | {server['start_s']:.2f} |")
    if OWN in servers and len(servers) > 1:
        lines += ["", f"| {OWN} ÷ | " + " | ".join(NAMES) + " |", f"|---|{'---|' * len(NAMES)}"]
        for name in servers:
            if name != OWN:
                lines.append(_ratios(name, [_rate(servers, OWN, case) / _rate(servers, name, case) for case in NAMES]))
        others = [name for name in servers if name in OTHERS]
        if others:
            best = [max(_rate(servers, name, case) for name in others) for case in NAMES]
            ratios = [_rate(servers, OWN, case) / rate for case, rate in zip(NAMES, best, strict=True)]
            lines.append(_ratios(f"best of {', '.join(others)}", ratios))
        if MLFLOW in servers:
            slower = [servers[MLFLOW]["cases"][c]["p99_ms"] / servers[OWN]["cases"][c]["p99_ms"] for c in NAMES]
            lines.append(_ratios(f"p99: {MLFLOW} ÷ {OWN}", slower))
    for name, reason in results["failed"].items():
        lines += ["", f"{name} could not be measured in every round; {reason.strip().splitlines()[-1]}"]
    return "\n".join(lines) + "\n"


def _rate(servers: dict[str, Any], name: str, case: str) -> float:
    rate: float = servers[name]["cases"][case]["requests_per_s"]
    return rate


def _ratios(name: str, ratios: list[float]) -> str:
    return f"| {name} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |"


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw the rates of all servers, on a logarithmic scale."""
    servers = results["servers"]
    figure, axes = plt.subplots(figsize=(10, 4.5), layout="constrained")
    width = 0.84 / len(servers)
    colours = {OWN: "#c2410c", LIMIT: "#9ca3af"}
    greys = iter(plt.get_cmap("viridis")(np.linspace(0.15, 0.85, len(servers))))
    for place, name in enumerate(servers):
        rates = [_rate(servers, name, case) for case in NAMES]
        colour = colours.get(name) or next(greys)
        bars = axes.bar(np.arange(len(NAMES)) + place * width, rates, width, label=name, color=colour)
        axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], fontsize=7, rotation=90, padding=2)
    axes.set_yscale("log")
    axes.margins(y=0.2)
    axes.set_xticks(np.arange(len(NAMES)) + 0.42 - width / 2, NAMES)
    axes.set_xlabel("rows in a request x connections")
    axes.set_ylabel("requests a second")
    axes.legend(ncols=3, fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
