"""The page at ``/``: what is served and how it does, and a form to try a row.

One document, one style sheet and one script, all from here; what they show comes from ``/overview`` and ``/models``,
with the visitor's own key where keys are on. Nothing is loaded from anywhere else, and the headers forbid it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from prediction_api.challenging import Challenging
from prediction_api.served_models import CHAMPION, ServedModels
from prediction_api.traffic import ModelTraffic, Traffic
from prediction_api.trial_routes import TrialState, state_of

_FOLDER = Path(__file__).parent
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class LiveVersion(BaseModel):
    """What answers for an alias, since when (seconds since the epoch)."""

    alias: str
    version: str
    since: float


class ModelOverview(BaseModel):
    """One model on the page."""

    name: str
    live: list[LiveVersion]
    traffic: ModelTraffic
    trial: TrialState


class Overview(BaseModel):
    """All that the page shows at once, and why the service is not ready, if it is not."""

    models: list[ModelOverview]
    unready: dict[str, str]
    warnings: list[str]


def page_routes(
    models: ServedModels, challenging: Challenging, traffic: Traffic, keyed: Any, publish: Callable[[], None]
) -> APIRouter:
    """Return the routes.

    Parameters
    ----------
    keyed
        The dependency that admits keys with the scope ``predict``.
    publish
        Tells the other workers, and the sums of the last hour, what this one has counted up to now.
    """
    router = APIRouter()

    # The second for a proxy that has a start page of its own.
    @router.get("/", include_in_schema=False)
    @router.get("/page", include_in_schema=False)
    async def page() -> Response:
        return _file("page.html", "text/html; charset=utf-8")

    @router.get("/page/page.css", include_in_schema=False)
    async def style() -> Response:
        return _file("page.css", "text/css; charset=utf-8")

    @router.get("/page/page.js", include_in_schema=False)
    async def script() -> Response:
        return _file("page.js", "text/javascript; charset=utf-8")

    @router.get("/overview", tags=["models"], summary="What is served, and how it does", dependencies=[keyed])
    async def overview() -> Overview:
        publish()
        shown = [
            ModelOverview(
                name=name,
                live=[
                    LiveVersion(alias=alias, version=served.version, since=served.loaded_at)
                    for alias, served in sorted(model.live.items(), key=lambda item: (item[0] != CHAMPION, item[0]))
                ],
                traffic=traffic.last_hour(name),
                trial=state_of(model, challenging.files.read(name)),
            )
            for name, model in sorted(models.models.items())
        ]
        return Overview(models=shown, unready=models.unready, warnings=models.warnings)

    return router


def _file(name: str, media_type: str) -> Response:
    return Response((_FOLDER / name).read_bytes(), media_type=media_type, headers=_HEADERS)
