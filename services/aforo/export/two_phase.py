"""Two phases: a small model answers the rows it is sure of, and only the others go on to the full one.

Numpy and onnxruntime alone, as all of inference. Whatever predicts with a version (the API, ``aforo predict``, the
pyfunc, the gate) predicts through this one function, so a row is answered by the same phase with the same bits
everywhere, whichever rows come with it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from aforo.contracts.prediction import PHASES, PredictionContract
from aforo.errors import ExportError
from aforo.export.inference import GraphPredictor, MappedGraph
from aforo.export.packing import Columns, Packing

_SMALL, _FULL = (float(place) for place in range(len(PHASES)))


def open_predictor(
    graph: bytes | Path | MappedGraph, contract: PredictionContract, small: bytes | None = None, *, threads: int = 1
) -> GraphPredictor:
    """Return the graph, loaded; with the small one before it where the contract says ``two_phase``.

    Raises
    ------
    ExportError
        The contract says so, and there is no small one; or a graph cannot be loaded, or is not that of the contract.
    """
    if contract.two_phase is None:
        return GraphPredictor(graph, contract, threads=threads)
    if small is None:
        raise ExportError(f"the contract of {contract.use_case} has two phases, and there is no small model")
    return TwoPhasePredictor(graph, contract, small, threads=threads)


class TwoPhasePredictor(GraphPredictor):
    """A small graph and a full one, loaded.

    A row is the small one's to answer if its highest probability reaches the contract's confidence. What is no number
    is never sure. Whether to abstain is asked of the answer, whoever gave it.

    Parameters
    ----------
    graph
        Of the full model.
    small
        Of the small one; it takes and gives the same columns.
    contract
        One with ``two_phase``.
    threads
        Of one call of either.

    Raises
    ------
    ExportError
        A graph cannot be loaded, or its inputs or outputs are not those of the contract.

    References
    ----------
    Lakshmanan, Robinson, Munn: Machine Learning Design Patterns, 2020, "Two-Phase Predictions".
    """

    def __init__(
        self,
        graph: bytes | Path | MappedGraph,
        contract: PredictionContract,
        small: bytes | Path,
        *,
        threads: int = 1,
    ) -> None:
        if contract.two_phase is None:
            raise ValueError(f"the contract of {contract.use_case} has no two_phase")
        of_each = contract.model_copy(update={"two_phase": None})
        super().__init__(graph, of_each, threads=threads)
        self.contract = contract
        self.packing = Packing()  # that of the two may differ
        try:
            self._small = GraphPredictor(small, of_each, threads=threads)
        except ExportError as error:
            raise ExportError(f"the small model: {error.message}", hint=error.hint) from error
        self._confidence = contract.two_phase.confidence

    def run(self, columns: Columns) -> dict[str, npt.NDArray[np.float64]]:
        """Return ``probabilities`` (N, K), and ``phase`` (N, 1): who spoke, as a place in `PHASES`."""
        probabilities = self._small.run(columns)["probabilities"]
        # Written so that a NaN is not sure.
        unsure = np.flatnonzero(~(probabilities.max(axis=1) >= self._confidence))
        phase = np.full((len(probabilities), 1), _SMALL)
        if len(unsure) == len(probabilities):
            probabilities = super().run(columns)["probabilities"]
        elif len(unsure):
            probabilities[unsure] = super().run({name: values[unsure] for name, values in columns.items()})[
                "probabilities"
            ]
        phase[unsure] = _FULL
        return {"probabilities": probabilities, "phase": phase}
