"""Explanations of functions of plain numbers, so that what is right can be worked out by hand or by another library.

The figures of SHAP are those of shap 0.51.0 with NumPy only, for each function ``f`` over D columns and the row ``x``::

    masker = shap.maskers.Independent(background(6, D), max_samples=100)
    found = shap.explainers.Exact(f, masker)(np.array([x]))
    print(found.base_values[0], found.values[0])
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aforo.contracts.explanation import Background
from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract
from aforo.errors import ExplanationTooSlow
from aforo.export.explanations import Explainer

Function = Callable[[np.ndarray], np.ndarray]


def contract(columns: int, **changes: object) -> PredictionContract:
    inputs = tuple(ColumnContract(name=f"c{i}", type="number", role="feature", nullable=True) for i in range(columns))
    given = {"use_case": "shop", "task": "binary", "target": "bought", "classes": ("no", "yes"), "inputs": inputs}
    return PredictionContract.model_validate({**given, **changes})


def background(rows: int, columns: int) -> np.ndarray:
    i, j = np.arange(rows)[:, None], np.arange(columns)
    return ((7 * i + 3 * j * j + 1) % 11) / 10


def explainer(f: Function, columns: int, *, rows: int = 6, clock: Callable[[], float] | None = None) -> Explainer:
    """Explain ``f``, from a matrix (N, D) to the probability of yes."""

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        yes = f(np.hstack([inputs[f"c{i}"] for i in range(columns)]))
        return {"probabilities": np.column_stack([1 - yes, yes])}

    others = Background(
        rows=tuple(row_of(values) for values in background(rows, columns)), typical=row_of([0.5] * columns)
    )
    return Explainer(run, contract(columns), others, **({} if clock is None else {"clock": clock}))


def row_of(values: object) -> dict[str, float]:
    return {f"c{i}": float(value) for i, value in enumerate(values)}


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def small(X: np.ndarray) -> np.ndarray:
    return sigmoid(2 * X[:, 0] - X[:, 1] * X[:, 2] + np.maximum(X[:, 3] - 0.4, 0) * X[:, 0] - 0.5)


def wide(X: np.ndarray) -> np.ndarray:
    together = 3 * X[:, 0] * X[:, 9] * X[:, 4] - 2 * (X[:, 2] > 0.5) * X[:, 7]
    return sigmoid(X @ np.linspace(-1, 1, 10) + together)


SMALL_ROW = row_of([0.9, 0.2, 0.7, 1.0])
WIDE_ROW = row_of([0.9, 0.2, 0.7, 1.0, 0.6, 0.0, 0.3, 0.8, 0.5, 0.95])


def test_few_columns_have_the_exact_shapley_values_of_shap():
    found = explainer(small, 4).explain(SMALL_ROW)

    assert found.baseline == pytest.approx(0.5148576265086245, abs=1e-12)
    assert list(found.contributions.values()) == pytest.approx(
        [0.262653201944, 0.036559042344, -0.014118235052, 0.045583099171], abs=1e-10
    )
    assert set(found.standard_errors.values()) == {0.0}
    assert found.permutations is None


def test_many_columns_have_shaps_exact_values_within_four_standard_errors():
    found = explainer(wide, 10).explain(WIDE_ROW)

    # 2 directions, 6 rows of the background, 4 rounds.
    assert found.permutations == 48
    assert found.baseline == pytest.approx(0.5573518074937177, abs=1e-12)
    by_shap = [
        0.007289327918, 0.048737169852, -0.224860141721, -0.034579594385, 0.079790432651,
        -0.013040120216, -0.017793670371, -0.090453448324, -0.002285675555, 0.184316360081,
    ]  # fmt: skip
    for name, expected in zip(found.contributions, by_shap, strict=True):
        assert abs(found.contributions[name] - expected) <= 4 * found.standard_errors[name] + 1e-4
    assert max(found.standard_errors.values()) < 0.01


def test_the_standard_error_is_how_far_other_draws_are_apart():
    # Columns that a function does not tell apart, in rows with other values in those it does not read at all: other
    # seeds, the same Shapley values.
    def f(X: np.ndarray) -> np.ndarray:
        return sigmoid(6 * X[:, 0] * X[:, 1] * X[:, 2] - 4 * (X[:, 3] > 0.5) * X[:, 4])

    asked = explainer(f, 10)
    found = [asked.explain(row_of([0.9, 0.8, 0.7, 1, 0.6, *np.full(5, k / 100)])) for k in range(200)]

    spread = np.std([each.contributions["c0"] for each in found], ddof=1)
    claimed = np.sqrt(np.mean([each.standard_errors["c0"] ** 2 for each in found]))
    # The spread of 200 draws is within a tenth or so of what it estimates.
    assert claimed == pytest.approx(spread, rel=0.2)


@given(st.lists(st.floats(-5, 5), min_size=10, max_size=10), st.sampled_from(["shapley", "baseline"]))
def test_an_explanation_adds_up_to_the_prediction(values, method):
    for f, columns in ((wide, 10), (small, 4)):
        found = explainer(f, columns, rows=3).explain(row_of(values[:columns]), method)

        total = found.baseline + sum(found.contributions.values()) + found.rest
        assert math.isclose(total, found.output, abs_tol=1e-9)
        assert found.output == f(np.array([values[:columns]]))[0]


def test_a_column_that_is_not_read_contributes_nothing():
    found = explainer(lambda X: sigmoid(X[:, 0]), 9).explain(row_of(np.linspace(0, 1, 9)))

    assert [found.contributions[f"c{i}"] for i in range(1, 9)] == [0.0] * 8
    assert found.contributions["c0"] == pytest.approx(found.output - found.baseline)


def test_the_same_row_has_the_same_explanation_and_another_row_other_draws():
    first, again = explainer(wide, 10), explainer(wide, 10)

    assert first.explain(WIDE_ROW) == again.explain({**dict(reversed(WIDE_ROW.items())), "c3": 1})
    assert first.explain(WIDE_ROW).standard_errors != first.explain({**WIDE_ROW, "c5": 0.01}).standard_errors


def test_the_baseline_method_is_shapleys_where_two_columns_at_most_act_together():
    def f(X: np.ndarray) -> np.ndarray:
        return (X[:, 0] + 2 * X[:, 1] * X[:, 2] - X[:, 3] ** 2) / 10 + 0.5

    found = explainer(f, 4).explain(SMALL_ROW, "baseline")

    # Against 0.5 everywhere: (0.9 - 0.5) / 10; the product 2 (0.2 * 0.7 - 0.25) / 10 by halves as each comes first and
    # last: c1 (-0.3 * 0.5 - 0.3 * 0.7) / 10, c2 (0.2 * 0.5 + 0.2 * 0.2) / 10; and (0.25 - 1) / 10.
    assert list(found.contributions.values()) == pytest.approx([0.04, -0.036, 0.014, -0.075])
    assert found.rest == pytest.approx(0.0, abs=1e-15)
    assert found.baseline == pytest.approx(0.5 + (0.5 + 0.5 - 0.25) / 10)
    assert found.standard_errors is None


def test_what_three_columns_do_together_is_the_rest_of_the_baseline_method():
    found = explainer(lambda X: (X[:, 0] - 0.5) * (X[:, 1] - 0.5) * (X[:, 2] - 0.5), 3).explain(
        row_of([1, 1, 1]), "baseline"
    )

    # 0.125 in all; each comes first for nothing and goes last for all of it: three halves, so minus one half is left.
    assert list(found.contributions.values()) == pytest.approx([0.0625] * 3)
    assert found.rest == pytest.approx(-0.0625)


def test_missing_values_and_texts_take_part():
    inputs = (
        ColumnContract(name="town", type="string", role="feature", nullable=True),
        ColumnContract(name="size", type="number", role="feature", nullable=True),
    )

    def run(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        value = 2.0 * (columns["town"] == "Lima") + np.where(np.isnan(columns["size"]), 10.0, columns["size"])
        return {"value": value}

    others = Background(rows=({"town": "Oslo", "size": 1}, {"town": "Lima", "size": 3}), typical={"size": 2})
    asked = contract(2, task="regression", classes=(), inputs=inputs)
    found = Explainer(run, asked, others).explain({"town": "Lima"})

    # Towns are worth 0 and 2 in the background, 1 on average; sizes 2 on average. Nothing acts together.
    assert found.contributions == pytest.approx({"town": 1.0, "size": 8.0})
    assert (found.of, found.scale, found.output, found.baseline) == ("bought", "value", 12.0, 3.0)


def test_of_several_classes_the_most_probable_one_is_explained():
    def run(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        scores = np.hstack([columns["c0"], 2 * columns["c1"], 0 * columns["c0"]])
        powers = np.exp(scores)
        return {"probabilities": powers / powers.sum(axis=1, keepdims=True)}

    asked = contract(2, task="multiclass", classes=("a", "b", "c"))
    others = Background(rows=(row_of([0, 0]), row_of([0.1, 0.1])), typical=row_of([0, 0]))
    one, other = (Explainer(run, asked, others).explain(row_of(values)) for values in ([3, 0], [0, 3]))

    assert (one.of, other.of) == ("a", "b")
    assert one.output == pytest.approx(math.exp(3) / (math.exp(3) + 2))


def test_an_answer_that_is_not_finite_has_no_explanation():
    assert explainer(lambda X: X[:, 0] * np.nan, 4).explain(SMALL_ROW) is None


def test_little_time_gives_fewer_permutations_and_none_left_gives_up():
    def asked() -> Explainer:
        ticks = itertools.count()
        return explainer(wide, 10, clock=lambda: float(next(ticks)))

    unlimited = asked().explain(WIDE_ROW)
    hurried = asked().explain(WIDE_ROW, soft_deadline=5.0)

    assert (hurried.permutations, unlimited.permutations) == (24, 48)
    assert hurried.baseline == unlimited.baseline
    assert max(hurried.standard_errors.values()) < 0.02
    with pytest.raises(ExplanationTooSlow, match="not ready at its deadline"):
        asked().explain(WIDE_ROW, deadline=1.0)
