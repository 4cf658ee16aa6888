"""How results look on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from aforo.contracts.run import Manifest


def show_manifest(manifest: Manifest, *, as_json: bool) -> None:
    """Print what a step did: its manifest as JSON, or its facts one a line."""
    if as_json:
        show_json(manifest)
        return
    print_line(f"{manifest.use_case} {manifest.step} ({manifest.seconds:.1f} s)")
    hidden = {"use_case", "run_key", "inputs", "seconds"}
    show_facts(_flat(manifest.model_dump(exclude=hidden)))


def show_json(result: BaseModel) -> None:
    """Print ``result`` as one line of JSON."""
    print_line(result.model_dump_json())


def show_facts(facts: Mapping[str, object]) -> None:
    """Print names and values in two columns."""
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        print_line(f"  {name:<{width}}  {_text(value)}")


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; numbers are aligned to the right."""
    table = Table(title=title, title_justify="left")
    for position, column in enumerate(columns):
        numeric = all(isinstance(row[position], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_text(value) for value in row))
    Console(file=sys.stdout, highlight=False).print(table)


def print_line(text: str) -> None:
    """Print one line on stdout."""
    sys.stdout.write(f"{text}\n")


def _flat(value: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    facts: dict[str, object] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            facts |= _flat(item, f"{prefix}{name}.")
        elif isinstance(item, tuple) and item and isinstance(item[0], Mapping):
            for part in item:
                facts |= _flat(part, f"{prefix}{name}.{part.get('name', '')}.")
        elif item is not None and item != ():
            facts[f"{prefix}{name}"] = item
    return facts


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return str(value)
