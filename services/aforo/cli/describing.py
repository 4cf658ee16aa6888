"""``aforo describe``: a use case as it stands, its split in SQL, and what its data looks like."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from aforo.cli.options import HtmlOption, JsonOption, UseCaseArgument
from aforo.cli.output import print_line, show_facts, show_json, show_table
from aforo.cli.questions import describe as use_case
from aforo.contracts.table import ColumnContract
from aforo.data.comparison import Difference
from aforo.data.inference import as_yaml
from aforo.data.splits import Dialect
from aforo.settings import Settings
from aforo.use_case import load_use_case
from aforo.workflows.describe import balanced_seeds, split_sql
from aforo.workflows.describe_data import compare_snapshots, infer, snapshot_page
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
    for command in (split, data, snapshot):
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


def data(
    source: Annotated[
        str,
        typer.Argument(metavar="DATA", help="A CSV or Parquet file, or a use case with a source.", show_default=False),
    ],
    as_contract: Annotated[
        bool, typer.Option("--infer", help="Print the columns as they are written in use_case.yaml.")
    ] = False,
) -> None:
    """Show what columns a table has: types, bounds and categories, as its rows have them."""
    columns = infer(source, Settings.from_environment())
    if as_contract:
        print_line(as_yaml(columns).rstrip())
        return
    rows = [(c.name, c.type, c.role[0].value, _seen(c), "sometimes" if c.nullable else "never") for c in columns]
    show_table(source, ("name", "type", "role", "values", "missing"), rows)


def snapshot(
    snapshot: Annotated[str, typer.Argument(help="Id of a snapshot.", show_default=False)],
    against: Annotated[
        str | None, typer.Option(help="Id of a later one: say what has changed.", show_default=False)
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="Column that identifies a row; may be repeated. Default: the whole row.")
    ] = None,
    html: HtmlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a snapshot, or what has changed from it to another one: rows, columns, distributions."""
    platform = Platform.of(Settings.from_environment())
    manifest = platform.snapshots.read_manifest(snapshot)
    if html is not None:
        html.write_text(snapshot_page(manifest, platform), encoding="utf-8")
    if against is None:
        if as_json:
            show_json(manifest)
            return
        show_facts({"snapshot": manifest.snapshot_id, "rows": manifest.rows, "source": manifest.source})
        rows = [(c.name, c.type, c.nulls, c.minimum, c.maximum, c.mean) for c in manifest.columns]
        show_table("Columns", ("name", "type", "missing", "lowest", "highest", "mean"), rows)
        return
    found, sentences = compare_snapshots(snapshot, against, tuple(key or ()), platform)
    if as_json:
        show_json(found)
        return
    for sentence in sentences or ["the rows are the same"]:
        print_line(sentence)
    facts = {"new columns": found.added_columns, "lost columns": found.removed_columns}
    show_facts({name: columns for name, columns in facts.items() if columns})
    show_facts({name: f"{was}, now {now}" for name, (was, now) in found.retyped.items()})
    moved = [difference for difference in found.differences if difference.stands_out]
    if moved:
        show_table(
            "Distributions that moved further than chance moves them",
            ("column", "distance", "chance", "missing before", "after", "what"),
            [(d.column, d.distance, d.chance, *(f"{share:.1%}" for share in d.missing), _what(d)) for d in moved],
        )
    print_line(f"{len(moved)} of {len(found.differences)} columns moved")


def _seen(column: ColumnContract) -> str:
    if column.categories is not None:
        return ", ".join(column.categories)
    return "" if column.minimum is None else f"{column.minimum:g} to {column.maximum:g}"


def _what(difference: Difference) -> str:
    said = [] if difference.where is None else [f"most: {difference.where}"]
    said += [f"new: {', '.join(difference.new_values)}"] if difference.new_values else []
    said += [f"gone: {', '.join(difference.lost_values)}"] if difference.lost_values else []
    return "; ".join(said)
