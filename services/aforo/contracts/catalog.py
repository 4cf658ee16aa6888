"""The headers of the use cases: all that the scheduler reads, so that one broken file never hides the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError

from aforo.contracts.specification import Specification

UseCaseName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Header(Specification):
    """The top of a ``use_case.yaml``.

    Attributes
    ----------
    schedule
        Cron expression or Airflow preset; ``None`` runs on demand only.
    retries
        How often Airflow repeats a failed task.
    asks
        Whether the gate may leave its verdict to a person (``gate.ask``).
    """

    name: UseCaseName
    title: str
    owner: str
    schedule: str | None = None
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    seed: int = 0
    asks: bool = False


class BrokenHeader(Specification):
    """A use case whose header cannot be read, with the reason in one sentence."""

    folder: str
    reason: str


def read_headers(use_cases: Path) -> tuple[list[Header], list[BrokenHeader]]:
    """Read the header of each use case under ``use_cases``, in order of name.

    A header that cannot be read is returned among the broken ones; it never hides the others.
    """
    headers, broken = [], []
    for path in sorted(use_cases.glob("*/use_case.yaml")):
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
            if not isinstance(document, dict):
                raise ValueError("expected a mapping at the top")
            header = Header.model_validate({k: v for k, v in document.items() if k in Header.model_fields})
            if header.name != path.parent.name:
                raise ValueError(f"name is {header.name!r} in a folder called {path.parent.name!r}")
            gate = document.get("gate")
            headers.append(header.model_copy(update={"asks": isinstance(gate, dict) and bool(gate.get("ask"))}))
        except (OSError, ValueError, yaml.YAMLError, ValidationError) as error:
            broken.append(BrokenHeader(folder=path.parent.name, reason=" ".join(str(error).split())))
    return headers, broken
