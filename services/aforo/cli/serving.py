"""The prediction API, started from the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to ``app``, under a heading of their own in its help."""
    app.command(rich_help_panel=panel)(serve)


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; API keys are required on any but this machine's.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port and the models' memory.")] = 1,
    model: Annotated[list[str] | None, typer.Option(help="Serve only this model; may be repeated.")] = None,
    warm: Annotated[list[str] | None, typer.Option(help="A version that always stays loaded: name@3.")] = None,
    api_keys: Annotated[Path | None, typer.Option(help="File with the hashed API keys.")] = None,
) -> None:
    """Serve the champions, and any other version by number, until Ctrl-C."""
    os.environ |= {
        "AFORO_SERVE_HOST": host,
        "AFORO_SERVE_PORT": str(port),
        "AFORO_SERVE_WORKERS": str(workers),
        "AFORO_SERVE_MODELS": ",".join(model or ()),
        "AFORO_SERVE_WARM": ",".join(warm or ()),
    }
    if api_keys is not None:
        os.environ["AFORO_API_KEYS_FILE"] = str(api_keys)
    sys.stdout.flush()
    # A process of its own: the service forks its workers, and must not do so beside the threads of a data engine.
    os.execv(sys.executable, [sys.executable, "-m", "prediction_api"])  # noqa: S606
