"""What the head of a prediction request says, worked out once for all that begin alike.

A client that keeps its connection sends the same request line and the same headers again and again, but for a length,
an id or a trace. To parse them, and to find out who asks for what, takes half as long as to predict a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from prediction_api.api_keys import presented_key
from prediction_api.protocols.protocol import PredictionProtocol

_LENGTH = b"content-length"
_DIFFERING = frozenset((_LENGTH, b"x-request-id", b"x-caller-id", b"x-entity-key", b"traceparent"))
_PLAIN = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_END_OF_LINE = b"\r\n"


class Target(NamedTuple):
    """What a path asks for."""

    protocol: PredictionProtocol
    model: str
    version: str | None
    alias: str | None


class Head:
    """What a request's target and headers say.

    Parameters
    ----------
    headers
        By their names in lower case.

    Attributes
    ----------
    presented
        The API key; see :func:`~prediction_api.api_keys.presented_key`.
    is_understood
        Whether its media types were looked at, and are understood.
    """

    __slots__ = ("headers", "is_understood", "presented", "target")

    def __init__(self, target: Target, headers: Mapping[bytes, bytes]) -> None:
        self.target = target
        self.headers = headers
        self.presented = presented_key(headers)
        self.is_understood = False


class AlikeHeads:
    """The heads that are a given one but for the values of some headers, each a word of plain signs.

    Attributes
    ----------
    head
        The given one.
    """

    def __init__(self, head: Head, first: bytes, differing: list[tuple[bytes, bytes]]) -> None:
        self.head = head
        self._first = first
        self._differing = differing
        """Names in lower case, each with the bytes between its value and the next one that may differ."""

    @classmethod
    def of(cls, head: Head, raw: bytes) -> AlikeHeads | None:
        """Return the heads like the one that a parser made of ``raw``.

        Returns
        -------
        AlikeHeads or None
            ``None`` if ``raw`` is not that head and nothing else, each header a line of its own that ends as the
            standard says (RFC 9112, section 2.2): no two readers can differ on where such a head ends.
        """
        lines = raw.split(_END_OF_LINE)
        # Besides the headers: the request line, and what is before and behind the end of the empty one.
        if raw.count(b"\n") != len(lines) - 1 or len(lines) != len(head.headers) + 3 or raw[-4:] != _END_OF_LINE * 2:
            return None
        fixed = [lines[0]]
        names = []
        for line in lines[1:-2]:
            name, _, value = line.partition(b":")
            word = value.lstrip(b" ")
            if name.lower() in _DIFFERING and _PLAIN.fullmatch(word):
                names.append(name.lower())
                fixed[-1] += _END_OF_LINE + line.removesuffix(word)
                fixed.append(b"")
            else:
                fixed[-1] += _END_OF_LINE + line
        fixed[-1] += _END_OF_LINE * 2
        return cls(head, fixed[0], list(zip(names, fixed[1:], strict=True))) if _LENGTH in names else None

    def read(self, message: bytes) -> tuple[dict[bytes, bytes], bytes] | None:
        """Return the headers and the body of a request; ``None`` if it begins in another way, or is not all here."""
        if not message.startswith(self._first):
            return None
        headers = dict(self.head.headers)
        at = len(self._first)
        for name, behind in self._differing:
            value = _PLAIN.match(message, at)
            if value is None or not message.startswith(behind, value.end()):
                return None
            headers[name] = value[0]
            at = value.end() + len(behind)
        length = headers[_LENGTH]
        if not length.isdigit() or int(length) != len(message) - at:
            return None
        return headers, message[at:]


def own_request_id(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the client's ``X-Request-ID`` if it is one of plain signs."""
    own = headers.get(b"x-request-id")
    return own.decode("ascii") if own is not None and _PLAIN.fullmatch(own) else None
