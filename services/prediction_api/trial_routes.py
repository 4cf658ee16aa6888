"""``/models/{name}/trial``: begin, look at and end a challenger's trial."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ValidationError

from prediction_api.bodies import read_body
from prediction_api.challenging import Challenging, why_not
from prediction_api.problems import Problem
from prediction_api.served_model import ServedModel
from prediction_api.served_models import CHAMPION, ServedModels
from prediction_api.trials import Stop, Trial, TrialFile

_MOST_BYTES = 16_384


class TrialState(BaseModel):
    """A trial as it stands.

    Attributes
    ----------
    state
        ``none``, ``running``, ``waiting`` (with the reason in ``detail``) or ``stopped``.
    since
        In seconds since the epoch.
    """

    model: str
    state: str
    detail: str | None = None
    trial: Trial | None = None
    since: float | None = None
    stopped: Stop | None = None


def trial_routes(models: ServedModels, challenging: Challenging, admin: Any) -> APIRouter:
    """Return the routes.

    Parameters
    ----------
    admin
        The dependency that admits keys with the scope ``admin`` alone.
    """
    router = APIRouter(prefix="/models/{name}/trial", tags=["trials"], dependencies=[admin])
    body = {"requestBody": {"content": {"application/json": {"schema": Trial.model_json_schema()}}, "required": True}}

    async def model_named(name: str) -> ServedModel:
        model = models.models.get(name)
        if model is None:
            await models.obtain(name, None, None)  # raises
            raise AssertionError(name)
        return model

    @router.get("", summary="The challenger's trial as it stands")
    async def look(name: str) -> TrialState:
        return state_of(await model_named(name), challenging.files.read(name))

    @router.put("", summary="Begin a trial, in the place of any other", openapi_extra=body)
    async def begin(name: str, request: Request) -> TrialState:
        model = await model_named(name)
        content = await read_body(dict(request.scope["headers"]), request.receive, _MOST_BYTES)
        try:
            trial = Trial.model_validate_json(content)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()[:5])
            raise Problem("invalid_trial", f"{faults}; nothing was changed") from error
        if trial.alias not in model.aliases:
            known = ", ".join(sorted(model.aliases)) or "none"
            raise Problem("model_not_found", f"model {name} has no alias {trial.alias!r}; its aliases: {known}")
        reason = why_not(model.live.get(CHAMPION), model.live.get(trial.alias), trial.alias)
        if reason is not None:
            raise Problem("invalid_trial", f"{trial.alias} of {name} cannot be tried: {reason}; nothing was changed")
        return state_of(model, challenging.files.begin(name, trial))

    @router.delete("", summary="End the trial")
    async def end(name: str) -> TrialState:
        model = await model_named(name)
        challenging.files.end(name)
        return state_of(model, None)

    return router


def state_of(model: ServedModel, file: TrialFile | None) -> TrialState:
    """Return how a trial stands, from its file and the versions that answer."""
    if file is None:
        return TrialState(model=model.name, state="none")
    detail = why_not(model.live.get(CHAMPION), model.live.get(file.trial.alias), file.trial.alias)
    state = "stopped" if file.stopped else "waiting" if detail else "running"
    return TrialState(
        model=model.name,
        state=state,
        detail=file.stopped.reason if file.stopped else detail,
        trial=file.trial,
        since=file.since,
        stopped=file.stopped,
    )
