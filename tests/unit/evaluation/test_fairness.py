"""Groups in the answers: rates by hand and as fairlearn has them, and what the gate makes of them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from fairlearn.metrics import (
    MetricFrame,
    demographic_parity_difference,
    demographic_parity_ratio,
    equalized_odds_difference,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from loans import COLUMNS, CONTRACT, FEW, applicants
from pydantic import ValidationError
from scipy.special import ndtri
from sklearn.metrics import precision_score

from aforo.evaluation import GateSpec, Subject
from aforo.evaluation.fairness import CutRates, Fair, FairnessSpec, fair, group_rates


def rates_of(subject: Subject, **spec: object) -> CutRates:
    declared = FairnessSpec.model_validate({"by": ["origin"], "min_rows": 2, **spec})
    return group_rates(subject, subject.answers(), declared, FEW)[0]


def by_hand(labels: list[str], claims: list[float], truth: list[int]) -> Subject:
    table = pl.DataFrame({"origin": labels, "income": claims})

    def predict(asked: pl.DataFrame) -> dict[str, np.ndarray]:
        yes = asked["income"].to_numpy()
        return {"probabilities": np.column_stack([1 - yes, yes])}

    return Subject(CONTRACT, COLUMNS, predict, table, np.array(truth))


def test_rates_of_two_groups_by_hand():
    # North: two of four are answered yes, one rightly; of two that repaid one is answered yes.
    # South: one of four is answered yes, rightly; of one that repaid one, and none of three that did not.
    # All ten times over, so that no resample is without a row of each sort.
    claims, truth = [0.9, 0.8, 0.1, 0.4, 0.7, 0.2, 0.3, 0.1], [1, 0, 1, 0, 1, 0, 0, 0]
    subject = by_hand((["north"] * 4 + ["south"] * 4) * 10, claims * 10, truth * 10)

    found = rates_of(subject)

    north, south = ({name: rate.value for name, rate in group.rates.items()} for group in found.groups)
    assert north == pytest.approx(
        {
            "positive": 0.5, "selection": 0.5, "true_positive": 0.5, "false_positive": 0.5, "precision": 0.5,
            "accuracy": 0.5, "excess": (2.2 - 2) / 4,
        }
    )  # fmt: skip
    assert south == pytest.approx(
        {
            "positive": 0.25, "selection": 0.25, "true_positive": 1.0, "false_positive": 0.0, "precision": 1.0,
            "accuracy": 1.0, "excess": (1.3 - 1) / 4,
        }
    )  # fmt: skip
    assert found.groups[1].over == {
        "positive": 40, "selection": 40, "true_positive": 10, "false_positive": 30, "precision": 10, "accuracy": 40,
        "excess": 40,
    }  # fmt: skip
    # North claims 0.05 too much in the mean, and south 0.075.
    assert {one.name: one.difference.value for one in found.disparities} == pytest.approx(
        {"demographic_parity": 0.25, "equalised_odds": 0.5, "bias": 0.025}
    )


def test_a_rate_that_few_resamples_define_is_left_out():
    subject = by_hand(["north"] * 16 + ["south"] * 4, [0.9, 0.1] * 10, [1, 0] * 10)

    north, south = rates_of(subject).groups

    assert {"selection", "true_positive"} <= set(north.rates)
    assert "true_positive" not in south.rates
    assert south.over["true_positive"] == 2


def test_the_rates_are_those_of_fairlearn():
    subject = applicants(1500, 1, gap=0.8)
    answers = subject.answers()

    found = rates_of(subject, by=["origin", "woman", ["origin", "woman"]])

    origin = subject.table["origin"].to_numpy()
    theirs = MetricFrame(
        metrics={
            "selection": selection_rate, "true_positive": true_positive_rate, "false_positive": false_positive_rate,
            "precision": precision_score,
        },
        y_true=subject.y, y_pred=answers.labels, sensitive_features=origin,
    )  # fmt: skip
    for group in found.groups:
        for name, value in theirs.by_group.loc[group.where["origin"]].items():
            assert group.rates[name].value == pytest.approx(value)
    ours = {one.name: one for one in found.disparities}
    asked = {"y_true": subject.y, "y_pred": answers.labels, "sensitive_features": origin}
    assert ours["demographic_parity"].difference.value == pytest.approx(demographic_parity_difference(**asked))
    assert ours["demographic_parity"].ratio.value == pytest.approx(demographic_parity_ratio(**asked))
    assert ours["equalised_odds"].difference.value == pytest.approx(equalized_odds_difference(**asked))


def test_combinations_of_columns_are_groups_too():
    subject = applicants(1500, 1, gap=0.8)
    spec = FairnessSpec(by=(("origin", "woman"),), min_rows=2)

    (found,) = group_rates(subject, subject.answers(), spec, FEW)

    both = subject.table.select("origin", "woman").to_pandas()
    asked = {"y_true": subject.y, "y_pred": subject.answers().labels, "sensitive_features": both}
    assert len(found.groups) == 4
    assert {one.name: one.difference.value for one in found.disparities}["equalised_odds"] == pytest.approx(
        equalized_odds_difference(**asked)
    )


def test_what_is_proven_is_the_lower_bound_for_all_pairs_at_once():
    subject = applicants(1500, 1, gap=0.8)
    found = next(one for one in rates_of(subject).disparities if one.name == "demographic_parity")

    chosen = subject.answers().labels
    south = (subject.table["origin"] == "south").to_numpy()
    # Independent rows, two ordered pairs: z at 0.05 / 2, and the error of a difference of two shares. The error by
    # draws may exceed that of as many rows with the spread of all, by a little.
    error = np.sqrt(chosen.mean() * (1 - chosen.mean()) * (1 / south.sum() + 1 / (~south).sum()))
    expected = found.difference.value + ndtri(0.05 / 2) * error
    assert found.proven == pytest.approx(expected, abs=0.006)
    assert found.proven <= expected + 1e-12


def test_rows_that_belong_together_widen_the_interval():
    subject = applicants(1200, 2)
    # Every row ten times, as one group each: ten times the rows, and no more to know.
    ten = np.repeat(np.arange(1200), 10)
    repeated = Subject(CONTRACT, COLUMNS, subject.predict, subject.table[ten], subject.y[ten], ten)

    widths = [
        next(d.difference.upper - d.difference.lower for d in rates_of(each).disparities if d.name == "bias")
        for each in (subject, repeated)
    ]

    assert widths[1] == pytest.approx(widths[0], rel=0.2)


def test_a_regression_has_bias_error_and_coverage_by_hand():
    contract = CONTRACT.model_copy(update={"task": "regression", "classes": (), "coverage": 0.9})
    table = pl.DataFrame({"origin": (["north"] * 3 + ["south"] * 2) * 5})
    value = np.array([1.0, 2.0, 3.0, 4.0, 6.0] * 5)
    truth = np.array([0.0, 2.0, 5.0, 4.0, 4.0] * 5)

    def predict(asked: pl.DataFrame) -> dict[str, np.ndarray]:
        return {"value": value[:, None], "interval": np.column_stack([value - 1, value + 1])}

    found = rates_of(Subject(contract, COLUMNS, predict, table, truth))

    means = [{name: rate.value for name, rate in group.rates.items()} for group in found.groups]
    assert means[0] == pytest.approx({"mean": 7 / 3, "bias": -1 / 3, "absolute_error": 1.0, "coverage": 2 / 3})
    assert means[1] == pytest.approx({"mean": 4.0, "bias": 1.0, "absolute_error": 1.0, "coverage": 0.5})
    assert {one.name: one.difference.value for one in found.disparities} == pytest.approx(
        {"bias": 4 / 3, "error": 0.0, "coverage": 1 / 6}
    )


def test_an_unfair_candidate_is_refused_and_a_fair_one_is_not():
    rule = Fair(max_equalised_odds=0.1, max_bias=0.05)

    good = fair([rates_of(applicants(3000, 3), min_rows=30)], rule)
    bad = fair([rates_of(applicants(3000, 3, unfair=1.2), min_rows=30)], rule)

    assert [one.passed for one in good] == [True, True]
    assert [one.name for one in bad if not one.passed] == ["fair_in_equalised_odds", "fair_in_bias"]
    assert "between origin is north and origin is south" in bad[0].why
    assert bad[0].figure > bad[0].bound == 0.1


def test_a_bound_that_fails_can_be_left_to_a_person():
    asked = {"fair": {"max_bias": 0.1}, "ask": ["fair_in_bias"]}
    GateSpec.model_validate(asked).check(COLUMNS, CONTRACT, FairnessSpec(by=("origin",)))

    with pytest.raises(ValueError, match=r"gate\.ask names fair_in_accuracy.* fair_in_bias"):
        GateSpec.model_validate({**asked, "ask": ["fair_in_accuracy"]}).check(
            COLUMNS, CONTRACT, FairnessSpec(by=("origin",))
        )


def test_what_chance_explains_refuses_nobody():
    """Twenty fair predictors on few rows each: their differences look large, and none is proven."""
    refused = 0
    for seed in range(20):
        found = rates_of(applicants(300, 100 + seed), by=["origin", "woman"], min_rows=10)
        refused += not all(one.passed for one in fair([found], Fair(max_equalised_odds=0.0)))

    assert refused <= 2


def test_groups_that_are_too_small_are_named_and_cannot_pass_for_fair():
    found = rates_of(applicants(300, 4), min_rows=1000)
    (outcome,) = fair([found], Fair(max_demographic_parity=0.1))
    assert (outcome.passed, outcome.figure) == (False, None)
    assert "no two groups have rows enough" in outcome.why

    rows = applicants(3000, 4)
    three = rows.table.with_columns(pl.Series("origin", ["west"] * 9 + rows.table["origin"].to_list()[9:]))
    subject = Subject(CONTRACT, COLUMNS, rows.predict, three, rows.y)
    (outcome,) = fair([rates_of(subject, min_rows=30)], Fair(max_demographic_parity=0.2))
    assert outcome.passed
    assert "too few rows to judge: origin is west" in outcome.why


def test_a_rule_looks_at_the_cuts_it_names():
    subject = applicants(3000, 3, unfair=1.2)
    spec = FairnessSpec(by=("origin", "woman"))
    found = group_rates(subject, subject.answers(), spec, FEW)

    assert [one.passed for one in fair(found, Fair(max_bias=0.05))] == [False]
    assert [one.passed for one in fair(found, Fair(by=("woman",), max_bias=0.05))] == [True]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"by": ["name"]}, "cannot be cut by 'name'"),
        ({"by": ["orign"]}, "which is not in data.columns"),
        ({"by": ["origin"], "reference": {"woman": {"true": 0.5, "false": 0.5}}}, "not in fairness.by"),
        ({"by": ["origin"], "reference": {"origin": {"east": 1.0}}}, "names east; expected values of it: north, south"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(rule: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        FairnessSpec.model_validate(rule).check(COLUMNS)


def test_shares_of_a_reference_add_up():
    with pytest.raises(ValidationError, match=r"adds up to 0\.8; expected 1"):
        FairnessSpec(by=("origin",), reference={"origin": {"north": 0.5, "south": 0.3}})


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"max_coverage": 0.1}, "cannot be asked of a binary; expected max_demographic_parity, max_equalised_odds"),
        ({"max_bias": 0.1, "by": ["woman"]}, "names woman; expected some of fairness.by: origin"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(rule: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        Fair.model_validate(rule).check(FairnessSpec(by=("origin",)), CONTRACT)
    with pytest.raises(ValueError, match=r"name them in fairness\.by"):
        Fair(max_bias=0.1).check(None, CONTRACT)
    with pytest.raises(ValidationError, match="asks nothing"):
        Fair()
