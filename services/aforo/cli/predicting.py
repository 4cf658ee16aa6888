"""``predict``: a table through a registered version."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from aforo.cli.options import JsonOption
from aforo.cli.output import print_line, show_facts, show_json
from aforo.contracts.explanation import ExplanationMethod
from aforo.settings import Settings
from aforo.workflows import bulk
from aforo.workflows.wiring import Platform


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to ``app``, under a heading of their own in its help."""
    app.command(rich_help_panel=panel)(predict)


def predict(
    model: Annotated[str, typer.Argument(metavar="USE_CASE", help="Name of the model.", show_default=False)],
    source: Annotated[
        str,
        typer.Option(
            "--input",
            "-i",
            envvar="AFORO_INPUT",
            help="Path, glob or s3:// URL of .parquet or .csv files.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            envvar="AFORO_OUTPUT",
            help="Folder or s3:// prefix for the Parquet parts.",
            show_default=False,
        ),
    ],
    version: Annotated[str, typer.Option(envvar="AFORO_VERSION", help="Number or alias.")] = "champion",
    events: Annotated[
        list[str] | None,
        typer.Option(
            envvar="AFORO_EVENTS",
            help="Events that the model's windows are computed from: path, glob or s3:// URL; STREAM=PATH if it has "
            "several streams.",
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(envvar="AFORO_KEEP", help="Column of the input to copy to the output; may be repeated."),
    ] = None,
    explain: Annotated[
        ExplanationMethod | None, typer.Option(help="Add what each column has to do with the answer.")
    ] = None,
    max_bad_rows: Annotated[
        int,
        typer.Option(
            min=0,
            envvar="AFORO_MAX_BAD_ROWS",
            help="Rows that may break the contract; they are kept without an answer.",
        ),
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Predict files of any size. A job that broke off goes on where it stopped."""
    started = time.monotonic()
    platform = Platform.of(Settings.from_environment())
    manifest = bulk.predict(
        model,
        version,
        source,
        output,
        platform,
        events=events or (),
        keep=keep or (),
        explain=explain,
        max_bad_rows=max_bad_rows,
    )
    if as_json:
        show_json(manifest)
        return
    print_line(f"{model} version {manifest.job.version} ({time.monotonic() - started:.1f} s)")
    show_facts(
        {
            "rows": manifest.rows,
            "without answer": manifest.without_answer,
            "parts": len(manifest.parts),
            "output": output,
        }
    )
