"""Loans to people of two origins, and a predictor that is as unfair to one of them as it is asked to be."""

from __future__ import annotations

import numpy as np
import polars as pl

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract, TableContract
from aforo.evaluation import BootstrapSpec, Subject

COLUMNS = TableContract(
    columns=(
        ColumnContract(name="origin", type="string", role="info", categories=("north", "south", "west")),
        ColumnContract(name="woman", type="boolean", role="info"),
        ColumnContract(name="district", type="string", role="feature", nullable=True),
        ColumnContract(name="income", type="number", role="feature", nullable=True),
        ColumnContract(name="name", type="string", role="info", private=True),
        ColumnContract(name="repaid", type="boolean", role="target"),
    )
)
CONTRACT = PredictionContract(
    use_case="loans", task="binary", target="repaid", inputs=COLUMNS.columns[2:4], classes=("no", "yes")
)
FEW = BootstrapSpec(resamples=200)


def applicants(rows: int, seed: int, *, gap: float = 0.0, unfair: float = 0.0) -> Subject:
    """Return loans of two origins.

    Parameters
    ----------
    gap
        By how much the truth of the south is lower, in log odds.
    unfair
        By how much the predictor takes the south to be lower than it is.
    """
    rng = np.random.default_rng(seed)
    south = rng.random(rows) < 0.3
    income = rng.normal(size=rows)
    logit = 1.5 * income - gap * south
    y = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    table = pl.DataFrame(
        {
            "origin": np.where(south, "south", "north"),
            "woman": rng.random(rows) < 0.5,
            "district": np.where(rng.random(rows) < 0.9, np.where(south, "hill", "shore"), "centre"),
            "income": income,
        }
    )

    def predict(asked: pl.DataFrame) -> dict[str, np.ndarray]:
        is_south = (asked["origin"] == "south").to_numpy()
        yes = 1 / (1 + np.exp(-(1.5 * asked["income"].to_numpy() - (gap + unfair) * is_south)))
        return {"probabilities": np.column_stack([1 - yes, yes])}

    return Subject(CONTRACT, COLUMNS, predict, table, y)
