from __future__ import annotations

import polars as pl
import pytest

from aforo.contracts.explanation import Background
from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract
from aforo.export.explanations import Explainer
from aforo.export.inference import GraphPredictor
from aforo.graph import Graph
from aforo.workflows.answering import PROBLEM, ROW, Explaining, answer

CONTRACT = PredictionContract(
    use_case="shop",
    task="binary",
    target="bought",
    classes=("no", "yes"),
    inputs=(ColumnContract(name="share", type="number", role="feature", minimum=0, maximum=1),),
    abstain_below=0.8,
)


@pytest.fixture(scope="module")
def predictor() -> GraphPredictor:
    """The probability of yes is the share."""
    graph = Graph("share")
    share = graph.input("share")
    graph.output(graph.beside([graph.add("Sub", graph.constant(1.0), share), share]), "probabilities", width=2)
    return GraphPredictor(graph.to_bytes(), CONTRACT)


def batch(*shares: float) -> pl.DataFrame:
    numbers = pl.int_range(1, len(shares) + 1, eager=True).alias(ROW)
    return pl.DataFrame({"share": shares}).with_columns(numbers, pl.lit(None, pl.String).alias(PROBLEM))


@pytest.mark.parametrize("shares", [(0.9, 0.5, 0.1), (0.5, 0.9), (0.5,), (0.9,), ()])
def test_rows_that_abstain_stand_among_those_that_do_not_in_any_order(
    predictor: GraphPredictor, shares: tuple[float, ...]
):
    table = answer(batch(*shares), predictor, ())

    sure = [max(share, 1 - share) >= 0.8 for share in shares]
    labels = ["yes" if share >= 0.5 else "no" for share in shares]
    assert table["label"].to_list() == [label if is_sure else None for label, is_sure in zip(labels, sure, strict=True)]
    assert table["abstain_reason"].to_list() == [None if is_sure else "low_confidence" for is_sure in sure]
    assert (table.schema["label"], table.schema["abstain_reason"]) == (pl.String, pl.String)


def test_an_explanation_stands_beside_its_answer_and_a_bad_row_has_none(predictor: GraphPredictor):
    others = Background(rows=({"share": 0.2}, {"share": 0.4}), typical={"share": 0.25})
    explainer = Explainer(predictor.run, CONTRACT, others)

    table = answer(batch(0.9, 7.0, 0.1), predictor, (), Explaining(explainer, "shapley"))

    assert table["explained"].to_list() == ["yes", None, "yes"]
    assert table["baseline"].to_list() == [pytest.approx(0.3), None, pytest.approx(0.3)]
    assert table["contribution_share"].to_list() == [pytest.approx(0.6), None, pytest.approx(-0.2)]
    assert table["problem"].is_not_null().to_list() == [False, True, False]
