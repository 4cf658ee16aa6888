"""``aforo``: every step by hand, and the questions a person asks in between.

Results go to stdout, as text or (``--json``) as JSON; the log and the progress bars go to stderr.
The exit code is that of the error's class (see ``aforo.errors``).
"""

from __future__ import annotations

import sys

import typer

from aforo import logs
from aforo.cli import champions, predicting, prune, questions, rebuilding, serving, steps
from aforo.errors import AforoError
from aforo.settings import Settings

INTERRUPTED = 130

app = typer.Typer(
    name="aforo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, calibrate, judge, serve and rebuild models. Each command takes the name of a use case.",
)
for module in (steps, champions, questions, predicting, rebuilding, serving, prune):
    module.add_to(app)


def main() -> None:
    """Run the command line, and turn a fault into its message and exit code."""
    try:
        logs.configure(Settings.from_environment().log_format)
        app()
    except AforoError as error:
        sys.stderr.write(f"aforo: {error}\n")
        sys.exit(error.exit_code)
    except SystemExit as end:
        # Typer turns Ctrl-C into this exit code, and says nothing.
        if end.code == INTERRUPTED:
            sys.stderr.write("aforo: interrupted; what was finished stands, and the same command goes on from there\n")
        raise
