from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from aforo.contracts.table import ColumnContract, TableContract
from aforo.evaluation import Answers, BootstrapSpec, EvaluationSpec, Subject
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.evaluate import compare
from aforo.evaluation.slices import NotWorseOnSlices, NoWeakSlice
from aforo.evaluation.slices.cutting import Cut, cut
from aforo.evaluation.slices.means import excesses, holm, losses, slice_means
from aforo.evaluation.slices.protected import not_worse_on_slices, protected_slices
from aforo.evaluation.slices.search import no_weak_slice, search

CONTRACT = TableContract(
    columns=(
        ColumnContract(name="town", type="string", role="feature"),
        ColumnContract(name="size", type="number", role="feature", nullable=True),
        ColumnContract(name="day", type="date", role="info"),
        ColumnContract(name="name", type="string", role="info", private=True),
        ColumnContract(name="sold", type="boolean", role="target"),
    )
)


def one_cut(codes: list[int], slices: int) -> Cut:
    return Cut(("town",), np.array(codes), tuple((str(i),) for i in range(slices)))


def test_mean_and_error_of_a_slice_by_hand():
    # Rows 1 and 3 of one day, 5 of another: the mean is 3, the days depart from it by -2 and 2 in sum,
    # so the variance is (4 + 4) / 3^2 * 2 / (2 - 1) = 16 / 9. The second slice has one day: nothing can be said.
    means = slice_means(
        np.array([1.0, 3.0, 5.0, 7.0, 9.0]), one_cut([0, 0, 0, 1, 1], 2), Clusters.of(["a", "a", "b", "c", "c"])
    )

    np.testing.assert_allclose(means.mean, [3, 8])
    np.testing.assert_allclose(means.error, [4 / 3, np.nan])
    assert means.rows.tolist() == [3, 2]
    assert means.groups.tolist() == [2, 1]
    assert means.above(-1e9)[1] == 1.0


def test_with_independent_rows_the_p_value_and_the_interval_are_those_of_the_t_test():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.3, 1, 25), rng.normal(0.3, 0.8, 15)])
    means = slice_means(values, one_cut([0] * 25 + [1] * 15, 2), Clusters.single_rows(40))

    assert (means.error > means.pooled_error).tolist() == [True, False]
    for code, part in enumerate((values[:25], values[25:])):
        test = stats.ttest_1samp(part, 0.1, alternative="greater")
        if means.error[code] > means.pooled_error[code]:
            assert means.above(0.1)[code] == pytest.approx(test.pvalue)
        else:
            assert means.above(0.1)[code] > test.pvalue
        low, high = stats.ttest_1samp(part, 0).confidence_interval(0.95)
        np.testing.assert_allclose([bound[code] for bound in means.bounds(0.95)], [low, high])


def test_rows_in_no_slice_count_for_none():
    means = slice_means(np.array([1.0, 100.0, 3.0]), one_cut([0, -1, 0], 1), Clusters.single_rows(3))

    assert means.mean.tolist() == [2.0]


def test_holms_adjustment_by_hand():
    # In order 0.01 * 3, 0.03 * 2, 0.04 * 1, and none below the one before it.
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert holm(np.empty(0)).tolist() == []


def test_losses_and_excesses_add_up_to_the_figures_they_belong_to():
    p = np.array([[0.2, 0.8], [0.7, 0.3]])
    binary = Answers("binary", np.array([1, 1]), probabilities=p)
    several = Answers("multiclass", np.array([0, 2]), probabilities=np.array([[0.6, 0.3, 0.1], [0.5, 0.3, 0.2]]))
    value = Answers("regression", np.array([1.0, 2.0]), value=np.array([1.5, 1.0]))

    np.testing.assert_allclose(losses(binary), [0.04, 0.49])
    np.testing.assert_allclose(excesses(binary), [-0.2, -0.7])
    np.testing.assert_allclose(losses(several), [0.16 + 0.09 + 0.01, 0.25 + 0.09 + 0.64])
    np.testing.assert_allclose(excesses(several), [-0.4, 0.5])
    np.testing.assert_allclose(losses(value), [0.25, 1.0])
    np.testing.assert_allclose(excesses(value), [0.5, -1.0])


def test_numbers_are_cut_at_their_quartiles_and_what_is_missing_is_a_slice():
    table = pl.DataFrame({"size": [*range(1, 17), None]}, schema={"size": pl.Float64})

    slices = cut(table, CONTRACT, ["size"])

    # Quartiles of 1 to 16, linear: 4.75, 8.5, 12.25.
    assert [label for (label,) in slices.labels] == [
        "up to 4.75", "above 4.75 to 8.5", "above 8.5 to 12.25", "above 12.25", "(missing)",
    ]  # fmt: skip
    assert np.bincount(slices.codes).tolist() == [4, 4, 4, 4, 1]


def test_few_values_stay_what_they_are_in_their_order():
    table = pl.DataFrame({"size": [10.0, 9.0, None, 9.0]})

    assert [label for (label,) in cut(table, CONTRACT, ["size"]).labels] == ["9.0", "10.0", "(missing)"]


def test_crossed_slices_hold_the_rows_of_both():
    table = pl.DataFrame({"town": ["a", "b", "b", "a"], "size": [1.0, 1.0, 2.0, 1.0]})

    both = cut(table, CONTRACT, ["town", "size"])

    assert [both.named(code) for code in both.codes] == [
        {"town": "a", "size": "1.0"},
        {"town": "b", "size": "1.0"},
        {"town": "b", "size": "2.0"},
        {"town": "a", "size": "1.0"},
    ]
    assert both.with_rows(2).codes.tolist() == [0, -1, -1, 0]
    small = both.with_rows(2).crossed(cut(table, CONTRACT, ["town"]))
    assert small.codes.tolist() == [0, -1, -1, 0]


@pytest.mark.parametrize(
    ("name", "message"),
    [("twon", "which is not in data.columns"), ("day", "cannot be cut by 'day'"), ("name", "nor private")],
)
def test_what_cannot_be_cut_is_refused(name: str, message: str):
    for rule in (NotWorseOnSlices(by=(("town", name),)), NoWeakSlice(columns=(name,))):
        with pytest.raises(ValueError, match=message):
            rule.check(CONTRACT)


def subject_of(shop, yes) -> tuple[Subject, Answers, Answers]:
    subject = shop.subject(yes)
    share = np.full(len(subject), shop.y.mean())
    return subject, subject.answers(), Answers("binary", shop.y, probabilities=np.column_stack([1 - share, share]))


def test_a_weak_corner_is_found_where_it_was_put(large_shop):
    def yes(table: pl.DataFrame) -> np.ndarray:
        corner = ((table["town"] == "Quito") & (table["colour"] == "red")).to_numpy()
        return np.where(corner, 0.25, large_shop.right(table))

    rule = NoWeakSlice()
    found = search(*subject_of(large_shop, yes), rule, 0.95)

    assert found.weaker_than_baseline[0].where == {"colour": "red", "town": "Quito"}
    corner = ((large_shop.table["town"] == "Quito") & (large_shop.table["colour"] == "red")).to_numpy()
    y = large_shop.y[corner]
    assert found.weaker_than_baseline[0].rows == corner.sum()
    assert found.weaker_than_baseline[0].loss.value == pytest.approx(np.mean((0.25 - y) ** 2))
    assert found.weaker_than_baseline[0].excess.value == pytest.approx(0.25 - y.mean())
    assert not no_weak_slice(found, rule).passed


def test_pure_chance_seldom_raises_an_alarm(shop):
    # Candidate and baseline are equally good everywhere: their differences are noise of mean 0 in every slice.
    any_subject = shop.subject(shop.right)
    alarms = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noise = rng.choice([-0.1, 0.1], len(shop.y))
        y = (rng.random(len(shop.y)) < 0.5).astype(np.int64)
        side = [Answers("binary", y, probabilities=np.column_stack([0.5 - e, 0.5 + e])) for e in (noise, -noise)]
        subject = Subject(any_subject.contract, any_subject.columns, any_subject.predict, shop.table, y)
        found = search(subject, side[0], side[1], NoWeakSlice(min_share=0.05), 0.95)
        assert found.tested > 50
        alarms += bool(found.weaker_than_baseline)

    # 5 % of 40 families are two; six or more have a probability of 1.4 %.
    assert alarms <= 5


def test_a_finer_slice_is_listed_only_if_it_is_clearly_worse(large_shop):
    def yes(table: pl.DataFrame) -> np.ndarray:
        return np.where(table["town"] == "Quito", 0.15, large_shop.right(table))

    found = search(*subject_of(large_shop, yes), NoWeakSlice(columns=("town", "colour")), 0.95)

    assert [one.where for one in found.weaker_than_baseline] == [{"town": "Quito"}]


def two_towns() -> tuple[Subject, dict[str, Answers]]:
    """Two towns with different shares. The candidate knows the town and nothing else, the champion all but the town."""
    rng = np.random.default_rng(5)
    rows = 4000
    town = np.arange(rows) % 2
    signal = rng.normal(size=rows)
    truth = 1 / (1 + np.exp(-(0.8 * signal + np.where(town == 1, 1.5, -1.5))))
    y = (rng.random(rows) < truth).astype(np.int64)
    champion = 1 / (1 + np.exp(-0.8 * signal))
    candidate = np.where(town == 1, 0.75, 0.25) + 0.001 * rng.normal(size=rows)
    predictors = {
        name: Answers("binary", y, probabilities=np.column_stack([1 - p, p]))
        for name, p in (("candidate", candidate), ("champion", champion), ("baseline", np.full(rows, y.mean())))
    }
    table = pl.DataFrame({"town": np.where(town == 1, "north", "south"), "size": signal})
    return Subject(None, CONTRACT, None, table, y), predictors


def test_simpsons_paradox_is_seen_through():
    subject, predictors = two_towns()
    measured = compare(predictors, EvaluationSpec(bootstrap=BootstrapSpec(resamples=200)), groups=None, seed=0)
    rule = NotWorseOnSlices(by=("town",), metric="roc_auc")

    found = protected_slices(subject, predictors, measured, rule, "brier")
    outcome = not_worse_on_slices(found, measured)

    assert found.overall.lower > 0
    assert all(one.gain.upper < 0 for one in found.slices)
    assert found.reversed_everywhere
    assert not outcome.passed
    assert "loses to the champion on 2 of 2 protected slices" in outcome.why
    assert "Simpson's paradox" in outcome.why


def test_the_figures_of_a_slice_are_those_of_its_rows_alone():
    subject, predictors = two_towns()
    measured = compare(predictors, EvaluationSpec(bootstrap=BootstrapSpec(resamples=100)), groups=None, seed=0)

    found = protected_slices(subject, predictors, measured, NotWorseOnSlices(by=("town",)), "brier")

    for one in found.slices:
        rows = (subject.table["town"] == one.where["town"]).to_numpy()
        expected = {name: losses(answers)[rows].mean() for name, answers in predictors.items()}
        assert one.candidate.value == pytest.approx(expected["candidate"])
        assert one.opponent.value == pytest.approx(expected["champion"])
        assert one.gain.value == pytest.approx(expected["champion"] - expected["candidate"])


def test_slices_too_small_to_judge_are_listed_and_said():
    subject, predictors = two_towns()
    measured = compare(predictors, EvaluationSpec(bootstrap=BootstrapSpec(resamples=100)), groups=None, seed=0)

    none = protected_slices(subject, predictors, measured, NotWorseOnSlices(by=("town",), min_rows=2001), "brier")

    assert [one.gain for one in none.slices] == [None, None]
    assert not not_worse_on_slices(none, measured).passed
    assert "All 2 protected slices are too small" in not_worse_on_slices(none, measured).why


def test_without_a_champion_the_baseline_is_the_opponent():
    subject, predictors = two_towns()
    del predictors["champion"]
    measured = compare(predictors, EvaluationSpec(bootstrap=BootstrapSpec(resamples=100)), groups=None, seed=0)

    found = protected_slices(subject, predictors, measured, NotWorseOnSlices(by=("town",)), "brier")

    assert (found.opponent, found.margin) == ("baseline", 0.0)
    assert not_worse_on_slices(found, measured).passed
