"""Compilation and inference: what belongs together gives the contract's outputs, the rest is refused by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract, Role
from aforo.errors import DataError, ExportError
from aforo.export.compile import SCORES, compile_predictor, compile_scores
from aforo.export.inference import GraphPredictor, columns_of, open_session, store_mapped
from aforo.export.packing import CODES, NUMBERS, PACKED, Codes, Packing
from aforo.export.parity import largest_difference, refuse_difference
from aforo.export.tables import columns_from
from aforo.features import NumericSpec, OneHotSpec
from aforo.graph import Graph
from aforo.models.calibration import ConformalInterval, NoCalibration, PlattCalibration
from aforo.models.estimators import LinearSpec
from aforo.models.estimators.linear import LinearModel
from aforo.models.predictor import Predictor
from aforo.models.training import FittedCandidate, fit_candidate

INPUTS = (
    ColumnContract(name="city", type="string", role=Role.FEATURE, nullable=True),
    ColumnContract(name="x", type="number", role=Role.FEATURE),
    ColumnContract(name="unused", type="boolean", role=Role.FEATURE, nullable=True),
)
CONTRACT = PredictionContract(use_case="late", task="binary", target="late", inputs=INPUTS, classes=("no", "yes"))
ROWS = pl.DataFrame(
    {
        "city": ["Lima", "Oslo", None, "Lima", "Oslo", "Oslo"],
        "x": [0.5, 1.0, -1.0, 2.0, 0.0, 0.25],
        "unused": [True, None, False, True, True, False],
        "late": [True, False, False, True, False, True],
    }
)


@pytest.fixture(scope="module")
def candidate() -> FittedCandidate:
    return fit_candidate(
        LinearSpec(),
        features=[OneHotSpec(columns=("city",)), NumericSpec(columns=("x",))],
        task="binary",
        classes=CONTRACT.classes,
        train=ROWS,
        validation=ROWS,
        target="late",
        seed=0,
    )


@pytest.fixture(scope="module")
def scores(candidate: FittedCandidate) -> bytes:
    return compile_scores(candidate, INPUTS)


def test_the_graph_takes_every_column_of_the_contract_used_or_not(scores: bytes) -> None:
    inputs = {value.name: (value.type, value.shape) for value in open_session(scores).get_inputs()}

    assert inputs == {
        "city": ("tensor(string)", ["N", 1]),
        "x": ("tensor(double)", ["N", 1]),
        "unused": ("tensor(double)", ["N", 1]),
    }


def test_rows_as_json_and_rows_in_a_table_give_the_same_bits(candidate: FittedCandidate, scores: bytes) -> None:
    calibrator = PlattCalibration(slopes=(0.5,), shifts=(0.1,))
    served = GraphPredictor(compile_predictor(scores, calibrator, CONTRACT), CONTRACT)

    from_table = served.run(columns_from(ROWS, CONTRACT))
    from_json = served.run(columns_of(ROWS.drop("late").to_dicts(), CONTRACT))
    expected = Predictor(CONTRACT, candidate, calibrator).predict(ROWS)

    assert from_table["probabilities"].tobytes() == from_json["probabilities"].tobytes()
    assert refuse_difference(from_table, expected, step="late", tolerance=1e-14) < 1e-14


def test_a_predictor_takes_its_numbers_side_by_side_or_by_name(scores: bytes) -> None:
    served = GraphPredictor(compile_predictor(scores, NoCalibration(), CONTRACT), CONTRACT)
    columns = columns_from(ROWS, CONTRACT)
    packed = served.packing.side_by_side(columns)

    assert served.packing.columns == ("x", "city", "unused")
    assert set(packed) == {NUMBERS}
    np.testing.assert_array_equal(packed[NUMBERS][:, [0, 2]], np.hstack([columns["x"], columns["unused"]]))
    assert served.packing.codes == {"city": Codes({"": 0.0, "Lima": 1.0, "Oslo": 2.0}, -1.0)}
    assert packed[NUMBERS][:, 1].tolist() == [1, 2, 0, 1, 2, 2]
    assert served.run(packed)["probabilities"].tobytes() == served.run(columns)["probabilities"].tobytes()


def test_a_graph_that_takes_each_number_by_itself_is_served_as_well(scores: bytes) -> None:
    """As graphs were before numbers were packed."""
    graph = Graph.from_bytes(scores)
    graph.output(graph.reopen(SCORES), "probabilities", width=2)
    served = GraphPredictor(graph.to_bytes(), CONTRACT)
    packed = GraphPredictor(compile_predictor(scores, NoCalibration(), CONTRACT), CONTRACT)
    columns = columns_from(ROWS, CONTRACT)

    assert served.packing == Packing()
    assert served.packing.side_by_side(columns) is columns
    assert served.run(columns)["probabilities"].tobytes() == packed.run(columns)["probabilities"].tobytes()


@pytest.mark.parametrize("told", [None, "x, unused", "7", '["x"]', '["x", "city", "unused", "y"]'])
def test_a_graph_that_does_not_say_which_numbers_it_takes_where_is_refused(scores: bytes, told: str | None) -> None:
    model = onnx.load_model_from_string(compile_predictor(scores, NoCalibration(), CONTRACT))
    onnx.helper.set_model_props(model, {} if told is None else {PACKED: told})

    with pytest.raises(ExportError, match="metadata 'number_columns'"):
        GraphPredictor(model.SerializeToString(), CONTRACT)


@pytest.mark.parametrize("told", ["", "[]", '{"city": {"a": 1}}', '{"city": {"codes": {"a": "b"}, "otherwise": 0}}'])
def test_a_graph_whose_codes_cannot_be_understood_is_refused(scores: bytes, told: str) -> None:
    model = onnx.load_model_from_string(compile_predictor(scores, NoCalibration(), CONTRACT))
    onnx.helper.set_model_props(model, {PACKED: '["x", "city", "unused"]', CODES: told})

    with pytest.raises(ExportError, match=r"'text_codes' cannot be understood: .*; expected"):
        GraphPredictor(model.SerializeToString(), CONTRACT)


def test_a_graph_of_other_numbers_is_refused(scores: bytes) -> None:
    model = onnx.load_model_from_string(compile_predictor(scores, NoCalibration(), CONTRACT))
    onnx.helper.set_model_props(model, {PACKED: '["x", "y", "z"]'})

    with pytest.raises(ExportError, match=r"the graph takes .*'y'.*; the contract expects"):
        GraphPredictor(model.SerializeToString(), CONTRACT)


def test_what_is_packed_is_known_of_a_mapped_graph_too(scores: bytes, tmp_path: Path) -> None:
    mapped = store_mapped(compile_predictor(scores, NoCalibration(), CONTRACT), tmp_path)

    assert GraphPredictor(mapped, CONTRACT).packing.columns == ("x", "city", "unused")


def test_a_graph_in_a_file_is_loaded_from_there(scores: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(compile_predictor(scores, NoCalibration(), CONTRACT))

    assert GraphPredictor(path, CONTRACT).run(columns_from(ROWS, CONTRACT))["probabilities"].shape == (6, 2)


def test_no_rows_give_no_outputs(scores: bytes) -> None:
    served = GraphPredictor(compile_predictor(scores, NoCalibration(), CONTRACT), CONTRACT)

    assert served.run(columns_of([], CONTRACT))["probabilities"].shape == (0, 2)


def test_compiling_again_gives_the_same_bytes(candidate: FittedCandidate, scores: bytes) -> None:
    assert compile_scores(candidate, INPUTS) == scores
    assert compile_predictor(scores, NoCalibration(), CONTRACT) == compile_predictor(scores, NoCalibration(), CONTRACT)


def test_a_column_that_is_no_input_is_named(candidate: FittedCandidate) -> None:
    with pytest.raises(ExportError, match="linear: reads columns that are no inputs of the model: x"):
        compile_scores(candidate, INPUTS[:1])


def test_a_column_of_another_type_than_in_training_is_named(candidate: FittedCandidate) -> None:
    text = ColumnContract(name="x", type="string", role=Role.FEATURE)

    with pytest.raises(ExportError, match="column 'x' is of type string, and it was trained on numbers"):
        compile_scores(candidate, (INPUTS[0], text))


def test_a_step_that_cannot_be_exported_is_named(candidate: FittedCandidate) -> None:
    unfitted = FittedCandidate(
        spec=candidate.spec,
        task=candidate.task,
        encoder=candidate.encoder,
        estimator=LinearModel(candidate.task),
        hyperparameters={},
        validation_loss=0.0,
        history=(),
        seconds=0.0,
    )

    with pytest.raises(ExportError, match="linear: the estimator LinearModel cannot be exported"):
        compile_scores(unfitted, INPUTS)


def test_a_contract_that_has_changed_since_training_is_refused(scores: bytes) -> None:
    fewer = CONTRACT.model_copy(update={"inputs": INPUTS[:2]})

    with pytest.raises(ExportError, match="takes the columns city, x, unused; the contract says city, x"):
        compile_predictor(scores, NoCalibration(), fewer)


def test_a_calibrator_of_another_task_is_refused(scores: bytes) -> None:
    with pytest.raises(ExportError, match="'conformal' gives value, interval; a binary needs probabilities"):
        compile_predictor(scores, ConformalInterval(coverage=0.9, half_width=1.0), CONTRACT)


def test_a_calibrator_of_another_number_of_classes_is_refused(scores: bytes) -> None:
    with pytest.raises(ExportError, match="calibration 'platt' cannot be exported"):
        compile_predictor(scores, PlattCalibration(slopes=(1.0,) * 3, shifts=(0.0,) * 3), CONTRACT)


def test_a_graph_with_a_calibrator_already_has_no_scores_to_calibrate(scores: bytes) -> None:
    graph = compile_predictor(scores, NoCalibration(), CONTRACT)

    with pytest.raises(ExportError, match="no output 'scores'; it has: probabilities"):
        compile_predictor(graph, NoCalibration(), CONTRACT)


def test_a_graph_that_is_not_the_contracts_is_not_served(scores: bytes) -> None:
    with pytest.raises(ExportError, match=r"the graph gives .*'scores'"):
        GraphPredictor(scores, CONTRACT)
    with pytest.raises(ExportError, match=r"the graph takes .*'unused'"):
        GraphPredictor(scores, CONTRACT.model_copy(update={"inputs": INPUTS[:2]}))


def test_a_damaged_graph_is_not_served(scores: bytes) -> None:
    with pytest.raises(ExportError, match="cannot be loaded by ONNX Runtime"):
        GraphPredictor(scores[: len(scores) // 2], CONTRACT)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"x": "1.0"}, "row 1: column 'x' is '1.0'; expected a number"),
        ({"city": 5}, "row 1: column 'city' is 5; expected a string"),
        ({"x": 10**400}, "row 1: column 'x' is an integer beyond float64"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(row: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        columns_of([{"city": "Lima", "x": 1.0}, row], CONTRACT)


def test_the_inference_half_loads_no_training_library() -> None:
    script = (
        "import sys, aforo.export.inference; "
        "print([m for m in ('sklearn', 'scipy', 'torch', 'polars', 'pandas', 'onnx', 'mlflow') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_largest_difference_is_over_all_outputs() -> None:
    found = {"value": np.array([[1.0], [2.0]]), "interval": np.array([[0.0, 2.0], [1.0, 3.5]])}
    expected = {"value": np.array([[1.0], [2.0]]), "interval": np.array([[0.0, 2.0], [1.0, 3.0]])}

    assert largest_difference(found, expected) == 0.5
    assert largest_difference({"value": np.empty((0, 1))}, {"value": np.empty((0, 1))}) == 0.0
    assert largest_difference({"value": np.array([[np.nan]])}, {"value": np.array([[1.0]])}) == np.inf


def test_a_difference_above_the_tolerance_names_the_step() -> None:
    with pytest.raises(ExportError, match="trees: the graph differs from the fitted objects by 2e-06, more than 1e-06"):
        refuse_difference({"value": np.array([[2e-6]])}, {"value": np.array([[0.0]])}, step="trees")


def test_outputs_of_other_shapes_are_not_compared() -> None:
    with pytest.raises(ExportError, match="cannot be compared"):
        largest_difference({"value": np.zeros((1, 1))}, {"value": np.zeros((2, 1))})
