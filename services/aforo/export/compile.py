"""Compilation: a fitted candidate, then its calibrator, into one graph from raw columns to outputs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract
from aforo.errors import AforoError, ExportError
from aforo.export.inference import open_session, output_widths
from aforo.export.packing import NUMBERS, Codes, Packing
from aforo.graph import Graph
from aforo.models.calibration import Calibrator
from aforo.models.training import FittedCandidate

SCORES = "scores"


def compile_scores(candidate: FittedCandidate, inputs: Sequence[ColumnContract]) -> bytes:
    """Return the graph from raw columns to ``scores``: uncalibrated probabilities (N, K) or values (N, 1), float64.

    Every column of ``inputs`` is an input of the graph, whether the candidate reads it or not, so that all
    candidates of a use case take the same rows.

    Raises
    ------
    ExportError
        The candidate reads a column that is no input, or a step of it cannot be expressed; the message names it.
    """
    types = {column.name: column.type for column in inputs}
    unknown = [name for name in candidate.encoder.columns if name not in types]
    if unknown:
        raise ExportError(
            f"{candidate.name}: reads columns that are no inputs of the model: {', '.join(unknown)}",
            hint="declare them as features in the table contract",
        )
    for name in candidate.encoder.columns:
        if (types[name] == "string") != (name in candidate.encoder.text_columns_):
            raise ExportError(
                f"{candidate.name}: the contract says that column {name!r} is of type {types[name]}, and it was "
                f"trained on {'texts' if name in candidate.encoder.text_columns_ else 'numbers'}"
            )
    graph = Graph(candidate.name)
    tensors = {
        column.name: graph.input(column.name, kind="text" if column.type == "string" else "number") for column in inputs
    }
    step = "the encoder"
    try:
        matrix = candidate.encoder.add_to(graph, tensors)
        step = f"the estimator {type(candidate.estimator).__name__}"
        scores = candidate.estimator.add_to(graph, matrix)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ExportError(f"{candidate.name}: {step} cannot be exported: {error!r}") from error
    graph.output(scores, SCORES, width=candidate.task.width)
    return _runnable(graph, f"{candidate.name}: {step}")


def compile_predictor(scores_graph: bytes, calibrator: Calibrator, contract: PredictionContract) -> bytes:
    """Return the graph from raw columns to the outputs of the prediction contract.

    It takes all columns of numbers in one input, and texts as their codes there if it would look them up and do nothing
    else with them; its metadata say which is where (:mod:`aforo.export.packing`).

    Parameters
    ----------
    scores_graph
        From :func:`compile_scores`, possibly in another process.

    Raises
    ------
    ExportError
        The graph, the calibrator and the contract do not belong together.
    """
    graph = Graph.from_bytes(scores_graph)
    scores = graph.reopen(SCORES)
    names = tuple(column.name for column in contract.inputs)
    if graph.inputs != names:
        raise ExportError(
            f"the graph takes the columns {', '.join(graph.inputs)}; the contract says {', '.join(names)}",
            hint="train again: the contract has changed since",
        )
    tensors = calibrator.add_to(graph, scores)
    widths = output_widths(contract)
    if set(tensors) != set(widths):
        raise ExportError(
            f"calibration {calibrator.method!r} gives {', '.join(tensors)}; a {contract.task} needs {', '.join(widths)}"
        )
    for name, width in widths.items():
        graph.output(tensors[name], name, width=width)
    texts = [column.name for column in contract.inputs if column.type == "string"]
    codes = {name: Codes(*found) for name in texts if (found := graph.take_codes(name)) is not None}
    packed = [name for name in names if name not in texts or name in codes]
    if packed:
        graph.describe(Packing(graph.pack(packed, NUMBERS), codes).facts())
    return _runnable(graph, f"calibration {calibrator.method!r}")


def compile_small(predictor: bytes, contract: PredictionContract) -> bytes:
    """Return the small graph of two phases as a file that needs no other: it says in itself what its answers mean.

    Its metadata are those of ONNX: ``number_columns`` and ``text_codes`` (:mod:`aforo.export.packing`), ``use_case``,
    ``classes`` (JSON, in the order of the probabilities), ``threshold`` of a binary task, ``confidence``, from which
    its answer stands, and ``abstain_below`` where the contract has it.

    Parameters
    ----------
    contract
        One with ``two_phase``.
    """
    assert contract.two_phase is not None  # noqa: S101  the caller's affair
    graph = Graph.from_bytes(predictor)
    facts = {"use_case": contract.use_case, "task": contract.task, "classes": json.dumps(contract.classes)}
    facts |= {"threshold": repr(contract.threshold), "confidence": repr(contract.two_phase.confidence)}
    if contract.abstain_below is not None:
        facts["abstain_below"] = repr(contract.abstain_below)
    graph.describe(facts)
    return _runnable(graph, "the small model")


def _runnable(graph: Graph, step: str) -> bytes:
    try:
        model = graph.to_bytes()
        open_session(model)
    except AforoError as error:
        raise ExportError(f"{step} cannot be exported: {error.message}") from error
    return model
