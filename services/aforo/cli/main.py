"""``aforo``: every step by hand, and the questions a person asks in between.

Results go to stdout, as text or (``--json``) as JSON; the log and the progress bars go to stderr.
The exit code is that of the error's class (see ``aforo.errors``), or 128 plus the number of the signal that ended it.
"""

from __future__ import annotations

import sys

import typer

from aforo import logs
from aforo.cli import (
    champions,
    describing,
    predicting,
    prediction_log,
    prune,
    questions,
    rebuilding,
    replaying,
    serving,
    skewing,
    steps,
)
from aforo.errors import AforoError
from aforo.settings import Settings

app = typer.Typer(
    name="aforo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, calibrate, judge, serve and rebuild models. Begin with `aforo check flight_delay` and `aforo run`.",
)
PANELS = (
    (steps, "Steps of a run"),
    (champions, "Champions"),
    (rebuilding, "Champions"),
    (questions, "Use cases"),
    (describing, "Use cases"),
    (predicting, "Predictions"),
    (serving, "Predictions"),
    (prediction_log, "Predictions"),
    (replaying, "Predictions"),
    (skewing, "Predictions"),
    (prune, "Housekeeping"),
)
for module, panel in PANELS:
    module.add_to(app, panel)


def run() -> None:
    """Run what the arguments ask for, and turn a fault into its message and exit code."""
    try:
        logs.configure(Settings.from_environment().log_format)
        app()
    except AforoError as error:
        sys.stderr.write(f"aforo: {error}\n")
        sys.exit(error.exit_code)
