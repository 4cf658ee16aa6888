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

INTRODUCTION = """\
# Patterns

One pattern is one file and one line in its union; `scripts/patterns.py` writes this page from them. The figures are on
real data, with 95 % intervals: what a naive choice claimed, what the pattern claimed, and what came true on rows that
neither had seen. `benchmarks/patterns/splits.py` measures them.
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
    return "\n".join(sections)


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
