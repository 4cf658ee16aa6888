"""Explanations: how much each column of a row has to do with its answer, asked of the exported graph alone.

The graph is run on mixtures of the row and of rows of the background, so what is explained is what is served: the
calibrated output, a probability or a value. NumPy and ONNX Runtime only: a server can do it.
"""

from __future__ import annotations

import hashlib
import math
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from aforo.contracts.explanation import Background, Explanation, ExplanationMethod
from aforo.contracts.prediction import PredictionContract, Scalar
from aforo.errors import ExplanationTooSlow
from aforo.export.attribution import Floats, Masks, by_replacement, exact_shapley, sampled_shapley
from aforo.export.inference import columns_of
from aforo.export.packing import Columns

Run = Callable[[Columns], Mapping[str, Floats]]

# Up to here all subsets of the columns are some thousand rows of the graph: 8,192 with a background of 32.
MOST_EXACT_COLUMNS = 8
_LEAST_ROUNDS, MOST_ROUNDS = 2, 4
# A call of the graph ends soon enough for the deadline to be looked at, whatever the model.
_CALL_ROWS = 2048


class Explainer:
    """Explains the answers of one predictor.

    Parameters
    ----------
    run
        From raw columns to the outputs of the contract, as :meth:`GraphPredictor.run` does.
    clock
        In seconds; what the deadlines are compared with.

    References
    ----------
    Lundberg and Lee, A unified approach to interpreting model predictions, NeurIPS 2017 (columns that are left out take
    the values of a background's rows).
    """

    def __init__(
        self,
        run: Run,
        contract: PredictionContract,
        background: Background,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._run = run
        self._contract = contract
        self._clock = clock
        self._names = tuple(column.name for column in contract.inputs)
        self._background = columns_of(background.rows, contract)
        self._typical = columns_of([background.typical], contract)
        self._rows = len(background.rows)

    def explain(
        self,
        row: Mapping[str, Scalar],
        method: ExplanationMethod = "shapley",
        *,
        soft_deadline: float = math.inf,
        deadline: float = math.inf,
    ) -> Explanation | None:
        """Return why ``row`` is answered as it is; ``None`` if its answer is not finite.

        Up to `MOST_EXACT_COLUMNS` columns, Shapley values are exact. For more, permutations of the columns are drawn by
        a seed made from the row itself: the same row gets the same explanation, as long as there is time for it.

        Parameters
        ----------
        method
            ``shapley`` is fair to columns that act together, and takes some thousand rows of the graph. ``baseline``
            takes two rows a column, against the background's typical row: see `by_replacement`.
        soft_deadline
            No permutations are drawn beyond it, but for the first four of each row of the background.
        deadline
            The explanation is given up beyond it.

        Raises
        ------
        ExplanationTooSlow
            The deadline has passed.
        DataError
            A value is not of its column's type.
        """
        given = columns_of([row], self._contract)
        outputs = self._run(given)
        place = self._place(outputs)
        output = float(self._one(outputs, place)[0])
        if not math.isfinite(output):
            return None
        others = self._typical if method == "baseline" else self._background

        def mixed(masks_ZD: Masks, places_Z: npt.NDArray[np.int64]) -> Floats:
            answers = np.empty(len(masks_ZD))
            for start in range(0, len(masks_ZD), _CALL_ROWS):
                if self._clock() > deadline:
                    raise ExplanationTooSlow(
                        "an explanation was not ready at its deadline",
                        hint="explain fewer rows at once, or ask for the method 'baseline'",
                    )
                piece = slice(start, start + _CALL_ROWS)
                columns = _mixture(given, others, masks_ZD[piece], places_Z[piece])
                answers[piece] = self._one(self._run(columns), place)
            return answers

        began = self._clock()

        def goes_on(rounds: int) -> bool:
            now = self._clock()
            return rounds < MOST_ROUNDS and now + (now - began) / rounds <= soft_deadline

        columns = len(self._names)
        if method == "baseline":
            found = by_replacement(mixed, output, columns)
        elif columns <= MOST_EXACT_COLUMNS:
            found = exact_shapley(mixed, columns, self._rows)
        else:
            found = sampled_shapley(
                mixed,
                output,
                _differs(given, others),
                seed=_seed(row, self._names),
                least_rounds=_LEAST_ROUNDS,
                goes_on=goes_on,
            )
        errors = found.errors
        return Explanation(
            method=method,
            of=self._contract.target if place is None else self._contract.classes[place],
            scale="value" if place is None else "probability",
            output=output,
            baseline=found.baseline,
            contributions=self._by_column(found.contributions),
            rest=found.rest,
            standard_errors=None if errors is None else self._by_column(errors),
            permutations=found.permutations,
        )

    def _place(self, outputs: Mapping[str, Floats]) -> int | None:
        """Return which class's probability is explained; ``None`` for a regression."""
        if self._contract.task == "regression":
            return None
        return 1 if self._contract.task == "binary" else int(outputs["probabilities"][0].argmax())

    def _one(self, outputs: Mapping[str, Floats], place: int | None) -> Floats:
        return outputs["value"][:, 0] if place is None else outputs["probabilities"][:, place]

    def _by_column(self, figures: Floats) -> dict[str, float]:
        return dict(zip(self._names, figures.tolist(), strict=True))


def _differs(given: Columns, others: Columns) -> Masks:
    """Return which values of the others' rows are not those of the row, shape (M, D); missing is missing."""
    return np.hstack(
        [
            (others[name] != value) & ~((others[name] != others[name]) & (value != value))
            for name, value in given.items()
        ]
    )


def _mixture(given: Columns, others: Columns, masks_ZD: Masks, places_Z: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Return the columns, shape (Z, 1) each, of the row where the mask is true and of the others' rows elsewhere."""
    return {
        name: np.where(masks_ZD[:, [place]], value, others[name][places_Z])
        for place, (name, value) in enumerate(given.items())
    }


def _seed(row: Mapping[str, Scalar], names: Sequence[str]) -> int:
    """Return a number made from the row's values, the same in every process; 1, 1.0 and true are one value."""
    digest = hashlib.blake2b(digest_size=8)
    for name in names:
        value = row.get(name)
        if isinstance(value, str) and value:
            digest.update(b"text%d:%b" % (len(value), value.encode()))
        elif value is None or value == "" or value != value:
            digest.update(b"none")
        else:
            digest.update(b"real" + struct.pack("<d", float(value)))
    return int.from_bytes(digest.digest(), "little")
