"""Who is champion: promoted by a run or by a person, taken back, and looked up."""

from __future__ import annotations

from typing import Annotated

import typer

from aforo.cli.options import JsonOption, PromoteOption, RunKeyOption, UseCaseArgument
from aforo.cli.output import print_line, show_json, show_manifest, show_table
from aforo.cli.patience import patiently
from aforo.contracts.run import parse_run_key
from aforo.errors import LedgerError, UseCaseError
from aforo.settings import Settings
from aforo.use_case import load_use_case
from aforo.workflows import champions
from aforo.workflows import promote as promote_step
from aforo.workflows import question as question_of
from aforo.workflows.wiring import Platform

ModelArgument = Annotated[str, typer.Argument(metavar="USE_CASE", help="Name of the model.", show_default=False)]
ReasonOption = Annotated[
    str | None,
    typer.Option("--reason", "-m", envvar="AFORO_REASON", help="Why; it stands in the ledger.", show_default=False),
]


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to ``app``, under a heading of their own in its help."""
    for command in (question, promote, rollback, history):
        app.command(rich_help_panel=panel)(command)


def question(use_case: UseCaseArgument, run_key: RunKeyOption, move: PromoteOption = True) -> None:
    """Print what the gate asks a person about a run's version, as one line of JSON. Exits 99 if it asks nothing."""
    settings = Settings.from_environment()
    at = load_use_case(settings.use_cases, use_case), parse_run_key(run_key), Platform.of(settings)
    show_json(patiently(lambda: question_of.run(*at, move=move), settings.patience_s))


def promote(
    use_case: ModelArgument,
    run_key: Annotated[
        str | None,
        typer.Option(
            "--run-key", "-k", envvar="AFORO_RUN_KEY", help="The run whose version it is.", show_default=False
        ),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="By hand: a version by number or alias.", show_default=False)
    ] = None,
    reason: ReasonOption = None,
    approved_by: Annotated[
        str | None,
        typer.Option(
            envvar="AFORO_APPROVED_BY", help="Who answered the gate's question about the run.", show_default=False
        ),
    ] = None,
    move: PromoteOption = True,
    as_json: JsonOption = False,
) -> None:
    """Make a run's candidate the champion, or any version that the gate accepted. Exits 99 if it refused or asks."""
    settings = Settings.from_environment()
    platform = Platform.of(settings)
    if version is not None:
        change = champions.promote(use_case, version, platform, reason=_stated(reason))
        _show(change, as_json=as_json)
    elif run_key is not None:
        at = load_use_case(settings.use_cases, use_case), parse_run_key(run_key), platform
        approval = promote_step.Approval(by=approved_by, reason=_stated(reason)) if approved_by else None
        manifest = patiently(lambda: promote_step.run(*at, move=move, approval=approval), settings.patience_s)
        show_manifest(manifest, as_json=as_json)
    else:
        raise UseCaseError(
            f"{use_case}: promote what?", hint="name a run with --run-key, or a version with --version and --reason"
        )


def rollback(
    use_case: ModelArgument,
    to: Annotated[
        str | None, typer.Option(help="A former champion; default: the one before.", show_default=False)
    ] = None,
    reason: ReasonOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a former champion the champion again. Servers follow within seconds."""
    platform = Platform.of(Settings.from_environment())
    _show(champions.rollback(use_case, platform, to=to, reason=_stated(reason)), as_json=as_json)


def history(use_case: ModelArgument, as_json: JsonOption = False) -> None:
    """Show who made which version the champion, and why. Exits 1 where ledger and registry do not fit."""
    past = champions.history(use_case, Platform.of(Settings.from_environment()))
    if as_json:
        show_json(past)
    else:
        show_table(
            f"Ledger of {use_case}",
            ("at", "action", "version", "previous", "actor", "reason"),
            [(r.at, r.action, r.version, r.previous_version or "-", r.actor, r.reason) for r in past.rows],
        )
    if past.discrepancies:
        raise LedgerError("\n".join(past.discrepancies), hint="the next promotion or rollback puts the alias back")


def _stated(reason: str | None) -> str:
    if not (reason or "").strip():
        raise UseCaseError("a person's decision needs a reason, for whoever reads the ledger", hint="add --reason TEXT")
    return str(reason).strip()


def _show(change: champions.ChampionChange, *, as_json: bool) -> None:
    if as_json:
        show_json(change)
    elif change.changed:
        print_line(
            f"{change.use_case}: version {change.version} is champion, after {change.previous_version or 'none'}"
        )
    else:
        print_line(f"{change.use_case}: version {change.version} is champion already")
