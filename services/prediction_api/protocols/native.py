"""Our own protocol: ``{"rows": [{...}]}`` or ``{"columns": [...], "data": [[...]]}``; and ``"explain": true``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aforo.contracts.explanation import Explanation, ExplanationMethod
from prediction_api.answers import Prediction
from prediction_api.explaining import Row
from prediction_api.problems import Problem
from prediction_api.served_version import ServedVersion


class NativeExchange:
    __slots__ = ("_served", "explain", "explanations", "rows")

    def __init__(self, rows: Sequence[Row], explain: ExplanationMethod | None, served: ServedVersion) -> None:
        self.rows = rows
        self.explain = explain
        self.explanations: Sequence[Explanation | None] = ()
        self._served = served

    def answer(self, predictions: Sequence[Prediction], request_id: str) -> bytes:
        if self.explain is not None:
            return self._served.answers.encode_explained(predictions, self.explanations, request_id)
        return self._served.answers.encode(predictions, request_id)


class NativeProtocol:
    """See :mod:`prediction_api.decoding` and :mod:`prediction_api.answers`, which are made for the contract."""

    name = "aforo"

    def read(self, body: bytes, _: Mapping[bytes, bytes], served: ServedVersion) -> NativeExchange:
        rows, explain = served.decoder.decode(body)
        return NativeExchange(rows, explain, served)

    def problem(self, problem: Problem, request_id: str) -> bytes:
        return problem.body(request_id)
