"""``aforo prune``: let go of what nothing refers to."""

from __future__ import annotations

from typing import Annotated

import typer

from aforo.cli.options import JsonOption
from aforo.cli.output import print_line, show_json, show_table
from aforo.settings import Settings
from aforo.workflows import retention
from aforo.workflows.wiring import Platform


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to ``app``, under a heading of their own in its help."""
    app.command(rich_help_panel=panel)(prune)


def prune(
    older_than_days: Annotated[
        int, typer.Option(min=1, help="What was written to since then stays, whatever refers to it.")
    ] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and remove nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove old runs, snapshots and quarantine tables that no ledger row, alias, version or manifest refers to."""
    work = retention.plan_retention if dry_run else retention.prune
    plan = work(Platform.of(Settings.from_environment()), older_than_days=older_than_days)
    if as_json:
        show_json(plan)
        return
    if plan.removals:
        show_table(
            "Would be removed" if dry_run else "Removed",
            ("kind", "objects begin with", "objects", "MB", "last written"),
            [(r.kind, r.prefix, r.objects, r.size_bytes / 1e6, r.written_at) for r in plan.removals],
        )
    verb = "would go" if dry_run else "removed"
    print_line(f"{len(plan.removals)} {verb} ({plan.size_bytes / 1e6:.1f} MB), {plan.kept} stay")
