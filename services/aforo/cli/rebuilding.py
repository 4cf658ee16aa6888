"""``reproduce``: a registered version made again."""

from __future__ import annotations

from typing import Annotated

import typer

from aforo.cli.options import JsonOption
from aforo.cli.output import print_line, show_json
from aforo.contracts.catalog import read_headers
from aforo.contracts.certificate import Certificate, Link
from aforo.contracts.run import EvaluateManifest, RunKey, parse_run_key
from aforo.errors import NotReproduced, StepNotReady, UseCaseError
from aforo.settings import Settings
from aforo.use_case import load_use_case
from aforo.workflows import reproduce as reproduce_step
from aforo.workflows.wiring import Platform


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to ``app``, under a heading of their own in its help."""
    app.command(rich_help_panel=panel)(reproduce)


def reproduce(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN_KEY|USE_CASE@VERSION",
            help="A run key, or a version by number or alias: flight_delay@champion.",
            show_default=False,
        ),
    ],
    tolerance: Annotated[
        float,
        typer.Option(min=0, help="Largest difference of a prediction that still counts, on another kind of processor."),
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Make a version again from its sources, snapshot, code and seed, and compare. Exits 1 where it differs."""
    settings = Settings.from_environment()
    platform = Platform.of(settings)
    name, run_key = _meant(what, platform)
    certificate = reproduce_step.run(load_use_case(settings.use_cases, name), run_key, platform, tolerance=tolerance)
    if as_json:
        show_json(certificate)
    else:
        _show(certificate)
    if certificate.broken:
        raise NotReproduced(
            f"{name} version {certificate.model_version} was not reproduced: "
            + ", ".join(link.name for link in certificate.broken),
            hint="the first broken link says why; those after it may follow from it",
        )


def _meant(what: str, platform: Platform) -> tuple[str, RunKey]:
    """Return the use case and run key that were asked for."""
    name, sign, version = what.partition("@")
    if sign:
        return name, RunKey(platform.versions.resolve(name, version).tags["run_key"])
    run_key = parse_run_key(what)
    headers, _ = read_headers(platform.settings.use_cases)
    found = [h.name for h in headers if platform.runs.find(h.name, run_key, EvaluateManifest) is not None]
    if not found:
        raise StepNotReady(
            f"no use case has a run {what!r} that registered a version",
            hint="name a version instead, for example flight_delay@champion",
        )
    if len(found) > 1:
        raise UseCaseError(
            f"{', '.join(found)} each have a run {what!r}", hint=f"say which, for example {found[0]}@champion"
        )
    return found[0], run_key


def _show(certificate: Certificate) -> None:
    print_line(
        f"{certificate.use_case} version {certificate.model_version}, run {certificate.run_key} "
        f"({certificate.seconds:.1f} s)"
    )
    width = max(len(link.name) for link in certificate.links)
    for link in certificate.links:
        print_line(f"  {link.name:<{width}}  {link.status:<7}  {_values(link)}")
        for difference in link.differences:
            print_line(f"  {'':<{width}}    {difference}")
    print_line("not reproduced" if certificate.broken else "reproduced")


def _values(link: Link) -> str:
    return link.found[:16] if link.recorded == link.found else f"{link.recorded[:16]} -> {link.found[:16]}"
