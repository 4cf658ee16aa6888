"""Groups in the data before training: who is there, who is missing, and what tells a column that was removed."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from loans import COLUMNS, CONTRACT, applicants

from aforo.evaluation import Subject
from aforo.evaluation.fairness import FairnessSpec, Representation, concerns, represent


def represented(subject: Subject, **spec: object) -> Representation:
    declared = FairnessSpec.model_validate({"by": ["origin"], **spec})
    return represent(subject.table, COLUMNS, CONTRACT, subject.y, declared)[0]


def test_shares_missing_values_and_labels_by_hand():
    table = pl.DataFrame(
        {
            "origin": ["north"] * 6 + ["south"] * 4,
            "district": ["shore"] * 6 + ["hill", None, None, "hill"],
            "income": [1.0, None, 2.0, 3.0, 4.0, 5.0, 1.0, 2.0, None, 4.0],
        }
    )
    subject = Subject(CONTRACT, COLUMNS, dict, table, np.array([1, 1, 1, 0, 0, 0, 1, 0, 0, 0]))

    north, south, west = represented(subject, reference={"origin": {"north": 0.5, "south": 0.4, "west": 0.1}}).groups

    assert (north.rows, north.share.value, north.expected) == (6, 0.6, 0.5)
    assert (south.rows, south.share.value, south.expected) == (4, 0.4, 0.4)
    assert (west.rows, west.share.value, west.expected) == (0, 0.0, 0.1)
    # Of two columns: one of twelve values; then two of four districts and one of four incomes.
    assert north.missing == pytest.approx(1 / 12)
    assert (south.missing, south.most_missing) == (pytest.approx(3 / 8), ("district", 0.5))
    assert (north.labels["yes"].value, south.labels["yes"].value) == (0.5, 0.25)
    assert north.labels["yes"].lower >= 0
    assert west.labels == {}


def test_without_a_reference_equal_shares_are_expected():
    groups = represented(applicants(500, 5)).groups

    assert [group.expected for group in groups] == pytest.approx([1 / 3] * 3)


def test_who_is_missing_and_what_tells_a_removed_column_is_worth_a_warning():
    found = represented(applicants(2000, 6), reference={"origin": {"north": 0.4, "south": 0.5, "west": 0.1}})

    said = concerns([found])

    assert said[0].startswith("fairness: origin is south in ")
    assert said[0].endswith("and in 50.0% of the reference")
    assert said[1] == "fairness: no row has origin is west"
    assert said[2].startswith("fairness: no candidate reads origin, and what they read tells it (AUC ")
    assert "most of all district" in said[2]


def test_proxies_are_found_where_they_are_and_nowhere_else():
    subject = applicants(2000, 6)
    proxies = represented(subject).proxies

    # Nine of ten rows have a district that names their origin, one has the centre, which lies between. A northern and a
    # southern row are in the right order unless both are of the centre, which counts a half: 1 - 0.01 / 2.
    assert {proxy.column: proxy.auc for proxy in proxies.columns} == pytest.approx(
        {"district": 0.995, "income": 0.5}, abs=0.04
    )
    assert [proxy.column for proxy in proxies.columns] == ["district", "income"]
    assert proxies.auc == pytest.approx(0.995, abs=0.02)
    assert proxies.most_frequent == pytest.approx((subject.table["origin"] == "north").mean())
    assert not proxies.is_read
    assert represented(subject, by=["woman"]).proxies.auc == pytest.approx(0.5, abs=0.05)


def test_the_search_for_proxies_is_bounded():
    assert represented(applicants(2000, 6), proxy_rows=300).proxies.rows == 300
