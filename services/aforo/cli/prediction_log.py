"""The prediction log by hand: ship what waits, and forget one entity."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from aforo.cli.options import UseCaseArgument
from aforo.cli.output import print_line
from aforo.errors import SettingsError
from aforo.monitoring.prediction_log import PredictionLog
from aforo.monitoring.privacy import ENTITY, hashed, log_key
from aforo.monitoring.shipping import Shipper
from aforo.monitoring.spool import SpoolOptions
from aforo.settings import Settings
from aforo.storage import open_store
from aforo.workflows.wiring import Platform


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to ``app``, under a heading of their own in its help."""
    app.command("ship-log", rich_help_panel=panel)(ship_log)
    app.command(rich_help_panel=panel)(forget)


def ship_log() -> None:
    """Ship what is complete in the prediction log's spool, once; `aforo serve` does so all the time."""
    settings = Settings.from_environment()
    options = SpoolOptions.from_environment(os.environ, settings.home)
    if options is None:
        raise SettingsError("AFORO_SERVE_LOG is off, so there is nothing to ship", hint="set it to on")
    shipped = Shipper(options.folder, PredictionLog(open_store(settings))).ship()
    print_line(f"{shipped} segments shipped from {options.folder}")


def forget(
    use_case: UseCaseArgument,
    entity: Annotated[str, typer.Argument(help="Its key, as it was given in X-Entity-Key.", show_default=False)],
) -> None:
    """Remove one entity's records from the prediction log, also those that are still to be shipped."""
    platform = Platform.of(Settings.from_environment())
    digest = hashed(entity, ENTITY, log_key(platform.signing_key))
    removed = PredictionLog(platform.store).forget(use_case, digest)
    print_line(
        f"{use_case}: {removed} records of the entity removed; what the spool holds of it goes when it is shipped"
    )
