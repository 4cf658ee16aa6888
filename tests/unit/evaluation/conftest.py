"""Predictors that are plain functions of raw rows, so that every figure can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
import pytest

from aforo.contracts.explanation import Background
from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract, TableContract
from aforo.evaluation import Answers, BootstrapSpec, EvaluationSpec, GateReport, GateSpec, Subject, judge
from aforo.evaluation.evaluate import Comparison, compare
from aforo.evaluation.fairness import FairnessSpec
from aforo.export.explanations import Explainer

COLUMNS = TableContract(
    columns=(
        ColumnContract(name="id", type="integer", role="key"),
        ColumnContract(name="dose", type="number", role="feature", minimum=0, maximum=10, nullable=True),
        ColumnContract(name="count", type="integer", role="feature", minimum=0, maximum=5),
        ColumnContract(name="colour", type="string", role="feature", categories=("blue", "green", "red")),
        ColumnContract(name="town", type="string", role="feature"),
        ColumnContract(name="member", type="boolean", role="feature"),
        ColumnContract(name="group", type="string", role="info", private=True),
        ColumnContract(name="bought", type="boolean", role="target"),
    )
)
INPUTS = ("dose", "count", "colour", "town", "member")

BINARY = PredictionContract(
    use_case="shop",
    task="binary",
    target="bought",
    inputs=tuple(COLUMNS[name] for name in INPUTS),
    classes=("no", "yes"),
)
REGRESSION = PredictionContract(use_case="shop", task="regression", target="bought", inputs=BINARY.inputs, coverage=0.9)

Yes = Callable[[pl.DataFrame], np.ndarray]

GATE = {
    "calibrated": {"max_ece": 0.06},
    "behaviour": [
        {"kind": "invariant", "columns": ["member"], "because": "membership buys no favours"},
        {"kind": "directional", "column": "dose", "by": [1, 2], "never": "falls"},
        {"kind": "robust", "level": 0.05},
    ],
    "not_worse_on_slices": {"by": ["town"]},
    "no_weak_slice": {},
    "sure_answers": {"max_risk": 0.25, "min_coverage": 0.3},
}


def rows_of_a_shop(rows: int = 200, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "id": np.arange(rows),
            "dose": np.round(rng.uniform(0, 10, rows), 1),
            "count": rng.integers(0, 6, rows),
            "colour": rng.choice(["blue", "green", "red"], rows),
            "town": rng.choice(["Lima", "Oslo", "Quito"], rows),
            "member": rng.random(rows) < 0.5,
            "group": rng.choice(["a", "b"], rows),
        }
    )


def probabilities(yes: np.ndarray) -> Mapping[str, np.ndarray]:
    return {"probabilities": np.column_stack([1 - yes, yes])}


class Shop:
    """Rows whose truth is that a higher dose sells, and predictors of it."""

    def __init__(self, table: pl.DataFrame | None = None) -> None:
        self.table = rows_of_a_shop() if table is None else table
        self.truth = self.right(self.table)
        self.y = (np.random.default_rng(1).random(len(self.truth)) < self.truth).astype(np.int64)

    @staticmethod
    def right(table: pl.DataFrame) -> np.ndarray:
        """Return the true probability."""
        return 0.1 + 0.08 * table.get_column("dose").fill_null(5.0).to_numpy()

    def subject(self, yes: Yes, *, groups: np.ndarray | None = None) -> Subject:
        return Subject(BINARY, COLUMNS, lambda table: probabilities(yes(table)), self.table, self.y, groups)

    def regression(self, value: Yes, half_width: float = 1.0) -> Subject:
        def predict(table: pl.DataFrame) -> Mapping[str, np.ndarray]:
            v = value(table)[:, None]
            return {"value": v, "interval": np.hstack([v - half_width, v + half_width])}

        return Subject(REGRESSION, COLUMNS, predict, self.table, self.truth)

    def measured(self, subject: Subject) -> Comparison:
        candidate = subject.answers()
        if candidate.task == "regression":
            baseline = Answers("regression", subject.y, value=np.full(len(subject), subject.y.mean()))
        else:
            share = np.full(len(subject), self.y.mean())
            baseline = Answers("binary", subject.y, probabilities=np.column_stack([1 - share, share]))
        spec = EvaluationSpec(bootstrap=BootstrapSpec(resamples=200))
        return compare({"candidate": candidate, "baseline": baseline}, spec, groups=None, seed=0)

    def judged(
        self, yes: Yes, champion: Yes | None = None, *, fairness: FairnessSpec | None = None, **rules: object
    ) -> GateReport:
        """Return the verdict of a gate with a rule of every sort; ``rules`` are added, or replace one."""
        subject = self.subject(yes)
        candidate = subject.answers()
        share = np.full(len(subject), self.y.mean())
        return judge(
            use_case="shop",
            candidate_name="candidate",
            candidate=candidate,
            uncalibrated=candidate,
            baseline=Answers("binary", self.y, probabilities=np.column_stack([1 - share, share])),
            champion=None if champion is None else self.subject(champion).answers(),
            evaluation=EvaluationSpec(bootstrap=BootstrapSpec(resamples=300)),
            gate=GateSpec.model_validate({**GATE, **rules}),
            subject=subject,
            calibration=subject,
            fairness=fairness,
        )


@pytest.fixture(scope="session")
def explainer_of() -> Callable[[Subject], Explainer]:
    """Explain a subject's own function, against four of its rows."""

    def make(subject: Subject) -> Explainer:
        def run(columns: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            return subject.predict(pl.DataFrame({name: values[:, 0] for name, values in columns.items()}))

        rows = subject.table.select(subject.reads).head(4).to_dicts()
        return Explainer(run, subject.contract, Background(rows=tuple(rows), typical=rows[0]))

    return make


@pytest.fixture(scope="session")
def shop() -> Shop:
    return Shop()


@pytest.fixture(scope="session")
def large_shop() -> Shop:
    return Shop(rows_of_a_shop(3000, seed=3))
