"""Two phases: who answers which row, worked out by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import pytest

from aforo.contracts.prediction import PredictionContract, TwoPhase
from aforo.contracts.table import ColumnContract
from aforo.errors import ExportError
from aforo.export.answering import answer_columns
from aforo.export.compile import compile_small
from aforo.export.inference import columns_of
from aforo.export.two_phase import TwoPhasePredictor, open_predictor
from aforo.graph import Graph

INPUTS = (
    ColumnContract(name="x", type="number", role="feature", nullable=True),
    ColumnContract(name="city", type="string", role="feature", nullable=True),
)


def contract(confidence: float | None = 0.8, **changes: Any) -> PredictionContract:
    return PredictionContract(
        use_case="toy",
        task="binary",
        target="y",
        inputs=INPUTS,
        classes=("no", "yes"),
        two_phase=None if confidence is None else TwoPhase(confidence=confidence),
        **changes,
    )


def graph(name: str, *, constant: float | None = None, width: int = 2) -> bytes:
    """A graph that says yes with the probability x, or with a constant one; 0.25 more in Lima."""
    made = Graph(name)
    x, city = made.input("x"), made.input("city", kind="text")
    more = made.lookup(city, ["Lima"], [0.25], default=0.0)
    yes = (
        x
        if constant is None
        else made.add("Where", made.add("IsNaN", x), made.constant(constant), made.constant(constant))
    )
    yes = made.add("Add", yes, more)
    made.output(
        made.add("Gemm", yes, made.constant([[-1.0, 1.0]]), made.constant([1.0, 0.0])), "probabilities", width=width
    )
    return made.to_bytes()


SMALL, FULL = graph("small"), graph("full", constant=0.5)
ROWS = [
    {"x": 0.9},  # the small one is sure: yes
    {"x": 0.3},  # it is not: 0.7 at best
    {"x": 0.8},  # as sure as asked for
    {"x": 0.6, "city": "Lima"},  # sure with what the city adds
    {"x": 0.2 + 2**-50},  # a hair below
    {"x": None},  # no number is not sure
]
PHASES = ["small", "full", "small", "small", "full", "full"]
YES = [0.9, 0.5, 0.8, 0.85, 0.5, 0.5]


def test_the_small_model_answers_what_it_is_sure_of_and_the_full_one_the_rest():
    predictor = open_predictor(FULL, contract(), SMALL)

    answers = answer_columns(predictor.run(columns_of(ROWS, predictor.contract)), predictor.contract)

    assert isinstance(predictor, TwoPhasePredictor)
    assert answers["phase"].tolist() == PHASES
    assert answers["probability_yes"].tolist() == YES


def test_a_row_is_answered_alone_as_it_is_among_others():
    predictor = open_predictor(FULL, contract(), SMALL)
    together = predictor.run(columns_of(ROWS * 3, predictor.contract))
    alone = [predictor.run(columns_of([row], predictor.contract)) for row in ROWS * 3]

    for name, values in together.items():
        assert values.tobytes() == np.vstack([each[name] for each in alone]).tobytes()


@pytest.mark.parametrize("rows", [[], [{"x": 0.95}], [{"x": 0.5}], [{"x": 0.5}] * 3], ids=len)
def test_all_small_all_full_and_no_rows_have_the_shapes_of_the_contract(rows: list[dict[str, float]]):
    outputs = open_predictor(FULL, contract(), SMALL).run(columns_of(rows, contract()))

    assert {name: values.shape for name, values in outputs.items()} == {
        "probabilities": (len(rows), 2),
        "phase": (len(rows), 1),
    }


def test_abstaining_is_asked_of_the_answer_whoever_gave_it():
    careful = contract(0.8, abstain_below=0.88)

    outputs = open_predictor(FULL, careful, SMALL).run(columns_of([{"x": 0.85}, {"x": 0.95}, {"x": 0.5}], careful))
    answers = answer_columns(outputs, careful)

    assert answers["phase"].tolist() == ["small", "small", "full"]
    assert answers["label"].tolist() == [None, "yes", None]


def test_without_two_phases_it_is_the_graph_alone():
    outputs = open_predictor(FULL, contract(None)).run(columns_of(ROWS, contract(None)))

    assert list(outputs) == ["probabilities"]
    assert "phase" not in answer_columns(outputs, contract(None))


def test_a_contract_of_two_phases_needs_both_graphs():
    with pytest.raises(ExportError, match="toy has two phases, and there is no small model"):
        open_predictor(FULL, contract())


def test_a_small_model_of_another_shape_is_refused_by_name():
    other = Graph("other")
    other.output(other.input("x"), "probabilities", width=1)

    with pytest.raises(ExportError, match="the small model: the graph takes"):
        open_predictor(FULL, contract(), other.to_bytes())


def test_a_regression_cannot_have_two_phases():
    with pytest.raises(ValueError, match="a regression has no confidence"):
        PredictionContract.model_validate({**contract().model_dump(), "task": "regression", "classes": ()})


def test_the_small_file_says_in_itself_what_its_answers_mean():
    data = compile_small(SMALL, contract(0.8125, threshold=0.3))
    facts = {each.key: each.value for each in onnx.load_model_from_string(data).metadata_props}

    careful = onnx.load_model_from_string(compile_small(SMALL, contract(0.8125, abstain_below=0.9)))

    assert {each.key: each.value for each in careful.metadata_props}["abstain_below"] == "0.9"
    assert facts.pop("classes") == json.dumps(["no", "yes"])
    assert facts == {"use_case": "toy", "task": "binary", "threshold": "0.3", "confidence": "0.8125"}
    assert data == compile_small(SMALL, contract(0.8125, threshold=0.3))
