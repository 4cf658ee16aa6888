"""Bodies of requests and answers: read up to a size, in the media and encodings that are understood, and compressed."""

from __future__ import annotations

import os
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from prediction_api.problems import Problem

# Decompressed between two looks at whether somebody else wants the core: Linux lets a thread at work have it for
# milliseconds, whatever its niceness.
_PIECE_BYTES = 2**16

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


def refuse_other_media(headers: Mapping[bytes, bytes]) -> None:
    """Check ``Content-Type`` and ``Accept``.

    Raises
    ------
    Problem
        ``unsupported_media_type`` or ``not_acceptable``.
    """
    content_type = headers.get(b"content-type")
    if content_type is not None and content_type != b"application/json":
        kind, _, parameters = content_type.lower().partition(b";")
        kind = kind.strip()
        binary_tensors = kind == b"application/octet-stream" and b"inference-header-content-length" in headers
        is_utf8 = not parameters.strip() or parameters.replace(b'"', b"").strip() in (b"charset=utf-8", b"charset=utf8")
        is_json = kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))
        if not ((is_json and is_utf8) or binary_tensors):
            raise Problem(
                "unsupported_media_type",
                f"Content-Type is {_shown(content_type)}; expected application/json in UTF-8",
                headers={"Accept-Post": "application/json"},
            )
    accept = headers.get(b"accept")
    if accept is not None and accept != b"*/*" and not _accepts_json(accept):
        raise Problem("not_acceptable", f"Accept is {_shown(accept)}; the answer is application/json")


def _accepts_json(accept: bytes) -> bool:
    for choice in accept.lower().split(b","):
        kind, *parameters = (part.strip() for part in choice.split(b";"))
        refused = any(parameter in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000") for parameter in parameters)
        if kind in (b"*/*", b"application/*", b"application/json", b"application/octet-stream") and not refused:
            return True
    return not accept.strip()


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, max_bytes: int) -> bytes:
    """Return the whole body as it was sent.

    Raises
    ------
    Problem
        ``body_too_large``.
    ClientGoneError
        The rest of the body will not come.
    """
    announced = headers.get(b"content-length")
    if announced is not None and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts = [body]
        size = len(body)
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > max_bytes:
                raise _too_large(max_bytes)
        body = b"".join(parts)
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


def decompress(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """Return ``body`` decompressed, and never more than ``max_bytes`` of it.

    Raises
    ------
    Problem
        ``unsupported_media_type``, ``malformed_encoding`` or ``body_too_large``.
    """
    windows = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
    bits = windows.get(encoding.strip().lower())
    if bits is None:
        raise Problem(
            "unsupported_media_type",
            f"Content-Encoding is {_shown(encoding)}; expected gzip, deflate or none",
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    inflate = zlib.decompressobj(bits)
    pieces: list[bytes] = []
    size = fed = 0
    rest, last = b"", b""
    try:
        while not inflate.eof:
            if not rest and len(last) < _PIECE_BYTES:
                if fed >= len(body):
                    break
                rest, fed = body[fed : fed + _PIECE_BYTES], fed + _PIECE_BYTES
            last = inflate.decompress(rest, _PIECE_BYTES)
            rest = inflate.unconsumed_tail
            pieces.append(last)
            os.sched_yield()
            size += len(last)
            if size > max_bytes:
                raise _too_large(max_bytes)
    except zlib.error as error:
        raise Problem("malformed_encoding", f"the body is not valid {_shown(encoding)}: {error}") from error
    if not inflate.eof or inflate.unused_data or fed < len(body):
        raise Problem("malformed_encoding", f"the body is not one complete {_shown(encoding)} stream")
    return b"".join(pieces)


def gzip(body: bytes) -> bytes:
    """Return ``body`` compressed, quickly rather than well."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
    return deflate.compress(body) + deflate.flush()


def _too_large(max_bytes: int) -> Problem:
    return Problem("body_too_large", f"expected {max_bytes:,} bytes or fewer, also after decompression")


def _shown(value: bytes) -> str:
    return repr(value[:80].decode("latin-1"))
