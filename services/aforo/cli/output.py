"""How results look: at the width of the terminal, or as wide as they are where nobody resizes them (a pipe, a log)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from aforo.contracts.run import Manifest

# What only the next step needs; `--json` has it. Keys of stored objects, and what the title says already.
_FOR_MACHINES = {"use_case", "run_key", "inputs", "seconds", "membership", "report", "report_digest", "scores"}
_FOR_MACHINES |= {"reference", "predictor", "mlflow_run_id", "is_baseline", "provenance", "integrated_gradients"}
_UNWRAPPED = 10_000


def show_manifest(manifest: Manifest, *, as_json: bool) -> None:
    """Print what a step did: its manifest as JSON, or what a person wants to know of it."""
    if as_json:
        show_json(manifest)
        return
    print_line(f"{manifest.use_case} {manifest.step} ({manifest.seconds:.1f} s)")
    said = {name: value for name, value in manifest.model_dump().items() if name not in _FOR_MACHINES}
    tables = {name: rows for name, value in said.items() if (rows := _records(value)) is not None}
    show_facts(_flat({name: value for name, value in said.items() if name not in tables}))
    for name, (columns, records) in tables.items():
        show_table(name.replace("_", " "), columns, records)


def show_json(result: BaseModel) -> None:
    """Print ``result`` as one line of JSON."""
    print_line(result.model_dump_json())


def show_facts(facts: Mapping[str, object]) -> None:
    """Print names and values in two columns; a list's items each on a line."""
    table = _grid()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        lines = value if isinstance(value, tuple) and any(" " in str(item) for item in value) else (value,)
        for number, line in enumerate(lines):
            table.add_row("" if number else name.replace("_", " "), _text(line))
    _print(table)


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; numbers are aligned to the right, and only texts are broken where they have to be."""
    print_line(f"\n  {title}")
    table = _grid(header=True)
    for position, column in enumerate(columns):
        numeric = all(isinstance(row[position], int | float) or row[position] is None for row in rows)
        is_last = position == len(columns) - 1
        table.add_column(
            column,
            justify="right" if numeric and rows else "left",
            overflow="fold",
            no_wrap=position == 0 or numeric,
            ratio=1 if is_last and not numeric and sys.stdout.isatty() else None,
        )
    for row in rows:
        table.add_row(*(_text(value) for value in row))
    _print(table)


def print_line(text: str) -> None:
    """Print one line on stdout."""
    sys.stdout.write(f"{text}\n")


def _grid(*, header: bool = False) -> Table:
    return Table(box=None, show_header=header, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)


def _print(table: Table) -> None:
    """Print indented, without the blanks that fill up lines."""
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    width = max(console.width, 40) - 2 if sys.stdout.isatty() else _UNWRAPPED
    for line in console.render_lines(table, console.options.update_width(width), pad=False):
        text = "".join(segment.text for segment in line if not segment.control)
        print_line(f"  {text}".rstrip())


def _records(value: object) -> tuple[list[str], list[list[object]]] | None:
    """Return what is a table by nature: named records as rows, figures by predictor as columns; else ``None``."""
    if isinstance(value, Mapping) and "name" in value:
        value = (value,)
    if isinstance(value, tuple) and value and isinstance(value[0], Mapping):
        flat = [
            _flat({k: v for k, v in record.items() if k not in _FOR_MACHINES or k == "seconds"}, joined=True)
            for record in value
        ]
        names = list(dict.fromkeys(name for record in flat for name in record))
        # What is a mapping in itself is long: it goes last.
        names.sort(key=lambda name: isinstance(value[0].get(name), Mapping))
        return [n.replace("_", " ") for n in names], [[record.get(name) for name in names] for record in flat]
    if isinstance(value, Mapping) and value and all(isinstance(row, Mapping) for row in value.values()):
        names = list(dict.fromkeys(name for row in value.values() for name in row))
        return ["", *value], [[name, *(row.get(name) for row in value.values())] for name in names]
    return None


def _flat(value: Mapping[str, object], prefix: str = "", *, joined: bool = False) -> dict[str, object]:
    facts: dict[str, object] = {}
    for name, item in value.items():
        if isinstance(item, Mapping) and joined:
            facts[name] = ", ".join(f"{key} {_text(part)}" for key, part in item.items() if part not in ("", None))
        elif isinstance(item, Mapping):
            facts |= _flat(item, f"{prefix}{name} ")
        elif item is not None and item != ():
            facts[f"{prefix}{name}"] = item
    return facts


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return str(value)
