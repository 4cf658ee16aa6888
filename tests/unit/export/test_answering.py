from __future__ import annotations

from typing import Any

import numpy as np

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract
from aforo.export.answering import LOW_CONFIDENCE, NOT_FINITE, WIDE_INTERVAL, answer_columns

HOUR = ColumnContract(name="hour", type="integer", role="feature")


def contract(**changes: Any) -> PredictionContract:
    given = {"use_case": "a", "task": "binary", "target": "late", "classes": ("no", "yes"), "inputs": (HOUR,)}
    return PredictionContract.model_validate({**given, **changes})


def listed(outputs: dict[str, Any], asked: PredictionContract) -> dict[str, list[Any]]:
    arrays = {name: np.array(values, dtype=np.float64) for name, values in outputs.items()}
    return {name: values.tolist() for name, values in answer_columns(arrays, asked).items()}


def test_a_regression_answers_value_and_interval() -> None:
    asked = contract(task="regression", classes=())

    assert listed({"value": [[3.0]], "interval": [[2.0, 5.0]]}, asked) == {
        "value": [3.0],
        "lower": [2.0],
        "upper": [5.0],
        "abstain_reason": [None],
    }


def test_a_regression_that_is_not_finite_abstains() -> None:
    asked = contract(task="regression", classes=())

    answers = listed({"value": [[np.inf], [1.0]], "interval": [[0.0, np.inf], [0.0, 2.0]]}, asked)

    assert answers["abstain_reason"] == [NOT_FINITE, None]


def test_a_regression_abstains_from_an_interval_wider_than_its_bound() -> None:
    asked = contract(task="regression", classes=(), abstain_above=3.0)

    answers = listed({"value": [[3.0], [1.0]], "interval": [[2.0, 5.0], [0.0, 3.5]]}, asked)

    assert answers["abstain_reason"] == [None, WIDE_INTERVAL]
    assert answers["value"][0] == 3.0
    assert np.isnan(answers["value"][1])
    assert (answers["lower"], answers["upper"]) == ([2.0, 0.0], [5.0, 3.5])


def test_a_binary_label_follows_the_contracts_threshold() -> None:
    answers = listed({"probabilities": [[0.31, 0.69], [0.3, 0.7]]}, contract(threshold=0.7))

    assert answers["label"] == ["no", "yes"]
    assert answers["probability_yes"] == [0.69, 0.7]


def test_of_several_classes_the_most_probable_is_the_label_and_the_first_of_equals() -> None:
    asked = contract(task="multiclass", classes=("a", "b", "c"))

    answers = listed({"probabilities": [[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]]}, asked)

    assert answers["label"] == ["b", "a"]


def test_below_the_confidence_there_are_probabilities_and_no_label() -> None:
    answers = listed({"probabilities": [[0.45, 0.55], [0.1, 0.9]]}, contract(abstain_below=0.6))

    assert answers["label"] == [None, "yes"]
    assert answers["abstain_reason"] == [LOW_CONFIDENCE, None]
    assert answers["probability_yes"] == [0.55, 0.9]


def test_no_rows_give_empty_columns() -> None:
    answers = listed({"probabilities": np.empty((0, 2))}, contract(abstain_below=0.6))

    assert answers == {"probability_no": [], "probability_yes": [], "label": [], "abstain_reason": []}
