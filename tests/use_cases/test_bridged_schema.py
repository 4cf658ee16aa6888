"""A change of schema, from the table to the endpoint: payments by card became finer, and the tip was added."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import polars as pl
import pytest

from aforo.contracts.run import PARTS, RunKey
from aforo.workflows import reproduce
from aforo.workflows.parts import Parts

if TYPE_CHECKING:
    from conftest import Home

CHANGE = dt.date(2020, 3, 1)
DOCUMENT: dict[str, Any] = {
    "title": "Will it be sent back?",
    "owner": "tests",
    "task": {"kind": "binary"},
    "data": {
        "source": {"kind": "csv", "path": "data.csv"},
        "columns": [
            {"name": "id", "type": "integer", "role": "key"},
            {"name": "day", "type": "date", "role": "time"},
            {
                "name": "payment",
                "type": "string",
                "role": "feature",
                "categories": ["cash", "card", "gift", "debit", "credit"],
            },
            {"name": "tip", "type": "number", "role": "feature", "nullable": True},
            {"name": "size", "type": "number", "role": "feature"},
            {"name": "back", "type": "boolean", "role": "target"},
        ],
    },
    "split": {"kind": "random", "shares": {"train": 40, "validation": 20, "calibration": 20, "test": 20}},
    "bridge": {"since": "2020-03-01", "groups": {"payment": {"card": ["gift", "debit", "credit"]}}, "added": ["tip"]},
    "features": [{"kind": "one_hot", "columns": ["payment"]}, {"kind": "scale", "columns": ["tip", "size"]}],
    "candidates": [
        {"kind": "historical_rate", "by": ["payment"]},
        {"kind": "linear", "search": {"penalty": [1.0, 10.0]}},
    ],
    "budget": {"fits": 2},
    "calibration": {"methods": ["none"]},
    "evaluation": {"bootstrap": {"resamples": 100}},
}


def orders(rows: int = 4_000) -> pl.DataFrame:
    """Two months of the old schema, then one of the new."""
    rng = np.random.default_rng(1)
    day = [dt.date(2020, 1, 1) + dt.timedelta(days=int(n)) for n in np.sort(rng.integers(0, 91, rows))]
    payment = rng.choice(["cash", "gift", "debit", "credit"], p=[0.3, 0.1, 0.3, 0.3], size=rows)
    size, tip = rng.normal(size=rows), rng.normal(2, 1, size=rows)
    effect = pl.Series(payment).replace_strict({"cash": 0.0, "gift": -1.0, "debit": 0.5, "credit": 1.0}).to_numpy()
    table = pl.DataFrame({"id": range(rows), "day": day, "payment": payment, "tip": tip, "size": size})
    is_old, is_card = pl.col("day") < CHANGE, pl.col("payment") != "cash"
    return table.with_columns(
        payment=pl.when(is_old & is_card).then(pl.lit("card")).otherwise("payment"),
        tip=pl.when(~is_old).then("tip"),
        back=rng.random(rows) < 1 / (1 + np.exp(-(1.5 * size + 0.5 * tip + effect - 1))),
    )


@pytest.fixture
def shop(home: Home) -> Home:
    home.add_use_case("shop", DOCUMENT, {"data.csv": orders().write_csv()})
    home.run("shop")
    return home


def test_a_bridged_use_case_is_trained_judged_served_and_made_again(shop: Home, serve: Callable[..., httpx.Client]):
    parts = Parts.load(shop.step("split", "shop"), shop.use_case("shop"), shop.platform)
    first_days = {part: parts.of(part).get_column("day").min() for part in PARTS}
    linear = shop.step("train", "shop").candidates[1]

    assert first_days == {"train": dt.date(2020, 1, 1), "validation": CHANGE, "calibration": CHANGE, "test": CHANGE}
    assert (shop.manifest("train", "shop")["chosen"], linear.fits) == ("linear", 4 + 1)
    assert linear.hyperparameters["old_rows"] > 0

    client = serve(shop)
    shares = dict(_cards(parts).value_counts(normalize=True).iter_rows())
    rows = [{"payment": name, "tip": 2.0, "size": 0.1} for name in [*shares, "card"]]
    answer = client.post("/models/shop/predict", json={"rows": [*rows, {"payment": "card", "tip": None, "size": 0.1}]})

    assert answer.status_code == 200, answer.text
    p = np.array([prediction["probabilities"]["yes"] for prediction in answer.json()["predictions"]])
    logits = np.log(p / (1 - p))
    assert logits[3] == pytest.approx(np.dot(list(shares.values()), logits[:3]), rel=1e-9)
    assert p[4] == pytest.approx(p[3], abs=0.05)

    certificate = reproduce.run(shop.use_case("shop"), RunKey("one"), shop.platform)
    assert certificate.broken == ()


def _cards(parts: Parts) -> pl.Series:
    """What new rows of the train part were paid with, if by card."""
    return parts.of("train").filter((pl.col("day") >= CHANGE) & (pl.col("payment") != "cash")).get_column("payment")
