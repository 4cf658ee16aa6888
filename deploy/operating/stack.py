"""Docker Compose, and the folder it runs in."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECRETS = ROOT / "secrets"
ENVIRONMENT = ROOT / ".env"


class OperatingError(Exception):
    """Something an operator has to mend; the text says how."""


def compose(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run ``docker compose`` in the platform's folder, and raise OperatingError if it fails."""
    return run(["docker", "compose", *arguments], **options)


def run(command: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=ROOT, check=True, text=True, **options)  # type: ignore[call-overload]
    except FileNotFoundError as error:
        raise OperatingError(f"{command[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        said = f": {error.stderr.strip()}" if error.stderr else ""
        raise OperatingError(f"`{' '.join(command)}` failed with code {error.returncode}{said}") from error


def answer_of(*arguments: str) -> str:
    """Return what ``docker compose`` prints."""
    return compose(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


def containers() -> list[dict[str, object]]:
    """Return what Compose knows of each container, ended one-shots included."""
    lines = answer_of("ps", "--all", "--format", "json").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def written() -> dict[str, str]:
    """Return .env."""
    values: dict[str, str] = {}
    if ENVIRONMENT.exists():
        for line in ENVIRONMENT.read_text(encoding="utf-8").splitlines():
            name, separator, value = line.partition("=")
            if separator and not name.lstrip().startswith("#"):
                values[name.strip()] = value.strip()
    return values


def environment() -> dict[str, str]:
    """Return .env, with what the shell sets taking its place, as Compose reads them."""
    return written() | {name: value for name, value in os.environ.items() if name.startswith(("AFORO_", "COMPOSE_"))}
