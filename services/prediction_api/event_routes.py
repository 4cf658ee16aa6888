"""``POST /events``: what has become known, for the models whose inputs are over windows of it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from prediction_api.bodies import ClientGoneError, decompress, read_body, refuse_other_media
from prediction_api.events import Events
from prediction_api.options import Limits
from prediction_api.problems import Problem

_SCHEMA = {
    "type": "object",
    "properties": {
        "model": {"type": "string", "description": "Whose contract the events keep."},
        "stream": {"type": "string", "description": "Which of its event streams they belong to."},
        "events": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "description": "`<model>.<stream>.Event` among the schemas."},
        },
    },
    "required": ["model", "stream", "events"],
    "additionalProperties": False,
}


class Taken(BaseModel):
    """What became of the events: each is counted once.

    Attributes
    ----------
    accepted, out_of_order, late
        They count from now on: in order; older than the newest one, in its pane; older than that pane, so that
        questions may have been answered without them.
    duplicate, contradiction, expired
        They change nothing: known already; known already with other values, of which the first stay; older than what
        is kept.
    """

    model: str
    stream: str
    accepted: int
    out_of_order: int
    late: int
    duplicate: int
    contradiction: int
    expired: int


def event_routes(events: Events, limits: Limits, keyed: Any) -> APIRouter:
    """Return the route.

    Parameters
    ----------
    keyed
        The dependency that admits keys with the scope ``events`` alone.
    """
    router = APIRouter(tags=["events"], dependencies=[keyed])
    body = {"requestBody": {"content": {"application/json": {"schema": _SCHEMA}}, "required": True}}

    @router.post("/events", summary="Tell what has become known", openapi_extra=body)
    async def take(request: Request) -> Taken:
        headers = dict(request.scope["headers"])
        refuse_other_media(headers)
        try:
            content = await read_body(headers, request.receive, limits.max_body_bytes)
        except ClientGoneError as error:
            raise Problem("request_timeout", "the body did not arrive; nothing was taken") from error
        encoding = headers.get(b"content-encoding")
        if encoding is not None and encoding != b"identity":
            content = decompress(content, encoding, limits.max_body_bytes)
        return Taken.model_validate(await events.take(content))

    return router
