"""What holds for every kind of behavioural rule, by being in the union."""

from __future__ import annotations

from typing import get_args

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract, TableContract
from aforo.evaluation import Answers, BootstrapSpec, EvaluationSpec, Subject
from aforo.evaluation.behaviour import BehaviourFinding, BehaviourRule, BehaviourSpec
from aforo.evaluation.evaluate import Comparison, compare

KINDS = [kind.model_fields["kind"].default for kind in get_args(get_args(BehaviourSpec)[0])]
ONE_LINE = {
    "invariant": {"columns": ["speed"]},
    "directional": {"column": "speed", "along": [1, 2, 3], "never": "falls"},
    "robust": {},
    "absent": {"columns": ["speed"]},
}
TABLE = TableContract(
    columns=(
        ColumnContract(name="speed", type="number", role="feature", nullable=True),
        ColumnContract(name="sort", type="string", role="feature"),
        ColumnContract(name="late", type="boolean", role="target"),
    )
)
CONTRACT = PredictionContract(
    use_case="trains", task="binary", target="late", inputs=TABLE.columns[:2], classes=("no", "yes")
)


@pytest.fixture(params=KINDS)
def rule(request: pytest.FixtureRequest) -> BehaviourRule:
    return TypeAdapter(BehaviourSpec).validate_python({"kind": request.param, **ONE_LINE[request.param]})


def always(answer: float, rows: int = 300) -> Subject:
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"speed": rng.normal(size=rows), "sort": rng.choice(["a", "b"], rows)})
    y = (rng.random(rows) < 0.3).astype(np.int64)

    def predict(rows: pl.DataFrame) -> dict[str, np.ndarray]:
        return {"probabilities": np.tile([1 - answer, answer], (rows.height, 1))}

    return Subject(CONTRACT, TABLE, predict, table, y)


def measured(subject: Subject) -> Comparison:
    answers: Answers = subject.answers()
    spec = EvaluationSpec(bootstrap=BootstrapSpec(resamples=100))
    return compare({"candidate": answers, "baseline": answers}, spec, groups=None, seed=0)


def test_one_line_is_enough(rule: BehaviourRule) -> None:
    rule.check(TABLE, CONTRACT)


def test_a_predictor_that_never_reacts_passes(rule: BehaviourRule) -> None:
    subject = always(0.3)

    outcomes, _ = rule.ask(subject, measured(subject), "brier")

    assert all(outcome.passed for outcome in outcomes)


def test_the_same_question_gets_the_same_answer(rule: BehaviourRule) -> None:
    subject = always(0.3)

    assert rule.ask(subject, measured(subject), "brier") == rule.ask(subject, measured(subject), "brier")


def test_a_finding_survives_as_json(rule: BehaviourRule) -> None:
    subject = always(0.3)
    finding = rule.ask(subject, measured(subject), "brier")[1]

    assert TypeAdapter(BehaviourFinding).validate_json(finding.model_dump_json()) == finding


def test_it_is_called_by_its_name_and_gives_its_reason(rule: BehaviourRule) -> None:
    named = rule.model_copy(update={"name": "my_rule", "because": "I say so"})
    subject = always(0.3)

    outcomes, finding = named.ask(subject, measured(subject), "brier")

    assert finding.rule == outcomes[0].name == "my_rule"
    assert outcomes[0].why.endswith("(I say so).")


def test_it_asks_no_more_rows_than_it_may(rule: BehaviourRule) -> None:
    subject = always(0.3)

    _, finding = rule.model_copy(update={"rows": 40}).ask(subject, measured(subject), "brier")

    assert finding.rows == 40


def test_every_kind_has_an_example_here() -> None:
    assert set(ONE_LINE) == set(KINDS)
