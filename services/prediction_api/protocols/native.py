"""Our own protocol: ``{"rows": [{...}]}`` or ``{"columns": [...], "data": [[...]]}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prediction_api.answers import Prediction
from prediction_api.explaining import Row
from prediction_api.problems import Problem
from prediction_api.served_version import ServedVersion


class NativeExchange:
    __slots__ = ("_served", "rows")

    def __init__(self, rows: Sequence[Row], served: ServedVersion) -> None:
        self.rows = rows
        self._served = served

    def answer(self, predictions: Sequence[Prediction], request_id: str) -> bytes:
        return self._served.answers.encode(predictions, request_id)


class NativeProtocol:
    """See :mod:`prediction_api.decoding` and :mod:`prediction_api.answers`, which are made for the contract."""

    name = "aforo"

    def read(self, body: bytes, _: Mapping[bytes, bytes], served: ServedVersion) -> NativeExchange:
        return NativeExchange(served.decoder.decode(body), served)

    def problem(self, problem: Problem, request_id: str) -> bytes:
        return problem.body(request_id)
