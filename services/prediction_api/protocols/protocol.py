"""What a protocol is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from aforo.contracts.explanation import Explanation, ExplanationMethod
from prediction_api.answers import Prediction
from prediction_api.explaining import Row
from prediction_api.problems import Problem
from prediction_api.served_version import ServedVersion


class Exchange(Protocol):
    """What one protocol makes of one request.

    Attributes
    ----------
    explain
        How the rows are to be explained; ``None`` for not at all.
    explanations
        One a row, put here before the answer is made.
    """

    rows: Sequence[Row]
    explain: ExplanationMethod | None
    explanations: Sequence[Explanation | None]

    def answer(self, predictions: Sequence[Prediction], request_id: str, /) -> bytes:
        """Return the body of the answer."""
        ...


class PredictionProtocol(Protocol):
    """A way to ask for predictions and to answer.

    Attributes
    ----------
    name
        For metrics.
    """

    name: str

    def read(self, body: bytes, headers: Mapping[bytes, bytes], served: ServedVersion, /) -> Exchange:
        """Return the request's rows, checked against the contract.

        Raises
        ------
        Problem
            The body is not what the protocol and the contract say.
        """
        ...

    def problem(self, problem: Problem, request_id: str) -> bytes:
        """Return the body that tells of a refusal."""
        ...
