from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from aforo.errors import DataError
from aforo.evaluation import Subject
from aforo.evaluation.behaviour import (
    Absence,
    AbsenceFinding,
    BehaviourRule,
    Direction,
    DirectionFinding,
    Invariance,
    InvarianceFinding,
    Robustness,
    RobustnessFinding,
)
from aforo.evaluation.behaviour.damage import damaged, misspelt
from aforo.evaluation.rules import RuleOutcome


def ask(shop, rule: BehaviourRule, subject: Subject) -> tuple[RuleOutcome, InvarianceFinding]:
    outcomes, finding = rule.ask(subject, shop.measured(subject), "brier" if subject.contract.classes else "rmse")
    return outcomes[0], finding


def four_rows(shop) -> Subject:
    """Four rows by hand: blue, blue, green, red, of doses 1, 2, 3, 10."""
    table = shop.table.head(4).with_columns(
        colour=pl.Series(["blue", "blue", "green", "red"]),
        dose=pl.Series([1.0, 2.0, 3.0, 10.0]),
        group=pl.Series(["a", "a", "b", "b"]),
    )
    return Subject(shop.subject(shop.right).contract, shop.subject(shop.right).columns, None, table, shop.y[:4])


def with_predict(subject: Subject, yes) -> Subject:
    def predict(table: pl.DataFrame) -> dict[str, np.ndarray]:
        p = yes(table)
        return {"probabilities": np.column_stack([1 - p, p])}

    return Subject(subject.contract, subject.columns, predict, subject.table, subject.y)


def test_swapping_finds_the_rows_that_change_and_by_how_much(shop):
    # Red is answered with 0.6, all else with dose / 20: 0.05, 0.1, 0.15 and, for the red row, 0.6.
    def yes(table: pl.DataFrame) -> np.ndarray:
        return np.where(table["colour"] == "red", 0.6, table["dose"].to_numpy() / 20)

    outcome, finding = ask(shop, Invariance(columns=("colour",)), with_predict(four_rows(shop), yes))

    # Set to red, the first three are decided otherwise; the fourth at 0.5 (its dose of 10) stays a yes.
    swapped = finding.columns[0]
    assert swapped.values == ("blue", "green", "red")
    assert swapped.changed_share == outcome.figure == 0.75
    assert swapped.largest_change == pytest.approx(0.55)
    assert swapped.mean_change == pytest.approx((0.55 + 0.5 + 0.45 + 0.1) / 4)
    assert not outcome.passed
    first = swapped.examples[0]
    assert (first.row["id"], first.changed) == (0, "colour = red")
    assert (first.before, first.after) == pytest.approx((0.05, 0.6))


def test_a_column_that_is_not_read_passes_and_is_said_not_to_be_read(shop):
    outcome, finding = ask(shop, Invariance(columns=("group",), because="it is private"), shop.subject(shop.right))

    assert outcome.passed
    assert outcome.why == "The predictor does not take group, so nothing can change with it (it is private)."
    assert not finding.columns[0].is_read


def test_a_reaction_within_what_is_allowed_passes_both_bounds(shop):
    def yes(table: pl.DataFrame) -> np.ndarray:
        return shop.right(table) / 2 + np.where(table["member"], 0.02, 0.0)

    subject = shop.subject(yes)
    rule = Invariance(columns=("member",), max_changed_share=0.05, max_change=0.03)
    outcomes, _ = rule.ask(subject, shop.measured(subject), "brier")

    assert [outcome.passed for outcome in outcomes] == [True, True]
    assert outcomes[1].figure == pytest.approx(0.02)
    assert not rule.model_copy(update={"max_change": 0.01}).ask(subject, shop.measured(subject), "brier")[0][1].passed


def test_a_value_is_decided_otherwise_when_it_leaves_its_interval(shop):
    # Members get 3 more; intervals reach 1 to each side, so every row that is swapped leaves its own.
    subject = shop.regression(lambda table: np.where(table["member"], 3.0, 0.0))

    outcome, _ = ask(shop, Invariance(columns=("member",)), subject)

    assert outcome.figure == 1.0


def test_private_values_are_masked_in_examples(shop):
    subject = shop.subject(shop.right)

    assert subject.shown(0, "group") == {"id": 0, "group": "(private)"}


def test_a_fall_at_any_step_is_a_violation(shop):
    # Up from 0 to 5, down from 5 to 10: each row violates at the second step, by 0.2.
    def yes(table: pl.DataFrame) -> np.ndarray:
        return 0.7 - 0.04 * np.abs(table["dose"].to_numpy() - 5)

    outcome, finding = ask(shop, Direction(column="dose", along=(0, 5, 10), never="falls"), shop.subject(yes))

    assert outcome.figure == finding.violating_share == 1.0
    assert finding.worst == pytest.approx(0.2)
    assert finding.effect.value == pytest.approx(0.0, abs=1e-12)
    assert finding.examples[0].changed == "dose 5 to 10"


def test_only_rows_that_stay_within_the_bounds_are_moved(shop):
    # Of doses 1, 2, 3 and 10, the last cannot grow; the others rise by 0.08 for each unit.
    subject = with_predict(four_rows(shop), shop.right)

    outcome, finding = ask(shop, Direction(column="dose", by=(1, 2), never="falls"), subject)

    assert (outcome.passed, finding.rows) == (True, 3)
    assert finding.effect.value == pytest.approx(0.16)
    assert finding.steps == (0.0, 1.0, 2.0)


def test_an_expectation_that_no_row_can_test_is_not_met(shop):
    subject = with_predict(four_rows(shop), shop.right)

    outcome, _ = ask(shop, Direction(column="dose", by=(9.5,), never="falls"), subject)

    assert not outcome.passed
    assert "No test row can be moved along dose" in outcome.why


def test_the_tolerance_and_the_share_forgive_no_more_than_they_say(shop):
    # Reds, and they alone, fall by 0.01 with a higher count.
    def yes(table: pl.DataFrame) -> np.ndarray:
        return 0.5 + np.where(table["colour"] == "red", -0.01, 0.01) * (table["count"].to_numpy() == 5)

    reds = float((shop.table["colour"] == "red").mean())
    rule = Direction(column="count", along=(0, 5), never="falls")

    assert ask(shop, rule, shop.subject(yes))[0].figure == pytest.approx(reds)
    assert ask(shop, rule.model_copy(update={"tolerance": 0.01}), shop.subject(yes))[0].passed
    assert not ask(shop, rule.model_copy(update={"tolerance": 0.009}), shop.subject(yes))[0].passed
    assert ask(shop, rule.model_copy(update={"max_share": reds}), shop.subject(yes))[0].passed


def test_on_average_a_minority_may_go_the_other_way(shop):
    def yes(table: pl.DataFrame) -> np.ndarray:
        return 0.5 + np.where(table["colour"] == "red", -0.01, 0.01) * (table["count"].to_numpy() == 5)

    rule = Direction(column="count", along=(0, 5), never="falls", holds="on_average")
    outcome, finding = ask(shop, rule, shop.subject(yes))

    reds = float((shop.table["colour"] == "red").mean())
    assert outcome.passed
    assert finding.effect.value == pytest.approx(0.01 * (1 - 2 * reds))
    assert not ask(shop, rule.model_copy(update={"never": "rises"}), shop.subject(yes))[0].passed


def test_a_predictor_that_hangs_on_noise_is_brittle_and_the_column_is_named(shop):
    # A flicker that a tenth of a standard deviation of the dose turns over.
    def brittle(table: pl.DataFrame) -> np.ndarray:
        dose = table["dose"].fill_null(5.0).to_numpy()
        return np.where(np.isin(dose, np.round(dose, 1)), shop.right(table), 1 - shop.right(table))

    rule = Robustness(damage=("noise",), max_changed_share=0.1)
    subject = shop.subject(brittle)
    outcomes, finding = rule.ask(subject, shop.measured(subject), "brier")

    assert [outcome.passed for outcome in outcomes] == [False, False]
    assert finding.columns[0].column == "dose"
    assert [sensitivity.mean_change for sensitivity in finding.columns[1:]] == [0.0]


def test_a_steady_predictor_is_robust(shop):
    rule = Robustness(level=0.05)

    outcome, finding = ask(shop, rule, shop.subject(shop.right))

    assert outcome.passed
    assert {point.what for point in finding.curve} == {"noise", "typing_errors", "missing_values", "all"}
    assert sorted({point.level for point in finding.curve}) == [0.025, 0.05, 0.1]


def test_the_loss_under_damage_is_that_of_the_damaged_rows(shop):
    # The only column that is read can only be missing: then 0.5 is answered instead of 0 or 1.
    table = shop.table.with_columns(dose=pl.Series(np.where(shop.y, 10.0, 0.0)))

    def sure(table: pl.DataFrame) -> np.ndarray:
        return table["dose"].fill_null(5.0).to_numpy() / 10

    subject = Subject(
        shop.subject(sure).contract, shop.subject(sure).columns, shop.subject(sure).predict, table, shop.y
    )
    rule = Robustness(damage=("missing_values",), columns=("dose",), level=0.4, repeats=50)
    _, finding = ask(shop, rule, subject)

    # Brier: 0 before, and (1/2)^2 for the 40 % of rows that lost their dose.
    assert finding.lost.value == pytest.approx(0.25 * 0.4, abs=0.005)
    # At 0.5 the answer is yes: the noes among the damaged rows turn over.
    assert finding.changed_share == pytest.approx(0.4 * (1 - shop.y.mean()), abs=0.02)


@pytest.mark.parametrize("told", [0.13, 0.5])
def test_without_a_column_the_figures_are_those_of_what_is_then_told(shop, told: float):
    def yes(table: pl.DataFrame) -> np.ndarray:
        return np.where(table["dose"].is_null(), told, shop.right(table))

    subject = shop.subject(yes)
    outcomes, finding = Absence(columns=("dose",)).ask(subject, shop.measured(subject), "brier")

    # One value is claimed everywhere, so the calibration error is its distance from the share of buyers.
    assert finding.without["ece"].value == pytest.approx(abs(told - shop.y.mean()))
    brier = {
        name: ((claim - shop.y) ** 2).mean() for name, claim in (("with", shop.right(shop.table)), ("without", told))
    }
    assert finding.complete["brier"].value == pytest.approx(brier["with"])
    assert finding.lost.value == pytest.approx(brier["without"] - brier["with"])
    assert [outcome.name for outcome in outcomes] == [
        "worth_asking_without_dose", "worth_asking_without_dose_calibrated",
    ]  # fmt: skip
    # Half of the visitors buy, and the baseline says so: whoever forgets the dose is as good as that at best.
    assert [outcome.passed for outcome in outcomes] == [False, told == 0.5]


def test_a_predictor_that_does_without_a_column_may_miss_it(shop):
    subject = shop.subject(lambda table: np.full(table.height, 0.5))

    outcomes, finding = Absence(columns=("dose",), lost_share=0.0).ask(subject, shop.measured(subject), "brier")

    assert finding.lost.value == 0
    assert all(outcome.passed for outcome in outcomes)
    assert outcomes[0].why.startswith("Brier score: without dose the candidate is worse by 0 [0, 0] on 200 rows")


def test_without_a_column_intervals_still_hold_what_they_promise(shop):
    def value(table: pl.DataFrame) -> np.ndarray:
        return np.where(table["dose"].is_null(), 9.0, shop.right(table))

    subject = shop.regression(value, half_width=0.2)
    outcomes, finding = Absence(columns=("dose",)).ask(subject, shop.measured(subject), "rmse")

    assert finding.complete["interval_coverage"].value == 1
    assert finding.without["interval_coverage"].value == 0
    assert not outcomes[1].passed
    assert outcomes[1].why.startswith("Without dose: The intervals hold 0.0% of the true values and promise 90.0%")


def test_damage_keeps_to_the_contract(shop):
    columns = shop.subject(shop.right).columns
    names = ("dose", "count", "colour", "town", "member")
    kinds = ("noise", "typing_errors", "missing_values")

    table = damaged(shop.table, columns, names, kinds, 0.5, np.random.default_rng(0))

    assert table.schema == shop.table.schema
    assert table["dose"].drop_nulls().is_between(0, 10).all()
    assert table["dose"].null_count() > 0
    assert table["count"].is_between(0, 5).all()
    assert table["count"].null_count() == table["colour"].null_count() == 0
    assert set(table["colour"]) == {"blue", "green", "red"}
    assert set(table["town"]) > {"Lima", "Oslo", "Quito"}
    for name in names:
        assert not table[name].equals(shop.table[name])


def test_noise_has_the_stated_share_of_the_columns_spread(shop):
    columns = shop.subject(shop.right).columns
    table = pl.DataFrame({"dose": 5 + np.random.default_rng(0).normal(0, 0.5, 20_000)})

    moved = damaged(table, columns, ("dose",), ("noise",), 0.2, np.random.default_rng(1))

    assert (moved["dose"] - table["dose"]).std() == pytest.approx(0.2 * table["dose"].std(), rel=0.02)


@pytest.mark.parametrize("text", ["Lima", "aa", "a", "東京"])
def test_a_slip_of_the_finger_always_shows(text: str):
    slips = {misspelt(text, np.random.default_rng(seed)) for seed in range(200)}

    assert text not in slips
    assert "" not in slips
    assert all(abs(len(slip) - len(text)) <= 1 for slip in slips)


def test_a_sample_is_the_same_whatever_is_drawn_besides(shop):
    subject = shop.subject(shop.right)

    assert subject.sample(50).table.equals(subject.sample(50).table)
    assert subject.sample(50).table["id"].is_sorted()
    assert subject.sample(1000) is subject


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Invariance(columns=("color",)), "'color', which is not in data.columns"),
        (Invariance(columns=("colour",), values=("pink",)), "'pink' is no value of column 'colour'"),
        (Invariance(columns=("count",), values=(1.5,)), "1.5 is no value of column 'count'"),
        (Direction(column="group", along=("a", "b"), never="falls"), "no candidate reads column 'group'"),
        (Direction(column="dose", along=(0, 11), never="falls"), "a number from 0 to 10"),
        (Direction(column="colour", by=(1,), never="falls"), "column 'colour' is a string"),
        (Direction(column="count", by=(0.5,), never="falls"), "holds whole numbers"),
        (Direction(column="dose", by=(1,), never="falls", label="yes"), "leave `label` out"),
        (Absence(columns=("group",)), "no candidate reads column 'group'"),
        (Absence(columns=("dosis",)), "'dosis', which is not in data.columns"),
        (Absence(columns=("dose", "count")), "column 'count' is never missing"),
        (Robustness(columns=("group",)), "no candidate reads column 'group'"),
        (Robustness(columns=("town",), damage=("missing_values",)), "can suffer missing_values"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_asked_of_a_table_is_refused(shop, rule: BehaviourRule, message: str):
    subject = shop.subject(shop.right)

    with pytest.raises(ValueError, match=message):
        rule.check(subject.columns, subject.contract)


def test_a_direction_needs_one_way_to_move():
    with pytest.raises(ValidationError, match="either `along`"):
        Direction(column="dose", never="falls")


def test_an_interval_is_needed_to_say_that_a_value_was_decided_otherwise(shop):
    def bare(table: pl.DataFrame) -> dict[str, np.ndarray]:
        return {"value": table["dose"].to_numpy()[:, None]}

    with_interval = shop.regression(shop.right)
    subject = Subject(with_interval.contract, with_interval.columns, bare, shop.table, shop.truth)

    with pytest.raises(DataError, match="gives no interval"):
        Invariance(columns=("dose",)).ask(subject, shop.measured(with_interval), "rmse")


def test_findings_are_of_their_own_kind(shop):
    subject = shop.subject(shop.right)
    kinds = [
        type(rule.ask(subject, shop.measured(subject), "brier")[1])
        for rule in (
            Invariance(columns=("town",)),
            Direction(column="dose", by=(1,), never="falls"),
            Robustness(),
            Absence(columns=("dose",)),
        )
    ]

    assert kinds == [InvarianceFinding, DirectionFinding, RobustnessFinding, AbsenceFinding]
