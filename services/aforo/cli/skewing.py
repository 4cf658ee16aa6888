"""``aforo skew``: what a version is asked beside what it learnt from."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated

import typer
from pydantic import ValidationError

from aforo.cli.options import DayOption, HtmlOption, JsonOption, UseCaseArgument
from aforo.cli.output import print_line, show_json, show_table
from aforo.data.skew import SkewSpec
from aforo.errors import SkewFound
from aforo.settings import Settings
from aforo.use_case import UseCase, load_use_case
from aforo.workflows import skew as skew_of
from aforo.workflows.wiring import Platform

_BOUND = "[COLUMN=]SHARE"


def add_to(app: typer.Typer, panel: str) -> None:
    """Add this command to ``app``, under a heading of its own in its help."""
    app.command(rich_help_panel=panel)(skew)


def skew(
    use_case: UseCaseArgument,
    version: Annotated[str, typer.Option(help="Number or alias.")] = "champion",
    since: DayOption = None,
    until: DayOption = None,
    max_distance: Annotated[
        list[str] | None, typer.Option(metavar=_BOUND, help="How far distributions may be apart, 0-1.")
    ] = None,
    max_missing: Annotated[
        list[str] | None, typer.Option(metavar=_BOUND, help="By how much what is missing may differ, 0-1.")
    ] = None,
    max_unseen: Annotated[
        list[str] | None, typer.Option(metavar=_BOUND, help="Which share of values may be new, 0-1.")
    ] = None,
    html: HtmlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold the recorded rows that a version was asked about against those it learnt from. Exits 1 where they differ."""
    settings = Settings.from_environment()
    described = load_use_case(settings.use_cases, use_case)
    given = {"max_distance": max_distance, "max_missing": max_missing, "max_unseen": max_unseen}
    bounds = with_bounds(described, given)
    report, page = skew_of.run(
        described,
        version,
        Platform.of(settings),
        bounds=bounds,
        since=since.date() if since else None,
        until=until.date() if until else None,
    )
    if html is not None:
        html.write_text(page, encoding="utf-8")
    if as_json:
        show_json(report)
    else:
        _show(report)
    if not report.holds:
        names = ", ".join(column.column for column in report.found.skewed)
        raise SkewFound(
            f"{report.use_case} version {report.version} is asked about other rows than it learnt from: {names}",
            hint="look for a unit, a source or a code that changed; allow what goes with the season under `skew`",
        )


def _show(report: skew_of.SkewReport) -> None:
    found = report.found
    print_line(
        f"{report.use_case} version {report.version}: {found.asked_rows:,} recorded rows beside the "
        f"{found.trained_rows:,} of snapshot {report.snapshot_id[:12]}"
    )
    columns = ("column", "distance", "missing, was", "is", "not in training", "")
    rows = [
        (
            each.column,
            each.difference.distance,
            *(f"{share:.1%}" for share in each.difference.missing),
            "-" if each.unseen is None else f"{each.unseen:.1%}",
            "; ".join(each.faults) or "-",
        )
        for each in found.columns
    ]
    show_table("What is asked beside what was learnt", columns, rows)
    print_line(f"{len(found.skewed)} of {len(found.columns)} columns are skewed")


def with_bounds(use_case: UseCase, given: dict[str, list[str] | None]) -> SkewSpec:
    """Return the use case's bounds, with those of the command line in their place."""
    document = use_case.skew.model_dump()
    columns: dict[str, dict[str, object]] = defaultdict(dict, document.pop("columns"))
    for bound, texts in given.items():
        for text in texts or ():
            column, sign, share = text.rpartition("=")
            (columns[column] if sign else document)[bound] = share
    try:
        spec = SkewSpec.model_validate({**document, "columns": columns})
        spec.refuse_unknown([column.name for column in use_case.inputs])
    except ValidationError as error:
        mistake = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in mistake["loc"])
        raise typer.BadParameter(f"{place}: {mistake['msg']}; expected a share from 0 to 1") from error
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return spec
