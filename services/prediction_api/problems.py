"""Every refusal of the service: one shape (RFC 9457, ``application/problem+json``), one code each.

::

    malformed_http          400   the request is not HTTP
    malformed_json          400   the body is not JSON
    malformed_encoding      400   the body is not what Content-Encoding says
    unauthenticated         401   no key, or one that is not known
    forbidden               403   the key may not do this
    not_found               404   no such route
    model_not_found         404   no such model, version or alias
    stream_not_found        404   no served version of the model has such an event stream
    method_not_allowed      405
    not_acceptable          406   the answer is JSON, and the client takes none
    request_timeout         408   the body did not arrive in time
    body_too_large          413   more bytes than the service takes
    too_many_rows           413   more rows than the service takes
    unsupported_media_type  415   the body is of another content type or encoding
    invalid_rows            422   values that the contract does not allow, each with its JSON pointer
    invalid_entity_key      422   X-Entity-Key does not name each row
    invalid_events          422   events that the contract does not allow, each value with its JSON pointer
    invalid_trial           422   a challenger's trial that cannot be
    not_explainable         422   the version has nothing to compare a row with
    headers_too_large       431   more bytes of headers than the service takes
    rate_limited            429   the key has used up its rows or requests
    internal_error          500   our fault; the log has the request's id
    not_ready               503   the model is known, and cannot be served now
    overloaded              503   too many rows or long requests wait already
    deadline_exceeded       503   the answer would have come too late
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import orjson

PROBLEM_JSON = b"application/problem+json"

_PROBLEMS = {
    "malformed_http": (400, "The request is not HTTP"),
    "malformed_json": (400, "The body is not JSON"),
    "malformed_encoding": (400, "The body is not what its Content-Encoding says"),
    "unauthenticated": (401, "A valid API key is needed"),
    "forbidden": (403, "This API key may not do that"),
    "not_found": (404, "There is no such route"),
    "model_not_found": (404, "There is no such model, version or alias"),
    "stream_not_found": (404, "The model has no such event stream"),
    "method_not_allowed": (405, "This route takes another method"),
    "not_acceptable": (406, "The answer would be JSON"),
    "request_timeout": (408, "The request did not arrive in time"),
    "body_too_large": (413, "The body is too large"),
    "too_many_rows": (413, "There are too many rows"),
    "unsupported_media_type": (415, "The body is of a kind that is not understood"),
    "invalid_rows": (422, "The rows are not what the model's contract says"),
    "invalid_entity_key": (422, "The entity keys do not fit the rows"),
    "invalid_events": (422, "The events are not what the model's contract says"),
    "invalid_trial": (422, "The trial cannot be"),
    "not_explainable": (422, "The version cannot be explained"),
    "rate_limited": (429, "The API key's rate is used up"),
    "headers_too_large": (431, "The headers are too large"),
    "internal_error": (500, "The service failed"),
    "not_ready": (503, "The model cannot be served now"),
    "overloaded": (503, "Too much is waiting"),
    "deadline_exceeded": (503, "The answer would have come too late"),
}

CODES = tuple(_PROBLEMS)


class Fault(NamedTuple):
    """One bad value.

    Attributes
    ----------
    pointer
        JSON pointer (RFC 6901) into the request's body, for example ``/rows/3/origin``.
    code
        One of :data:`FAULT_CODES`.
    message
        What was expected and what came.
    """

    pointer: str
    code: str
    message: str


FAULT_CODES = (
    "missing_field",
    "unknown_field",
    "repeated_field",
    "wrong_type",
    "not_finite",
    "out_of_range",
    "category_not_allowed",
    "null_not_allowed",
    "wrong_length",
    "no_rows",
    "wrong_shape",
    "in_the_future",
    "inexact",
)


class Problem(Exception):
    """A request that is refused.

    Parameters
    ----------
    code
        A key of the table at the top of this module; it decides the status.
    detail
        What is wrong with this request, where, and what was expected.
    faults
        The bad values, for ``invalid_rows``.
    fault_count
        How many bad values there are, when ``faults`` lists only the first of them.
    headers
        Response headers that belong to the refusal, such as ``Retry-After``.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        faults: tuple[Fault, ...] = (),
        fault_count: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status, self.title = _PROBLEMS[code]
        self.detail = detail
        self.faults = faults
        self.fault_count = len(faults) if fault_count is None else fault_count
        self.headers = dict(headers or {})

    def body(self, request_id: str) -> bytes:
        """Return the problem as JSON."""
        document: dict[str, object] = {
            "type": f"urn:aforo:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "request_id": request_id,
        }
        if self.faults:
            document["error_count"] = self.fault_count
            document["errors"] = [fault._asdict() for fault in self.faults]
        return orjson.dumps(document)


def pointer(*parts: str | int) -> str:
    """Return the JSON pointer (RFC 6901) to ``parts``.

    Examples
    --------
    >>> pointer("rows", 3, "a/b")
    '/rows/3/a~1b'
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
