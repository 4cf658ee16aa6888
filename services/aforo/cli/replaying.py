"""``replay`` and ``parity``: recorded requests through a registered version, and through the code that made it."""

from __future__ import annotations

from typing import Annotated

import typer

from aforo.cli.options import DayOption, JsonOption, UseCaseArgument
from aforo.cli.output import print_line, show_facts, show_json, show_table
from aforo.errors import NotReproduced
from aforo.settings import Settings
from aforo.use_case import load_use_case
from aforo.workflows import parity as parity_of
from aforo.workflows.replay import replay as replay_version
from aforo.workflows.wiring import Platform


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to ``app``, under a heading of their own in its help."""
    for command in (replay, parity):
        app.command(rich_help_panel=panel)(command)


def replay(
    use_case: UseCaseArgument,
    version: Annotated[str, typer.Option(help="Number or alias.")] = "champion",
    since: DayOption = None,
    until: DayOption = None,
    recorded_by: Annotated[
        str | None, typer.Option(help="Only what this version answered.", show_default=False)
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="How many of the most different rows to list.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Send recorded requests through a version, and say what it answers differently."""
    report = replay_version(
        use_case,
        version,
        Platform.of(Settings.from_environment()),
        since=since.date() if since else None,
        until=until.date() if until else None,
        recorded_by=recorded_by,
        show=show,
    )
    if as_json:
        show_json(report)
        return
    print_line(f"{report.use_case} version {report.version}, on recorded requests")
    show_facts(
        {
            "rows": report.rows,
            "identical to the bit": report.identical,
            "changed": report.changed,
            "refused": f"{report.refused:,}" + (f", for example: {report.refusal}" if report.refusal else ""),
            "mean difference": report.mean_difference,
            "largest difference": report.largest_difference,
        }
    )
    if report.largest:
        columns = ("request", "row", "recorded by", "recorded", "replayed", "difference")
        rows = [tuple(each.model_dump().values()) for each in report.largest]
        show_table("Most different", columns, [tuple("-" if v is None else v for v in row) for row in rows])


def parity(
    use_case: UseCaseArgument,
    version: Annotated[str, typer.Option(help="Number or alias.")] = "champion",
    since: DayOption = None,
    until: DayOption = None,
    rows: Annotated[int, typer.Option(min=1, max=1_000_000, help="The last so many that it answered.")] = 10_000,
    as_json: JsonOption = False,
) -> None:
    """Hold what a version answered against batch and training code on the same rows. Exits 1 where they differ."""
    settings = Settings.from_environment()
    report = parity_of.run(
        load_use_case(settings.use_cases, use_case),
        version,
        Platform.of(settings),
        rows=rows,
        since=since.date() if since else None,
        until=until.date() if until else None,
    )
    if as_json:
        show_json(report)
    else:
        print_line(f"{report.use_case} version {report.version}, the last {report.rows:,} recorded rows")
        columns = ("code", "identical to the bit", "largest difference", "where")
        sides = {"batch": report.batch, "training": report.training}
        show_table(
            "Beside what was answered",
            columns,
            [(name, each.identical, each.largest_difference, each.worst or "-") for name, each in sides.items()],
        )
    if not report.holds:
        raise NotReproduced(
            f"{report.use_case} version {report.version}: batch or training code answers otherwise than the service; "
            f"batch has to be identical, training within {report.tolerance:g}",
            hint="aforo replay shows the rows that differ most",
        )
