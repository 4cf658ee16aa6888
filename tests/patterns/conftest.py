"""Tables with everything awkward in them, and ways to run one pattern's nodes alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import polars as pl
import pytest
from onnx import TensorProto, helper

from aforo.features.encoder import Encoder
from aforo.features.feature import Feature
from aforo.graph import Graph
from aforo.models.calibration import Calibrator
from aforo.models.estimators import Estimator

Matrix = np.ndarray
TEXTS = ["Lima", "Oslo", "São Paulo", "東京", "a b ", "A", "0", "naïve"]


def make_table(rows: int, seed: int) -> pl.DataFrame:
    """Return numbers, whole numbers, truths and texts with missing values, and a constant column of each sort."""
    rng = np.random.default_rng(seed)
    present = rng.random((4, rows)) > 0.1
    number = rng.normal(3.0, 1e3, rows)
    number[:4] = [0.0, -0.0, 1e12, -1e-12]
    return pl.DataFrame(
        {
            "number": pl.Series([float(v) if p else None for v, p in zip(number, present[0], strict=True)]),
            "whole": pl.Series(
                [int(v) if p else None for v, p in zip(rng.integers(-3, 9, rows), present[1], strict=True)]
            ),
            "truth": pl.Series(
                [bool(v) if p else None for v, p in zip(rng.random(rows) > 0.4, present[2], strict=True)]
            ),
            "text": pl.Series(
                [TEXTS[v] if p else None for v, p in zip(rng.integers(0, len(TEXTS), rows), present[3], strict=True)]
            ),
            "other_text": pl.Series([TEXTS[v] for v in rng.integers(0, 3, rows)]),
            "same_number": pl.Series([7.5] * rows),
            "same_text": pl.Series(["same"] * rows),
        }
    )


@pytest.fixture
def table() -> pl.DataFrame:
    return make_table(300, seed=1)


@pytest.fixture
def strange_table() -> pl.DataFrame:
    """Rows that training did not have: unseen texts and numbers, and everything missing at once."""
    return pl.concat(
        [
            make_table(50, seed=2),
            pl.DataFrame(
                {
                    "number": [None, 1e300, -1e300, 5e-324],
                    "whole": [None, 10**9, -(10**9), 42],
                    "truth": [None, True, False, None],
                    "text": [None, "", "never seen", "lima"],
                    "other_text": [None, "never seen", "東京", ""],
                    "same_number": [None, 7.5, 0.0, -3.0],
                    "same_text": [None, "same", "Same", ""],
                }
            ),
        ],
        how="vertical_relaxed",
    )


def _run(graph: Graph, columns: dict[str, Matrix]) -> list[Matrix]:
    return onnxruntime.InferenceSession(graph.to_bytes(), providers=["CPUExecutionProvider"]).run(None, columns)


@pytest.fixture
def run_feature() -> Callable[[Feature | Encoder, pl.DataFrame], Matrix]:
    """Run a fitted feature's nodes on raw rows."""

    def run(feature: Feature | Encoder, table: pl.DataFrame) -> Matrix:
        graph = Graph("feature")
        columns, inputs = {}, {}
        for name in dict.fromkeys(feature.columns):
            column = table.get_column(name)
            is_text = column.dtype == pl.String
            inputs[name] = graph.input(name, kind="text" if is_text else "number")
            values = (
                column.fill_null("").to_numpy().astype(object)
                if is_text
                else column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
            )
            columns[name] = values.reshape(-1, 1)
        graph.output(feature.add_to(graph, inputs), "matrix", width=len(feature.names_))
        return _run(graph, columns)[0]

    return run


def matrix_graph(width: int) -> Graph:
    """Return a graph whose one input is a matrix (N, width)."""
    graph = Graph("matrix")
    graph._model.graph.input.append(helper.make_tensor_value_info("matrix", TensorProto.DOUBLE, ["N", width]))
    return graph


@pytest.fixture
def run_estimator() -> Callable[[Estimator, Matrix], Matrix]:
    """Run a fitted estimator's nodes on a matrix."""

    def run(estimator: Estimator, X: Matrix) -> Matrix:
        graph = matrix_graph(X.shape[1])
        graph.output(estimator.add_to(graph, "matrix"), "scores", width=estimator.task.width)
        return _run(graph, {"matrix": X})[0]

    return run


@pytest.fixture
def run_calibrator() -> Callable[[Calibrator, Matrix], dict[str, Matrix]]:
    """Run a calibrator's nodes on uncalibrated outputs."""

    def run(calibrator: Calibrator, outputs: Matrix) -> dict[str, Matrix]:
        graph = matrix_graph(outputs.shape[1])
        widths = {name: value.shape[1] for name, value in calibrator.apply(outputs).items()}
        for name, tensor in calibrator.add_to(graph, "matrix").items():
            graph.output(tensor, name, width=widths[name])
        return dict(zip(widths, _run(graph, {"matrix": outputs}), strict=True))

    return run
