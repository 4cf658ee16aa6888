"""What a graph takes side by side in one input, and how texts become numbers on the way there.

ONNX Runtime takes a third of a microsecond for each input of a call, as long as a node takes, and twice that again for
each text: it copies it, and looks it up by a hash. So a graph takes all columns of numbers in one input; and a text
that it would only look up is looked up by whoever calls it, in a dictionary. The graph's metadata say how.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from aforo.errors import ExportError

Columns = Mapping[str, npt.NDArray[np.object_] | npt.NDArray[np.float64]]

NUMBERS = "_numbers"
"""The input that holds several columns side by side; no column can be called so."""
PACKED = "number_columns"
"""Which columns it holds, in a graph's metadata: their names in a JSON array."""
CODES = "text_codes"
"""Which of them are texts, in a graph's metadata: ``{"<name>": {"codes": {"<text>": 1.0, ...}, "otherwise": 0.0}}``.

``null`` stands for NaN. A missing text is "".
"""


@dataclass(frozen=True)
class Codes:
    """The numbers that stand for a column's texts, and the one for any other text."""

    of: Mapping[str, float]
    otherwise: float

    @cached_property
    def number(self) -> Callable[[Any], float]:
        """From a text to its number; ``None`` is a missing one, as "" is."""
        table = _Table(self.of, self.otherwise)
        table[None] = table[""]
        return table.__getitem__


class _Table(dict[str | None, float]):
    """A dictionary with one value for all other keys."""

    def __init__(self, of: Mapping[str, float], otherwise: float) -> None:
        super().__init__(of.items())
        self._otherwise = otherwise

    def __missing__(self, _: str | None) -> float:
        return self._otherwise


@dataclass(frozen=True)
class Packing:
    """What a graph takes side by side in :data:`NUMBERS`.

    Attributes
    ----------
    columns
        In this order; none if the graph takes each by itself.
    codes
        Of those that are texts.
    """

    columns: tuple[str, ...] = ()
    codes: Mapping[str, Codes] = field(default_factory=dict)

    @classmethod
    def from_facts(cls, facts: Mapping[str, str]) -> Packing:
        """Return what a graph's metadata say.

        Raises
        ------
        ExportError
            They do not say which columns are where, or not in this form.
        """
        try:
            columns = tuple(str(name) for name in json.loads(facts[PACKED]))
            codes = {name: _codes(told) for name, told in json.loads(facts.get(CODES, "{}")).items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ExportError(
                f"the graph's metadata {PACKED!r} and {CODES!r} cannot be understood: {error!r}; expected names in a "
                "JSON array, and a JSON object with the codes of each that is a text"
            ) from error
        return cls(columns, codes)

    def facts(self) -> dict[str, str]:
        """Return the metadata that say so."""
        codes = {
            name: {"codes": {text: _json(code) for text, code in of.of.items()}, "otherwise": _json(of.otherwise)}
            for name, of in self.codes.items()
        }
        return {PACKED: json.dumps(self.columns), CODES: json.dumps(codes)}

    def side_by_side(self, columns: Columns) -> Columns:
        """Return ``columns``, each of shape (N, 1), with :data:`NUMBERS` (N, k) in place of those that are packed."""
        if not self.columns:
            return columns
        numbers = np.concatenate([self._numbers(name, columns[name]) for name in self.columns], axis=1)
        others = {name: values for name, values in columns.items() if name not in self.columns}
        return {**others, NUMBERS: numbers}

    def _numbers(self, name: str, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        codes = self.codes.get(name)
        if codes is None:
            return values
        return np.fromiter(map(codes.number, values[:, 0]), np.float64, len(values)).reshape(-1, 1)


def _codes(told: Mapping[str, Any]) -> Codes:
    return Codes({str(text): _number(code) for text, code in told["codes"].items()}, _number(told["otherwise"]))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _json(value: float) -> float | None:
    return None if math.isnan(value) else value
