"""Two suspicions: a column that tells too much, and answers that cannot be."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from aforo.contracts.table import ColumnContract, TableContract
from aforo.evaluation import Subject
from aforo.evaluation.leak import Alone, NoLeak, explained_alone, no_leak
from aforo.evaluation.plausible import Plausible, plausible


def by_name(found: tuple[Alone, ...]) -> dict[str, float]:
    return {one.column: one.explained for one in found}


def test_what_one_column_explains_is_the_share_that_it_can(large_shop):
    """The dose is all there is to know: 0.1 + 0.08 x over 0 to 10, whose variance is (0.8 ** 2) / 12, of p (1 - p)."""
    found = by_name(explained_alone(large_shop.subject(large_shop.right), 5000))

    assert found["dose"] == pytest.approx(0.64 / 12 / 0.25, abs=0.03)
    assert max(explained for name, explained in found.items() if name != "dose") < 0.01
    assert next(iter(found)) == "dose"


def test_a_column_made_from_the_target_is_suspected(large_shop):
    table = large_shop.table.with_columns(pl.Series("town", np.where(large_shop.y == 1, "Lima", "Oslo")))
    whole = large_shop.subject(large_shop.right)
    subject = Subject(whole.contract, whole.columns, whole.predict, table, large_shop.y)

    found = explained_alone(subject, 5000)
    outcome = no_leak(found, NoLeak())

    assert (found[0].column, found[0].explained) == ("town", pytest.approx(1.0))
    assert (outcome.passed, outcome.bound) == (False, 0.9)
    assert "town alone explains most of the target, 100.0%: it is known too late" in outcome.why
    assert no_leak(found, NoLeak(known=("town",))).passed


def test_of_a_regression_it_is_the_share_of_the_variance(shop):
    found = by_name(explained_alone(shop.regression(shop.right), 5000))

    # The truth is a straight line of the dose, which a tree of 16 leaves follows in steps.
    assert 0.97 < found["dose"] < 1.0


def test_rows_of_a_group_are_told_by_others(large_shop):
    """What names the group names the label, and would look like a leak if the group itself were learnt from."""
    town = np.arange(3000) % 60
    y = (np.random.default_rng(0).random(60) < 0.5).astype(np.int64)[town]
    whole = large_shop.subject(large_shop.right)
    table = large_shop.table.with_columns(pl.Series("count", town))

    grouped = Subject(whole.contract, whole.columns, whole.predict, table, y, town)
    alone = Subject(whole.contract, whole.columns, whole.predict, table, y)

    assert by_name(explained_alone(alone, 5000))["count"] > 0.5
    assert by_name(explained_alone(grouped, 5000))["count"] < 0.2


def test_where_nothing_can_be_tried_nothing_is_promised(shop):
    whole = shop.subject(shop.right)
    rare = Subject(whole.contract, whole.columns, whole.predict, shop.table, (np.arange(200) == 3).astype(np.int64))

    outcome = no_leak(explained_alone(rare, 5000), NoLeak())

    assert (outcome.passed, outcome.figure) == (False, None)


def test_a_known_column_has_to_be_read(shop):
    with pytest.raises(ValueError, match=r"known names size, which no candidate reads; they read dose"):
        NoLeak(known=("size",)).check(shop.subject(shop.right).contract)


def bounded(shop, **bounds: float) -> Subject:
    """Return the regression with bounds of its target, which the true values keep."""
    subject = shop.regression(shop.right)
    target = ColumnContract(name="bought", type="number", role="target", unit="kg", **bounds)
    columns = TableContract(columns=(*subject.columns.columns[:-1], target))
    return Subject(subject.contract, columns, subject.predict, subject.table, subject.y)


def test_an_answer_that_cannot_be_is_refused_and_the_worst_is_shown(shop):
    subject = bounded(shop, minimum=0.2, maximum=0.8)
    low, high = (shop.truth < 0.2).sum(), (shop.truth > 0.8).sum()

    outcome = plausible([subject], Plausible())

    assert outcome.figure == pytest.approx((low + high) / 200)
    assert (outcome.passed, outcome.bound) == (False, 0.0)
    assert "bought goes from 0.2 and to 0.8 kg; at worst " in outcome.why
    worst = np.abs(shop.truth - 0.5).argmax()
    assert f"at worst {shop.truth[worst]:.4g} (id {worst})" in outcome.why


def test_answers_on_the_bounds_and_a_share_that_is_allowed_pass(shop):
    bounds = {"minimum": float(shop.truth.min()), "maximum": float(shop.truth.max())}
    assert plausible([bounded(shop, **bounds)], Plausible()).passed
    assert plausible([bounded(shop, minimum=0.2)], Plausible(max_share=0.5)).passed


def test_it_is_asked_on_all_rows_that_the_candidate_has_not_learnt_from(shop):
    subject = bounded(shop, minimum=0.2)
    inside, outside = (subject.take(np.flatnonzero(where)) for where in (shop.truth >= 0.2, shop.truth < 0.2))

    outcome = plausible([inside, outside], Plausible())

    assert outcome.figure == pytest.approx(len(outside) / 200)


def test_there_have_to_be_bounds_and_values(shop):
    binary, unbounded = shop.subject(shop.right), bounded(shop)

    with pytest.raises(ValueError, match="a binary task answers classes"):
        Plausible().check(binary.columns, binary.contract)
    with pytest.raises(ValueError, match="give it a `minimum` or a `maximum`"):
        Plausible().check(unbounded.columns, unbounded.contract)
