"""One candidate for each way of being bad: refused for that reason, and for no other. The good one is promoted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from aforo.evaluation import EvaluationSpec, GateReport, GateSpec, judge
from aforo.evaluation.fairness import FairnessSpec


def reasons(report: GateReport) -> list[str]:
    return [rule.name for rule in report.rules if not rule.passed]


def test_the_good_candidate_is_promoted(large_shop):
    report = large_shop.judged(large_shop.right)

    assert report.verdict == "promote"
    assert [finding.kind for finding in report.behaviour] == ["invariant", "directional", "robust"]
    assert GateReport.model_validate_json(report.to_json()) == report


def favours_members(shop, table: pl.DataFrame) -> np.ndarray:
    return np.clip(shop.right(table) + np.where(table["member"], 0.03, -0.03), 0, 1)


def stumbles_at_high_doses(shop, table: pl.DataFrame) -> np.ndarray:
    right = shop.right(table)
    return np.where(right > 0.85, 0.8, right)


def reads_the_last_digit(shop, table: pl.DataFrame) -> np.ndarray:
    """Right about every dose that was written to a tenth, as all are here, and lost with any other."""
    dose = table["dose"].fill_null(5.0).to_numpy()
    return np.where(np.abs(dose - np.round(dose, 1)) < 1e-9, shop.right(table), 0.5)


def is_lost_in_a_corner(shop, table: pl.DataFrame) -> np.ndarray:
    corner = ((table["town"] == "Quito") & (table["colour"] == "red")).to_numpy()
    return np.where(corner, 0.25, shop.right(table))


def knows_two_answers(shop, table: pl.DataFrame) -> np.ndarray:
    """Calibrated, and as sure of a hard row as of an easy one."""
    return np.where(shop.right(table) > 0.5, 0.7, 0.3)


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        (favours_members, "invariant_to_member"),
        (stumbles_at_high_doses, "never_falls_with_dose"),
        (reads_the_last_digit, "robust_to_damage"),
        (is_lost_in_a_corner, "no_weak_slice"),
        (knows_two_answers, "sure_answers"),
    ],
)
def test_a_bad_candidate_is_refused_for_its_own_reason(large_shop, bad: Callable[..., np.ndarray], rule: str):
    report = large_shop.judged(lambda table: bad(large_shop, table))

    assert reasons(report) == [rule]


def test_a_candidate_that_wins_overall_and_loses_on_a_protected_slice_is_refused(large_shop):
    def timid(table: pl.DataFrame, where: np.ndarray) -> np.ndarray:
        right = large_shop.right(table)
        return np.where(where, 0.5 + 0.4 * (right - 0.5), right)

    report = large_shop.judged(
        lambda table: timid(table, (table["town"] == "Quito").to_numpy()),
        champion=lambda table: timid(table, (table["town"] != "Quito").to_numpy()),
    )

    assert report.improvements["champion"].lower > 0
    assert reasons(report) == ["not_worse_on_slices"]
    assert "most where town is Quito" in report.reasons[0]
    assert "although it wins by" in report.reasons[0]
    assert [one.where["town"] for one in report.protected_slices.slices if one.gain.upper < 0] == ["Quito"]


def test_an_unfair_candidate_is_refused_for_that_alone(large_shop):
    """It takes those who live in Quito to buy a little less than they do: little enough for every other rule."""
    asked = {"fairness": FairnessSpec(by=("town",)), "fair": {"max_equalised_odds": 0.05}, "sure_answers": None}

    def prejudiced(table: pl.DataFrame) -> np.ndarray:
        return np.clip(large_shop.right(table) - np.where(table["town"] == "Quito", 0.12, 0.0), 0, 1)

    assert large_shop.judged(large_shop.right, **asked).verdict == "promote"
    report = large_shop.judged(prejudiced, **asked)

    assert reasons(report) == ["fair_in_equalised_odds"]
    assert "town is Quito" in report.reasons[0]


def test_a_leaky_candidate_is_refused_for_that_alone(large_shop):
    """It reads how often a visitor was thanked for buying, which nobody knows before."""
    thanked = np.where(large_shop.y == 1, 5, 0)
    leaky = type(large_shop)(large_shop.table.with_columns(pl.Series("count", thanked)))
    assert np.array_equal(leaky.y, large_shop.y)

    report = leaky.judged(lambda table: np.where(table["count"] >= 3, 0.98, 0.02), no_leak={})

    assert large_shop.judged(large_shop.right, no_leak={}).verdict == "promote"
    assert reasons(report) == ["no_leak"]
    assert "count alone explains most of the target, 100.0%" in report.reasons[0]


def test_a_candidate_that_is_the_champion_with_noise_is_refused_for_that_alone(large_shop):
    def noisy(table: pl.DataFrame) -> np.ndarray:
        noise = np.random.default_rng(5).normal(scale=0.13, size=len(large_shop.y))
        return np.clip(large_shop.right(table) + noise[table["id"].to_numpy()], 0, 1)

    report = large_shop.judged(noisy, champion=large_shop.right, not_worse_on_slices=None)

    assert report.improvements["baseline"].lower > 0
    assert reasons(report) == ["not_worse_than_champion"]


def test_a_candidate_that_is_the_baseline_with_noise_is_refused_for_that_alone(large_shop):
    def lucky(table: pl.DataFrame) -> np.ndarray:
        noise = np.random.default_rng(6).normal(scale=0.02, size=len(large_shop.y))
        return np.clip(large_shop.y.mean() + noise[table["id"].to_numpy()], 0, 1)

    report = large_shop.judged(lucky, sure_answers=None, not_worse_on_slices=None)

    assert reasons(report) == ["beats_baseline"]


def test_a_candidate_that_takes_a_silent_feed_for_a_quiet_night_is_refused_for_that_alone(large_shop):
    """Told no dose it claims what is true of the low ones; the good one knows from elsewhere whether it is high."""
    rule = {"kind": "absent", "columns": ["dose"], "name": "without_a_dose"}
    from_elsewhere = knows_two_answers(large_shop, large_shop.table)

    def otherwise(table: pl.DataFrame, claimed: np.ndarray) -> np.ndarray:
        return np.where(table["dose"].is_null(), claimed, large_shop.right(table))

    good = large_shop.judged(lambda table: otherwise(table, from_elsewhere[table["id"].to_numpy()]), behaviour=[rule])
    bad = large_shop.judged(lambda table: otherwise(table, np.full(table.height, 0.13)), behaviour=[rule])

    assert good.verdict == "promote"
    assert reasons(bad) == ["without_a_dose", "without_a_dose_calibrated"]


def test_a_gate_with_behaviour_needs_a_predictor_to_ask(large_shop):
    answers = large_shop.subject(large_shop.right).answers()

    with pytest.raises(ValueError, match="there is no predictor to ask"):
        judge(
            use_case="shop",
            candidate_name="candidate",
            candidate=answers,
            uncalibrated=answers,
            baseline=answers,
            champion=None,
            evaluation=EvaluationSpec(),
            gate=GateSpec.model_validate({"behaviour": [{"kind": "robust"}]}),
        )


def test_two_rules_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two behavioural rules are called robust_to_damage"):
        GateSpec.model_validate({"behaviour": [{"kind": "robust"}, {"kind": "robust", "level": 0.2}]})
