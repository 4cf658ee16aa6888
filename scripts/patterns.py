"""Write docs/patterns/README.md, the table of all patterns, from their unions and from what was measured."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any, get_args

from aforo.data.splits import SplitSpec

FOLDER = Path(__file__).parents[1] / "docs" / "patterns"
UNIONS: dict[str, tuple[Any, str]] = {"Splits: which row is for what": (SplitSpec, "aforo.data.splits")}
"""Heading to union, and to the package with one module a kind."""
WINDOWED, WINDOWS = "windowed_inference", "aforo.contracts.windows"
"""The pattern that is a section of its own, and its module."""

INTRODUCTION = """\
# Patterns

One pattern is one file and one line in its union; `scripts/patterns.py` writes this page from them. The figures are on
real data, with 95 % intervals. `benchmarks/patterns` measures them: of a split, what a naive choice claimed, what the
pattern claimed, and what came true on rows that neither had seen; of the others, a figure without them and with them.
"""

BRIDGES = """\
`benchmarks/patterns/bridges.py` measures it at three dates, with the new schema 7, 28 and 56 days old; the row above is
the one in the middle. Below are the figures of new rows alone, and differences from them: of the log loss, where below
0 is better, and of the ROC AUC, where above 0 is.
"""


def render() -> str:
    """Return the page."""
    figures = json.loads((FOLDER / "figures.json").read_text(encoding="utf-8"))
    sections = [INTRODUCTION]
    for heading, (union, package) in UNIONS.items():
        lines = [
            f"## {heading}\n",
            "| pattern | source | in `use_case.yaml` | data, figure | naive claim | its claim | truth |",
            "|---|---|---|---|---|---|---|",
        ]
        for spec in get_args(get_args(union)[0]):
            kind = spec.model_fields["kind"].default
            found = figures[kind]
            lines.append(
                "| "
                + " | ".join(
                    [
                        f"[{kind}]({kind}.md)",
                        source_of(f"{package}.{kind}"),
                        f"`{found['yaml']}`",
                        f"{found['data']}: {found['metric']}",
                        f"{found['naive']}: {_shown(found['claimed_before'])}",
                        _shown(found["claimed"]),
                        _shown(found["truth"]),
                    ]
                )
                + " |"
            )
        sections.append("\n".join(lines) + "\n")
    sections.append(_bridges(figures["bridged_schema"]))
    sections.append(_windows(figures[WINDOWED]))
    sections.append(_two_phase(figures["two_phase_prediction"]))
    return "\n".join(sections)


def _windows(found: dict[str, Any]) -> str:
    cells = (
        f"[{WINDOWED}]({WINDOWED}.md)",
        source_of(WINDOWS),
        f"`{found['yaml']}`",
        f"{found['data']}: {found['metric']}",
        *(_shown(found[name]) for name in ("before", "after", "gain")),
    )
    return f"""\
## Windows: what has just happened

| pattern | source | in `data` of `use_case.yaml` | data, figure | without | with | gain |
|---|---|---|---|---|---|---|
| {" | ".join(cells)} |
"""


def _bridges(found: dict[str, Any]) -> str:
    """Return the section on the bridge: its row, which is the case in the middle, and all cases."""
    shown = found["cases"][len(found["cases"]) // 2]
    loss = shown["log_loss"]
    cells = [
        "[bridged_schema](bridged_schema.md)",
        source_of("aforo.data.bridging.bridge"),
        f"`{found['yaml']}`",
        f"flights, of airlines known by group until {shown['new_days']} days ago; the next 8 weeks: log loss",
        _shown(loss["new_alone"]["figure"]),
        _shown(loss["static"]["figure"]),
        _shown(loss["static"]["difference"]),
        _shown(loss["refined"]["figure"]),
    ]
    lines = [
        "## Bridges: old rows for a new schema\n",
        "| pattern | source | in `use_case.yaml` | data, figure | new rows alone | bridged | difference "
        "| had old rows known |",
        "|---|---|---|---|---|---|---|---|",
        f"| {' | '.join(cells)} |\n",
        BRIDGES,
        "| today | new days | new rows | old rows used (static, drawn) | log loss of new rows alone | static | drawn "
        "| had old rows known | ROC AUC of new rows alone | static |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in found["cases"]:
        loss, auc, used = case["log_loss"], case["roc_auc"], case["used"]
        cells = [
            case["today"],
            str(case["new_days"]),
            f"{case['new_rows']:,}",
            f"{used['static']:,}, {used['probabilistic']:,} of {case['old_rows']:,}",
            _shown(loss["new_alone"]["figure"]),
            *(_shown(loss[name]["difference"]) for name in ("static", "probabilistic", "refined")),
            _shown(auc["new_alone"]["figure"]),
            _shown(auc["static"]["difference"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _two_phase(found: dict[str, Any]) -> str:
    """Return the section on what answers a row."""
    cells = [
        "[two_phase_prediction](two_phase_prediction.md)",
        source_of("aforo.evaluation.two_phase"),
        f"`{found['yaml']}`",
        f"{found['data']}: {found['metric']}",
        _shown(found["before"]),
        _shown(found["after"]),
        found["what_else"],
    ]
    lines = [
        "## Serving: what answers a row\n",
        "| pattern | source | in `use_case.yaml` | data, figure | full model alone | two phases | what else |",
        "|---|---|---|---|---|---|---|",
        f"| {' | '.join(cells)} |",
    ]
    return "\n".join(lines) + "\n"


def source_of(module: str) -> str:
    """Return the first reference in the docstrings of a pattern's module, on one line."""
    for thing in vars(importlib.import_module(module)).values():
        documented = (getattr(thing, "__module__", None) == module and thing.__doc__) or ""
        match = re.search(r"References\n\s*-+\n(.+?)(?:\n\s*\n|\Z)", documented, re.DOTALL)
        if match:
            return " ".join(match[1].split())
    raise ValueError(f"{module} names no source; expected a References section in a docstring")


def _shown(figure: dict[str, float]) -> str:
    return f"{figure['value']:.3g} [{figure['lower']:.3g}, {figure['upper']:.3g}]"


if __name__ == "__main__":
    FOLDER.joinpath("README.md").write_text(render(), encoding="utf-8")
    sys.stderr.write(f"wrote {FOLDER / 'README.md'}\n")
