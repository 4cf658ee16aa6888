"""Training over a bridge: how many old rows help is found on new rows, and old values are answered."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest

from aforo.contracts.table import TableContract
from aforo.data.bridging import BridgeSpec
from aforo.errors import TrainingError
from aforo.features import NumericSpec, OneHotSpec, OrdinalSpec, ScaleSpec
from aforo.models.estimators import BoostedTreesSpec, HistoricalRateSpec, LinearSpec
from aforo.models.training import Budget, FitReport, FittedCandidate, fit_candidate

CHANGE = dt.date(2020, 1, 1)
EFFECT = {"gift": -2.0, "debit": 0.0, "credit": 1.0}
CONTRACT = TableContract.model_validate(
    {
        "columns": [
            {"name": "id", "type": "integer", "role": "key"},
            {"name": "day", "type": "date", "role": "time"},
            {"name": "payment", "type": "string", "role": "feature"},
            {"name": "x", "type": "number", "role": "feature"},
            {"name": "late", "type": "boolean", "role": "target"},
        ]
    }
)
FEATURES = [OneHotSpec(columns=("payment",)), ScaleSpec(columns=("x",))]


def sample(
    count: int, day: dt.date, seed: int, *, slope: float = 1.0, effect: float = 1.0, coarse: bool = False
) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x, payment = rng.normal(size=count), rng.choice(list(EFFECT), p=[0.1, 0.3, 0.6], size=count)
    logit = slope * x + effect * np.array([EFFECT[name] for name in payment])
    return pl.DataFrame(
        {
            "id": rng.permutation(count) + seed * 1_000_000,
            "day": [day] * count,
            "payment": ["card"] * count if coarse else payment.tolist(),
            "x": x,
            "late": rng.random(count) < 1 / (1 + np.exp(-logit)),
        }
    )


def fit(
    old: pl.DataFrame,
    *,
    spec: LinearSpec | BoostedTreesSpec | HistoricalRateSpec | None = None,
    budget: Budget | None = None,
    reports: list[FitReport] | None = None,
    features: Any = FEATURES,
    effect: float = 1.0,
    **bridge: Any,
) -> FittedCandidate:
    """Fit on 60 new rows beside the old ones, with 2,000 new rows for validation."""
    groups = {"payment": {"card": ["gift", "debit", "credit"]}}
    built = BridgeSpec.model_validate({"since": CHANGE, "groups": groups, **bridge}).build(CONTRACT)
    return fit_candidate(
        spec or LinearSpec(),
        features=features,
        task="binary",
        classes=("no", "yes"),
        train=pl.concat([old, sample(60, CHANGE, 2, effect=effect)]),
        validation=sample(2_000, CHANGE, 3, effect=effect),
        target="late",
        seed=0,
        budget=budget,
        bridge=built,
        progress=None if reports is None else reports.append,
    )


LIKE_NOW = sample(3_000, dt.date(2019, 6, 1), 1, coarse=True)
UNLIKE_NOW = sample(3_000, dt.date(2019, 6, 1), 1, coarse=True, slope=-1.0)


@pytest.mark.parametrize("method", ["static", "probabilistic"])
def test_old_rows_that_are_like_the_new_ones_are_used_and_make_the_model_better(method: str) -> None:
    old = sample(3_000, dt.date(2019, 6, 1), 1, effect=0.0, coarse=True)
    alone = fit(old, method=method, effect=0.0, old_rows=[0])
    bridged = fit(old, method=method, effect=0.0)

    assert alone.hyperparameters["old_rows"] == 0
    assert bridged.hyperparameters["old_rows"] > 0
    assert bridged.validation_loss < alone.validation_loss - 0.005


def test_what_tells_new_values_apart_is_blurred_by_drawing_them_and_not_by_their_shares() -> None:
    alone, static, drawn = (
        fit(LIKE_NOW, method=method, old_rows=[share]).validation_loss
        for method, share in (("static", 0), ("static", 1), ("probabilistic", 1))
    )

    assert static < alone - 0.01
    assert drawn > alone + 0.01


@pytest.mark.parametrize("method", ["static", "probabilistic"])
def test_old_rows_that_contradict_the_new_ones_are_left(method: str) -> None:
    alone = fit(UNLIKE_NOW, method=method, old_rows=[0])
    bridged = fit(UNLIKE_NOW, method=method)

    assert bridged.hyperparameters["old_rows"] == 0
    assert bridged.validation_loss == alone.validation_loss


def test_each_number_of_old_rows_is_tried_with_the_candidates_own_setting_and_the_best_with_the_others() -> None:
    reports: list[FitReport] = []

    candidate = fit(
        LIKE_NOW,
        spec=LinearSpec(search={"penalty": (10.0, 100.0)}),
        budget=Budget(fits=3),
        reports=reports,
        old_rows=[0, 0.1, 1],
    )

    tried = [(report.hyperparameters["penalty"], report.hyperparameters["old_rows"]) for report in reports]
    best = min(reports[:3], key=lambda report: report.validation_loss).hyperparameters["old_rows"]
    assert tried == [(1.0, 0), (1.0, 300), (1.0, 3_000), (10.0, best), (100.0, best)]
    assert [(report.fit, report.fits) for report in reports] == [(n, 5) for n in range(1, 6)]
    assert candidate.validation_loss == min(report.validation_loss for report in reports)


def test_the_answer_to_an_old_value_is_that_to_the_vector_of_shares() -> None:
    """By hand: the logit of a linear model is the mean of the new values' logits, weighted by their shares."""
    candidate = fit(LIKE_NOW, old_rows=[1])
    shares = dict(sample(60, CHANGE, 2)["payment"].value_counts(normalize=True).iter_rows())
    asked = pl.DataFrame({"payment": [*shares, "card"], "x": [0.3] * 4})

    p = candidate.outputs(asked)[:, 1]

    logits = np.log(p / (1 - p))
    assert logits[3] == pytest.approx(np.dot(list(shares.values()), logits[:3]), rel=1e-9)


def test_a_tree_over_codes_takes_an_old_value_for_one_that_is_missing() -> None:
    features = [OrdinalSpec(columns=("payment",)), NumericSpec(columns=("x",))]
    candidate = fit(LIKE_NOW, spec=BoostedTreesSpec(trees=30), features=features, old_rows=[1])
    asked = pl.DataFrame({"payment": ["card", None, "gift"], "x": [0.3] * 3}, schema_overrides={"payment": pl.String})

    p = candidate.outputs(asked)[:, 1]

    assert p[0] == p[1] != p[2]


def test_the_historical_rate_of_an_old_value_is_that_of_the_old_rows() -> None:
    candidate = fit(LIKE_NOW, spec=HistoricalRateSpec(by=("payment",)), old_rows=[1])
    late = LIKE_NOW["late"].sum()
    overall = (late + sample(60, CHANGE, 2)["late"].sum()) / 3_060

    p = candidate.outputs(pl.DataFrame({"payment": ["card"]}))[0, 1]

    assert p == pytest.approx((late + 20 * overall) / (3_000 + 20), rel=1e-12)


def test_a_model_that_cannot_use_what_an_ordinal_makes_of_old_values_is_refused() -> None:
    features = [OrdinalSpec(columns=("payment",)), ScaleSpec(columns=("x",))]

    with pytest.raises(TrainingError, match="feature 'payment' has missing values, which this model cannot use"):
        fit(LIKE_NOW, features=features, old_rows=[1])
