"""Inference: running a predictor's graph. All that a server needs, on numpy and onnxruntime alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from aforo.contracts.prediction import PredictionContract, Scalar
from aforo.contracts.table import ColumnContract
from aforo.errors import DataError, ExportError
from aforo.export.packing import NUMBERS, PACKED, Columns, Packing

logger = logging.getLogger(__name__)

# What this project runs instead of the runtime's own code, with the same bits: scripts/compile_kernels.py.
COMPILED_TREES = Path(__file__).parent / "kernels" / "tree_ensemble.so"

_WARNINGS_AND_BELOW_ARE_SILENT, _ALL_IS_SILENT = 3, 4
_MAPPED, _CONSTANTS = "graph.onnx", "constants.bin"
# Smaller constants stay in the graph's own file; a page is what can be shared.
_LEAST_MAPPED_BYTES = 4096


@dataclass(frozen=True)
class MappedGraph:
    """A graph whose constants lie in a file of their own, made by :func:`store_mapped`.

    Every process that opens it maps that file: the constants are in memory once, however many processes there are,
    and are not read before they are used.
    """

    folder: Path


def store_mapped(graph: bytes, folder: Path) -> MappedGraph:
    """Write a graph, as the runtime has optimised it for this machine, into ``folder``, which must exist.

    What the runtime builds from attributes, such as the nodes of a tree ensemble, is not constants, and stays private
    to each process.

    Raises
    ------
    ExportError
        The graph cannot be loaded.
    """
    options = _options(threads=1)
    options.optimized_model_filepath = str(folder / _MAPPED)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", _CONSTANTS)
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_min_size_in_bytes", str(_LEAST_MAPPED_BYTES)
    )
    _open(graph, options)
    return MappedGraph(folder)


def open_session(graph: bytes | Path | MappedGraph, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a graph for running.

    One thread by default: a row takes microseconds, and a pool would cost more than it gives. Memory is taken and
    given back per call, so that one large batch does not leave the process large for ever.

    Trees are summed by :data:`COMPILED_TREES`, on one thread in any case. Where that was not compiled, or refuses these
    trees, ONNX Runtime sums them itself: the bits are the same.

    Raises
    ------
    ExportError
        The graph cannot be loaded.
    """
    refusal: Exception | None = None
    if COMPILED_TREES.exists():
        options = _options(threads)
        options.log_severity_level = _ALL_IS_SILENT
        try:
            options.register_custom_ops_library(str(COMPILED_TREES))
            return _open(graph, options)
        except Exception as error:  # onnxruntime raises a class of its own per status code, all plain Exceptions
            refusal = error
    session = _open(graph, _options(threads))
    if refusal is not None:
        logger.info("ONNX Runtime itself sums the trees", extra={"reason": str(refusal)})
    return session


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = _WARNINGS_AND_BELOW_ARE_SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _open(graph: bytes | Path | MappedGraph, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    if isinstance(graph, MappedGraph):
        # It is optimised already; doing so again could copy constants.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        graph = graph.folder / _MAPPED
    model = graph if isinstance(graph, bytes) else str(graph)
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        where = "the graph" if isinstance(graph, bytes) else str(graph)
        raise ExportError(f"{where} cannot be loaded by ONNX Runtime: {error}") from error


def output_widths(contract: PredictionContract) -> dict[str, int]:
    """Return the outputs that the contract promises, with the columns of each."""
    if contract.task == "regression":
        return {"value": 1, "interval": 2}
    return {"probabilities": len(contract.classes)} | ({} if contract.two_phase is None else {"phase": 1})


class GraphPredictor:
    """A predictor's graph, loaded.

    Parameters
    ----------
    graph
        The model, the file that holds it, or what :func:`store_mapped` made of it.
    contract
        What it takes and gives; a graph that says otherwise is refused.
    threads
        Threads of one call. Calls from several threads of the process may overlap.

    Raises
    ------
    ExportError
        The graph cannot be loaded, or its inputs or outputs are not those of the contract.

    Attributes
    ----------
    packing
        What :meth:`run` takes side by side, if it is given so.
    """

    def __init__(self, graph: bytes | Path | MappedGraph, contract: PredictionContract, *, threads: int = 1) -> None:
        self.contract = contract
        self.is_mapped = isinstance(graph, MappedGraph)
        self._session = open_session(graph, threads=threads)
        self._outputs = list(output_widths(contract))
        self._packing = self.packing = _check(self._session, contract)
        # Without what InferenceSession.run checks before each call, which costs as much as a fifth of a single row's
        # prediction; the runtime itself refuses inputs that are missing or of another type.
        self._run = self._session._sess.run

    def run(self, columns: Columns) -> dict[str, npt.NDArray[np.float64]]:
        """Return the outputs of the prediction contract.

        Parameters
        ----------
        columns
            One array of shape (N, 1) per input: strings as objects with "" for a missing value, all others float64
            with NaN. N may be 0. In place of those of :attr:`packing` there may be what it makes of them.
        """
        if NUMBERS not in columns:
            columns = self._packing.side_by_side(columns)
        return dict(zip(self._outputs, self._run(self._outputs, columns, None), strict=True))


def columns_of(
    rows: Sequence[Mapping[str, Scalar]], contract: PredictionContract
) -> dict[str, npt.NDArray[np.object_] | npt.NDArray[np.float64]]:
    """Return raw rows as the arrays that :meth:`GraphPredictor.run` takes.

    A column that a row lacks, or has as ``None``, is missing there.

    Raises
    ------
    DataError
        A value is not of its column's type; the message names row, column and value.
    """
    return {column.name: _column(rows, column) for column in contract.inputs}


def _column(
    rows: Sequence[Mapping[str, Scalar]], column: ColumnContract
) -> npt.NDArray[np.object_] | npt.NDArray[np.float64]:
    name = column.name
    text = column.type == "string"
    array = np.empty((len(rows), 1), dtype=object if text else np.float64)
    for position, row in enumerate(rows):
        value = row.get(name)
        if value is None:
            array[position, 0] = "" if text else np.nan
        elif isinstance(value, str) != text:
            expected = "a string" if text else "a number"
            raise DataError(f"row {position}: column {name!r} is {value!r}; expected {expected}")
        else:
            try:
                array[position, 0] = value
            except OverflowError as error:
                raise DataError(f"row {position}: column {name!r} is an integer beyond float64") from error
    return array


def _check(session: onnxruntime.InferenceSession, contract: PredictionContract) -> Packing:
    """Return what the graph takes side by side."""
    found = {value.name: value.type for value in session.get_inputs()}
    packing = _packing(session) if NUMBERS in found else Packing()
    if packing.columns:
        found |= dict.fromkeys(packing.columns, found.pop(NUMBERS)) | dict.fromkeys(packing.codes, "tensor(string)")
    expected = {
        column.name: "tensor(string)" if column.type == "string" else "tensor(double)" for column in contract.inputs
    }
    if found != expected:
        raise ExportError(f"the graph takes {found}; the contract expects {expected}")
    outputs = {value.name: (value.type, value.shape[1]) for value in session.get_outputs()}
    promised = {name: ("tensor(double)", width) for name, width in output_widths(contract).items()}
    if outputs != promised:
        raise ExportError(f"the graph gives {outputs}; the contract expects {promised}")
    return packing


def _packing(session: onnxruntime.InferenceSession) -> Packing:
    packing = Packing.from_facts(session.get_modelmeta().custom_metadata_map)
    others = [value for value in session.get_inputs() if value.type != "tensor(string)"]
    if len(others) != 1 or others[0].shape[1] != len(packing.columns):
        raise ExportError(
            f"the graph's metadata {PACKED!r} names {len(packing.columns)} columns; expected all that are numbers or "
            f"codes, which it takes as {', '.join(f'{value.name} {value.shape}' for value in others)}"
        )
    return packing
