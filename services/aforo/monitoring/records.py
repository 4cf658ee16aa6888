"""The form of what is appended to a segment: MessagePack records, in blocks that share one write.

::

    length      4 bytes, little-endian: of what follows
    records     a MessagePack list of lists: the fields of each :class:`Record`, without their names

A record costs a quarter of what it costs as JSON and takes less than half of the room: on the road of a request both
count, and so it does that one call encodes a block. The values of a row stand in the order of the contract's inputs,
which the segment's header holds.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from aforo.errors import DataError

FORMAT = 2
"""What a segment's header says of this form; 1 was a line of JSON a request."""

_LENGTH = struct.Struct("<I")
_LIST_SIGNS = frozenset((*range(0x90, 0xA0), 0xDC, 0xDD))
"""What a list may begin with: https://github.com/msgpack/msgpack/blob/master/spec.md."""


class Record(msgspec.Struct, array_like=True, gc=False):
    """One answered request.

    Attributes
    ----------
    at
        When it was answered, in µs since the epoch.
    entities
        Keyed hash of what the caller named each row by; ``None`` if it named none.
    role
        ``answer``, or ``shadow`` for a copy that nobody was answered with.
    phase
        Which phase spoke, for all rows; with two phases each prediction says it.
    rows
        A list of values a row.
    predictions
        What was answered to each of the rows.
    """

    request_id: str
    at: int
    caller: str
    entities: list[str] | None
    role: str
    phase: str
    rows: Sequence[Sequence[Any]]
    predictions: Sequence[Any]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Record]).decode


def block(records: Sequence[Record]) -> bytes:
    """Return records as one block."""
    encoded = _encode(records)
    return _LENGTH.pack(len(encoded)) + encoded


def read_blocks(data: bytes) -> list[Record]:
    """Return the records of all blocks in ``data``, but for a last one that is cut off.

    Raises
    ------
    DataError
        A block does not hold records.
    """
    records: list[Record] = []
    view, start = memoryview(data), 0
    while len(data) - start >= _LENGTH.size:
        begin = start + _LENGTH.size
        end = begin + _LENGTH.unpack_from(data, start)[0]
        if begin < len(data) and data[begin] not in _LIST_SIGNS:
            raise DataError(f"its block at byte {start:,} does not hold records: it is no list")
        if end > len(data):
            break
        try:
            records += _decode(view[begin:end])
        except msgspec.DecodeError as error:
            raise DataError(f"its block at byte {start:,} does not hold records: {error}") from error
        start = end
    return records
