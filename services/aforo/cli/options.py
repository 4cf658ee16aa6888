"""The options that several commands share. Each can come from the environment, which is how Airflow gives them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

UseCaseArgument = Annotated[str, typer.Argument(metavar="USE_CASE", help="Name of the use case.", show_default=False)]
RunKeyOption = Annotated[
    str,
    typer.Option("--run-key", "-k", envvar="AFORO_RUN_KEY", help="The run this belongs to.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SnapshotOption = Annotated[
    str | None, typer.Option(envvar="AFORO_SNAPSHOT", help="Use this snapshot again instead of reading the sources.")
]
LimitOption = Annotated[
    int | None, typer.Option(min=1, envvar="AFORO_LIMIT", help="Read only the first rows of the source.")
]
SeedOption = Annotated[
    int | None, typer.Option(min=0, envvar="AFORO_SEED", help="Seed; default: the one in use_case.yaml.")
]
AgainOption = Annotated[
    bool, typer.Option("--again", envvar="AFORO_AGAIN", help="Train even if nothing changed since the champion.")
]
PromoteOption = Annotated[
    bool, typer.Option("--promote/--hold", envvar="AFORO_PROMOTE", help="Whether to make it the champion.")
]
DayOption = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day, in UTC.", show_default=False)]
HtmlOption = Annotated[
    Path | None, typer.Option(help="Write a page with a picture of each column here.", show_default=False)
]
