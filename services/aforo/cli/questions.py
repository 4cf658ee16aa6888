"""What a person asks between the steps: is it right, what is there, is it due."""

from __future__ import annotations

from typing import Annotated

import typer

from aforo.cli.options import JsonOption, SeedOption, UseCaseArgument
from aforo.cli.output import print_line, show_facts, show_json, show_table
from aforo.contracts.table import ColumnContract, Role
from aforo.errors import NothingChanged
from aforo.evaluation.bootstrap import Interval
from aforo.settings import Settings
from aforo.use_case import UseCase, load_use_case
from aforo.workflows.describe import describe as describe_use_case
from aforo.workflows.freshness import freshness
from aforo.workflows.ingest import read_sources
from aforo.workflows.scaffold import scaffold
from aforo.workflows.wiring import Platform


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to ``app``, under a heading of their own in its help."""
    for command in (check, new, due):
        app.command(rich_help_panel=panel)(command)


def check(use_case: UseCaseArgument, as_json: JsonOption = False) -> None:
    """Check a use case's file, without reading its data."""
    checked = load_use_case(Settings.from_environment().use_cases, use_case)
    if as_json:
        show_json(checked)
        return
    print_line(f"{checked.name}: use_case.yaml is valid")
    show_facts(
        {
            "task": checked.task.kind,
            "columns": len(checked.data.columns),
            "inputs": len(checked.inputs),
            "candidates": tuple(candidate.name for candidate in checked.candidates),
            "digest": checked.digest,
        }
    )


def describe(use_case: UseCaseArgument, as_json: JsonOption = False) -> None:
    """Show the contract, the last snapshot, and the champion beside its baseline."""
    settings = Settings.from_environment()
    described = load_use_case(settings.use_cases, use_case)
    description = describe_use_case(described, Platform.of(settings))
    if as_json:
        show_json(description)
        return
    print_line(f"{description.use_case}: {description.title}")
    show_facts({"task": described.task.kind, **({"classes": described.classes} if described.classes else {})})
    show_table("Inputs", ("name", "type", "unit", "allowed", "description"), _inputs(described))
    show_table("Other columns", ("role", "names"), _others(described))
    if description.champion is None:
        print_line(f"\nno champion yet; train one with `aforo run {use_case}`")
        return
    champion = description.champion
    print_line(f"\nChampion: version {champion.version}, {champion.candidate}")
    facts = {"snapshot": champion.snapshot_id, "run key": champion.run_key}
    facts |= {} if champion.url is None else {"MLflow": champion.url}
    show_facts({**facts, "gate": champion.reasons})
    figures = {"champion" if name == "candidate" else name: row for name, row in champion.figures.items()}
    beside = [name for name in ("champion", "baseline") if name in figures]
    names = list(figures["champion"])
    rows = [(name, *(_interval(figures[p].get(name)) for p in beside)) for name in names]
    show_table("On the frozen test part, with the interval that chance leaves", ("", *beside), rows)
    others = [name for name in figures if name not in beside]
    values = [(n, *(figures[p][n].value if n in figures[p] else None for p in others)) for n in names]
    show_table("Others on the same rows", ("", *others), values)


def new(name: Annotated[str, typer.Argument(help="Name of the new use case.", show_default=False)]) -> None:
    """Write a use case to start from."""
    settings = Settings.from_environment()
    path = scaffold(settings.use_cases, name)
    print_line(f"wrote {path}\nnext: fill it in, then `aforo check {name}` and `aforo run {name}`")


def due(use_case: UseCaseArgument, seed: SeedOption = None, as_json: JsonOption = False) -> None:
    """Say whether training could give anything new. Exits 99 if nothing has changed since the champion."""
    settings = Settings.from_environment()
    platform, asked = Platform.of(settings), load_use_case(settings.use_cases, use_case)
    taken = read_sources(asked, platform)
    found = freshness(asked, taken.snapshot_id, asked.seed if seed is None else seed, platform)
    if as_json:
        show_json(found)
    if not found.changes:
        raise NothingChanged(
            f"{asked.name}: nothing has changed since the champion, version {found.champion}; "
            f"snapshot {taken.snapshot_id}"
        )
    if not as_json:
        print_line(f"{asked.name}: training is due: {', '.join(found.changes)}; snapshot {taken.snapshot_id}")


def _inputs(use_case: UseCase) -> list[tuple[str, ...]]:
    return [(c.name, c.type, c.unit or "", _allowed(c), c.description) for c in use_case.inputs]


def _others(use_case: UseCase) -> list[tuple[str, str]]:
    roles = (Role.KEY, Role.TIME, Role.TARGET, Role.LEAK)
    named = [(role, ", ".join(c.name for c in use_case.data.columns if role in c.role)) for role in roles]
    return [(role.value, names) for role, names in named if names]


def _allowed(column: ColumnContract) -> str:
    low, high = ("" if bound is None else f"{bound:g}" for bound in (column.minimum, column.maximum))
    bounds = f"{low} to {high}" if low and high else f"from {low}" if low else f"up to {high}" if high else ""
    values = "" if column.categories is None else ", ".join(column.categories)
    return ", ".join(part for part in (values, bounds, "or missing" if column.nullable else "") if part)


def _interval(figure: Interval | None) -> str:
    return "-" if figure is None else f"{figure.value:.4f}  [{figure.lower:.4f}, {figure.upper:.4f}]"
