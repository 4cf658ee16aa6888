"""What thresholds of their own for each group give, and cost."""

from __future__ import annotations

import itertools

import polars as pl
from loans import COLUMNS, CONTRACT, FEW, applicants

from aforo.evaluation import Subject
from aforo.evaluation.fairness import FairnessSpec, Mitigation, mitigate


def mitigated(**spec: object) -> Mitigation:
    declared = FairnessSpec.model_validate({"by": ["origin"], **spec})
    (found,) = mitigate(applicants(4000, 7, gap=1.5), applicants(4000, 8, gap=1.5), declared, FEW)
    return found


def test_group_thresholds_make_the_groups_alike_and_have_a_price():
    ways = {way.way: way for way in mitigated().ways}

    assert ways["one_threshold"].demographic_parity > 0.3
    assert ways["demographic_parity"].demographic_parity < 0.05
    assert ways["one_threshold"].equalised_odds > 0.2
    assert ways["equalized_odds"].equalised_odds < 0.08
    assert ways["one_threshold"].cost is None
    assert ways["demographic_parity"].cost.lower > 0
    # The one threshold was best on the calibration rows, and is about as good here.
    for earlier, later in itertools.pairwise([ways["demographic_parity"], ways["one_threshold"]]):
        assert earlier.balanced_accuracy.value < later.balanced_accuracy.value


def test_thresholds_are_chosen_without_a_look_at_the_test_rows():
    calibration, spec = applicants(4000, 8, gap=1.5), FairnessSpec(by=("origin",))
    ways = [
        [way.thresholds for way in mitigate(applicants(2000, seed, gap=1.5), calibration, spec, FEW)[0].ways]
        for seed in (9, 10)
    ]

    assert ways[0] == ways[1]


def test_groups_with_too_few_rows_to_choose_a_threshold_keep_the_common_one():
    spec = FairnessSpec(by=("origin",))
    rows = applicants(4000, 8, gap=1.5)
    three = rows.table.with_columns(pl.Series("origin", ["west"] * 20 + rows.table["origin"].to_list()[20:]))
    subject = Subject(CONTRACT, COLUMNS, rows.predict, three, rows.y)

    (found,) = mitigate(subject, subject, spec, FEW)
    ways = {way.way: way.thresholds for way in found.ways}

    assert ways["demographic_parity"]["west"] == ways["one_threshold"]["west"]
    assert ways["demographic_parity"]["south"] != ways["one_threshold"]["south"]
    assert mitigate(subject, subject, FairnessSpec(by=("origin",), min_rows=5000), FEW) == ()
