"""``aforo describe``: a use case as it stands, its split in SQL, and what its data looks like."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from aforo.cli.options import UseCaseArgument
from aforo.cli.output import print_line
from aforo.cli.questions import describe as use_case
from aforo.data.splits import Dialect
from aforo.settings import Settings
from aforo.use_case import load_use_case
from aforo.workflows.describe import balanced_seeds, split_sql
from aforo.workflows.wiring import Platform

_DEFAULT = "use-case"


class _UseCaseByDefault(TyperGroup):
    """``aforo describe flight_delay`` is short for ``aforo describe use-case flight_delay``."""

    # Any: typer brings a click of its own, whose types are private.
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        is_known = self.get_command(ctx, args[0]) is not None or args[0].startswith("-")
        return super().resolve_command(ctx, args if is_known else [_DEFAULT, *args])


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to ``app``, under a heading of their own in its help."""
    describe = typer.Typer(
        cls=_UseCaseByDefault,
        no_args_is_help=True,
        help="Show a use case (`aforo describe flight_delay`), its split, or its data.",
    )
    describe.command(_DEFAULT)(use_case)
    for command in (split,):
        describe.command()(command)
    app.add_typer(describe, name="describe", rich_help_panel=panel)


def split(
    use_case: UseCaseArgument,
    sql: Annotated[
        Dialect | None,
        typer.Option(help="Print the query that gives the same parts in a warehouse.", show_default=False),
    ] = None,
    table: Annotated[
        str | None, typer.Option(help="Its table, which has the contract's columns; default: the use case's name.")
    ] = None,
    balance: Annotated[
        bool, typer.Option("--balance", help="Print seeds that spread each stratum of the rows that there are now.")
    ] = False,
) -> None:
    """Show how a use case's rows are split."""
    settings = Settings.from_environment()
    described = load_use_case(settings.use_cases, use_case)
    if sql is not None:
        print_line(split_sql(described, sql, table or described.name))
    elif balance:
        seeds = balanced_seeds(described, Platform.of(settings))
        print_line("seeds: {" + ", ".join(f"{stratum!r}: {seed}" for stratum, seed in seeds.items()) + "}")
    else:
        print_line(described.split.model_dump_json(indent=2))
