"""What the service says about itself: the models it serves, and whether it is ready."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel

from aforo.contracts.prediction import Lineage, PredictionContract
from aforo.contracts.table import ColumnContract
from aforo.registry.bundle import REPORT
from prediction_api.local_copy import CopyStatus
from prediction_api.served_model import ServedModel
from prediction_api.served_models import ServedModels
from prediction_api.served_version import ServedVersion


class WorkerDescription(BaseModel):
    """What one worker process answers with: alias to version."""

    worker: int
    pid: int
    live: dict[str, str]


class ModelDescription(BaseModel):
    """One model as it is served.

    Attributes
    ----------
    aliases
        Alias to version, as the registry has it.
    live
        Alias to the version that answers for it here.
    loaded, available
        Versions in memory, and versions in the local copy.
    refused
        Version to the reason why it is not served.
    """

    name: str
    aliases: dict[str, str]
    live: dict[str, str]
    loaded: list[str]
    available: list[str]
    refused: dict[str, str]
    workers: list[WorkerDescription] = []
    champion: VersionDescription | None = None


class VersionDescription(BaseModel):
    """One version: what it takes and gives, what it was made from, and how it was judged.

    Attributes
    ----------
    request_columns
        What a row of a request may hold: the contract's inputs, then the times and keys by which windows are filled in.
    explainable
        Whether its answers can be explained.
    """

    model: str
    version: str
    aliases: list[str]
    candidate: str
    digest: str
    contract: PredictionContract
    request_columns: tuple[ColumnContract, ...]
    lineage: Lineage
    metrics: dict[str, float]
    gate_report: dict[str, Any] | None
    explainable: bool


class ModelList(BaseModel):
    models: list[ModelDescription]
    local_copy: CopyStatus


class Readiness(BaseModel):
    """Whether the service can answer.

    Attributes
    ----------
    reasons
        Model to why it is not ready.
    warnings
        What is wrong although the service answers, for example a new champion that was refused.
    """

    ready: bool
    reasons: dict[str, str]
    warnings: list[str]
    local_copy: CopyStatus


def describe_model(models: ServedModels, model: ServedModel) -> ModelDescription:
    """Return the model without its workers and champion."""
    return ModelDescription(
        name=model.name,
        aliases=model.aliases,
        live={alias: served.version for alias, served in model.live.items()},
        loaded=sorted(model.loaded, key=_number),
        available=sorted(models.local_copy.versions(model.name), key=_number),
        refused={version: refusal.reason for version, refusal in model.refused.items()},
    )


def describe_version(served: ServedVersion, model: ServedModel) -> VersionDescription:
    bundle = served.bundle
    report = bundle.attachment(REPORT)
    return VersionDescription(
        model=served.model,
        version=served.version,
        aliases=sorted(alias for alias, live in model.live.items() if live is served),
        candidate=bundle.manifest.candidate,
        digest=bundle.digest,
        contract=served.contract,
        request_columns=served.contract.request_columns,
        lineage=bundle.manifest.lineage,
        metrics=bundle.manifest.metrics,
        gate_report=None if report is None else orjson.loads(report),
        explainable=served.explainer is not None,
    )


def describe_readiness(models: ServedModels) -> Readiness:
    reasons = models.unready
    return Readiness(
        ready=not reasons,
        reasons=reasons,
        warnings=models.warnings,
        local_copy=models.local_copy.status(),
    )


def _number(version: str) -> int:
    return int(version)
