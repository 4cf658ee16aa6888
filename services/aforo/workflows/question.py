"""What the gate asks a person about a run's version, for Airflow's form."""

from __future__ import annotations

from aforo.contracts.run import EvaluateManifest, RunKey
from aforo.contracts.specification import Specification
from aforo.errors import NothingAsked
from aforo.use_case import UseCase
from aforo.workflows.wiring import Platform


class Question(Specification):
    """What is to be decided.

    Attributes
    ----------
    body
        What speaks against the version, and where its report is; Markdown.
    """

    model_version: str
    body: str


def run(use_case: UseCase, run_key: RunKey, platform: Platform, *, move: bool = True) -> Question:
    """Return the question.

    Parameters
    ----------
    move
        ``False`` where the run is not to promote its version, so that there is nothing to decide.

    Raises
    ------
    NothingAsked
        The gate has decided by itself.
    """
    evaluated = platform.runs.read(use_case.name, run_key, EvaluateManifest)
    if not move or evaluated.verdict != "ask":
        raise NothingAsked(f"{use_case.name}: nothing is asked; the verdict is {evaluated.verdict}, and promote={move}")
    link = f"[in MLflow]({evaluated.mlflow_url})" if evaluated.mlflow_url else f"`{evaluated.report}`"
    against = "\n".join(f"- {reason}" for reason in evaluated.reasons)
    known = f"Champion is version {evaluated.champion}." if evaluated.champion else "There is no champion yet."
    what = f"Version {evaluated.model_version} fails rules that are left to a person:"
    return Question(model_version=evaluated.model_version, body=f"{what}\n\n{against}\n\n{known} Its report is {link}.")
