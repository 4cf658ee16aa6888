"""From a graph's outputs to the bytes of an answer.

A row of a classifier is answered by ``{"probabilities": {"no": 0.9, "yes": 0.1}, "label": "no", "confidence": 0.9,
"abstained": false, "abstain_reason": null}``, a row of a regression by ``{"value": 3.2, "interval": {"lower": 2.9,
"upper": 3.5}, "abstained": false, "abstain_reason": null}``. A model that abstains gives its probabilities and no
label, or its interval and no value. Where the contract has a bound to abstain at, each row repeats it as
``abstain_below`` or ``abstain_above``, to be read beside its confidence or its interval. Where a small model answers
some of the rows, ``"phase": "small"`` or ``"full"`` says which one spoke.

JSON carries the shortest text that reads back as the same float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from aforo.contracts.explanation import Explanation
from aforo.contracts.prediction import PredictionContract
from aforo.export.answering import LOW_CONFIDENCE, NOT_FINITE, WIDE_INTERVAL, chosen, phases

Prediction = Any
"""One row's answer: a struct made for the contract, ready to be encoded."""


class Answers:
    """Makes the answers of one version.

    Parameters
    ----------
    contract
        Tells the task, the classes and when to abstain.
    model, version
        Repeated in every answer.
    """

    def __init__(self, contract: PredictionContract, *, model: str, version: str) -> None:
        self._contract = contract
        self._encoder = msgspec.json.Encoder()
        self._head = msgspec.json.encode({"model": model, "version": version})[:-1] + b',"request_id":'
        self._predict: Callable[[Mapping[str, NDArray[np.float64]]], list[Prediction]]
        if contract.task == "regression":
            self._interval = msgspec.defstruct("Interval", [("lower", float | None), ("upper", float | None)], gc=False)
            self._regression = msgspec.defstruct(
                "Regression",
                [
                    ("value", float | None),
                    ("interval", self._interval | None),
                    ("abstained", bool, False),
                    ("abstain_reason", str | None, None),
                    *([] if contract.abstain_above is None else [("abstain_above", float, contract.abstain_above)]),
                ],
                gc=False,
            )
            self._predict = self._regressions
        else:
            aliases = [f"p{i}" for i in range(len(contract.classes))]
            self._probabilities = msgspec.defstruct(
                "Probabilities",
                [(alias, float) for alias in aliases],
                rename=dict(zip(aliases, contract.classes, strict=True)),
                gc=False,
            )
            self._classification = msgspec.defstruct(
                "Classification",
                [
                    ("probabilities", self._probabilities | None),
                    ("label", str | None),
                    ("confidence", float | None),
                    ("abstained", bool, False),
                    ("abstain_reason", str | None, None),
                    *([] if contract.abstain_below is None else [("abstain_below", float, contract.abstain_below)]),
                    *((("phase", str | None, None),) if contract.two_phase else ()),
                ],
                gc=False,
            )
            self._predict = self._classifications

    def predictions(self, outputs: Mapping[str, NDArray[np.float64]]) -> list[Prediction]:
        """Return one prediction a row of ``outputs``, the graph's arrays of shape (N, K)."""
        predictions = self._predict(outputs)
        if "phase" in outputs:
            for prediction, phase in zip(predictions, phases(outputs["phase"]), strict=True):
                prediction.phase = phase
        return predictions

    def encode(self, predictions: Sequence[Prediction], request_id: str) -> bytes:
        """Return the answer's JSON."""
        encode = self._encoder.encode
        return b'%b%b,"predictions":%b}' % (self._head, encode(request_id), encode(predictions))

    def encode_explained(
        self, predictions: Sequence[Prediction], explanations: Sequence[Explanation | None], request_id: str
    ) -> bytes:
        """Return the answer's JSON, with each prediction's explanation in it; ``null`` where there is none."""
        encode = self._encoder.encode
        explained = b",".join(
            b'%b,"explanation":%b}' % (encode(prediction)[:-1], encode(None if why is None else why.model_dump()))
            for prediction, why in zip(predictions, explanations, strict=True)
        )
        return b'%b%b,"predictions":[%b]}' % (self._head, encode(request_id), explained)

    def _classifications(self, outputs: Mapping[str, NDArray[np.float64]]) -> list[Prediction]:
        contract, probabilities, row = self._contract, self._probabilities, self._classification
        table = outputs["probabilities"]
        if contract.task == "binary" and contract.abstain_below is None:
            # The same as below, without the array operations that cost most for a single row.
            rows = table.tolist()
            if math.isfinite(sum(rows[0])) if len(rows) == 1 else np.isfinite(table.sum()):
                no, yes = contract.classes
                threshold = contract.threshold
                return [
                    row(probabilities(p, q), yes if q >= threshold else no, p if p > q else q)  # noqa: FURB136  no call
                    for p, q in rows
                ]
        confidences = table.max(axis=1)
        places = chosen(table, contract)
        floor = 0.0 if contract.abstain_below is None else contract.abstain_below
        labels = contract.classes
        if confidences.min() >= floor:  # False with a NaN too
            return [
                row(probabilities(*values), labels[place], confidence)
                for values, place, confidence in zip(table.tolist(), places.tolist(), confidences.tolist(), strict=True)
            ]
        predictions = []
        for values, place, confidence in zip(table.tolist(), places.tolist(), confidences.tolist(), strict=True):
            if confidence != confidence:
                predictions.append(row(None, None, None, True, NOT_FINITE))
            elif confidence < floor:
                predictions.append(row(probabilities(*values), None, confidence, True, LOW_CONFIDENCE))
            else:
                predictions.append(row(probabilities(*values), labels[place], confidence))
        return predictions

    def _regressions(self, outputs: Mapping[str, NDArray[np.float64]]) -> list[Prediction]:
        row, interval = self._regression, self._interval
        widest = math.inf if self._contract.abstain_above is None else self._contract.abstain_above
        table = np.concatenate([outputs["value"], outputs["interval"]], axis=1)
        predictions = []
        for (value, lower, upper), finite in zip(table.tolist(), np.isfinite(table).all(axis=1).tolist(), strict=True):
            if not finite:
                predictions.append(row(None, None, True, NOT_FINITE))
            elif upper - lower > widest:
                predictions.append(row(None, interval(lower, upper), True, WIDE_INTERVAL))
            else:
                predictions.append(row(value, interval(lower, upper)))
        return predictions
