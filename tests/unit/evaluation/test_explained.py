from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aforo.evaluation import BootstrapSpec
from aforo.evaluation.explained import explain_rows

SPEC = BootstrapSpec(resamples=300)


def test_the_weight_of_the_only_column_that_is_read_is_worked_out_by_hand(shop, explainer_of):
    subject = shop.subject(shop.right)
    found = explain_rows(subject, explainer_of(subject), 200, SPEC)

    # 0.08 a dose, against the mean of four rows.
    dose = subject.table["dose"].to_numpy()
    by_hand = np.abs(0.08 * (dose - dose[:4].mean())).mean()
    assert found.columns[0].column == "dose"
    assert found.columns[0].weight == pytest.approx(by_hand)
    assert found.columns[0].interval.lower < by_hand < found.columns[0].interval.upper
    assert {one.column: one.weight for one in found.columns[1:]} == pytest.approx(
        dict.fromkeys(["count", "colour", "town", "member"], 0.0), abs=1e-15
    )
    assert found.baseline == pytest.approx(0.1 + 0.08 * dose[:4].mean())
    assert found.permutations is None


def test_rows_that_belong_together_widen_the_interval(shop, explainer_of):
    together = np.where(shop.table["dose"].to_numpy() > 5, "high", "low")
    alone, grouped = (shop.subject(shop.right, groups=groups) for groups in (None, together))
    narrow, wide = (explain_rows(each, explainer_of(each), 200, SPEC).columns[0].interval for each in (alone, grouped))

    assert wide.upper - wide.lower > 1.5 * (narrow.upper - narrow.lower)


def test_the_same_rows_are_drawn_again_and_rows_of_one_group_have_no_interval(shop, explainer_of):
    subject = replace(shop.subject(shop.right, groups=np.full(200, "one day")), seed=7)
    first, second = (explain_rows(subject, explainer_of(subject), 50, SPEC) for _ in range(2))

    assert first == second
    assert (first.rows, first.groups) == (50, 1)
    assert first.columns[0].interval is None
