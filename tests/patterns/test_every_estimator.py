"""What holds for every kind of candidate and every task, by being in the union."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from aforo.contracts.prediction import TaskKind
from aforo.contracts.table import ColumnContract, Role
from aforo.errors import TrainingError
from aforo.export.compile import compile_scores
from aforo.export.inference import open_session
from aforo.export.tables import columns_from
from aforo.features import FeatureSpec
from aforo.models.estimators import CandidateSpec, Estimator, Task
from aforo.models.estimators.estimator import CandidateSpecification
from aforo.models.training import Budget, FittedCandidate, fit_candidate

Run = Callable[[Estimator, np.ndarray], np.ndarray]

ADAPTER: TypeAdapter[CandidateSpecification] = TypeAdapter(CandidateSpec)
KINDS = [kind.model_fields["kind"].default for kind in get_args(get_args(CandidateSpec)[0])]
# Every kind is tried as it is, and with these.
VARIANTS = {
    "historical_rate": [{"by": ["city", "hour"]}, {"by": ["truth"], "smoothing": 0.5}],
    "linear": [{"penalty": 100}],
    "boosted_trees": [{"trees": 30, "leaves": 4}, {"trees": 1}],
    "neural_network": [{"hidden": [8], "dropout": 0.2, "epochs": 3}],
    "quantized_network": [{"hidden": []}, {"hidden": [8, 4], "epochs": 3}],
}
TASKS = {
    "binary": Task("binary", ("no", "yes")),
    "multiclass": Task("multiclass", ("low", "middle", "high")),
    "regression": Task("regression"),
}
CITIES = ["Lima", "Oslo", "Quito", "東京"]
INPUTS = tuple(
    ColumnContract(name=name, type=kind, role=Role.FEATURE, nullable=True)
    for name, kind in {"city": "string", "hour": "integer", "x": "number", "truth": "boolean", "same": "number"}.items()
)
FEATURES = TypeAdapter(tuple[FeatureSpec, ...]).validate_python(
    [
        {"kind": "one_hot", "columns": ["city"]},
        {"kind": "scale", "columns": ["hour", "x", "same"], "missing": {"fill": "mean", "indicator": True}},
        {"kind": "numeric", "columns": ["truth"], "missing": {"fill": 0}},
    ]
)
CASES = [
    (task, {"kind": kind, **variant}) for kind in KINDS for variant in [{}, *VARIANTS.get(kind, [])] for task in TASKS
]


def make_rows(rows: int, seed: int, task: TaskKind) -> pl.DataFrame:
    """Return rows whose target depends on all columns but ``same``, with some values missing."""
    rng = np.random.default_rng(seed)
    city, hour, x, truth = (
        rng.integers(0, 4, rows),
        rng.integers(0, 24, rows),
        rng.normal(size=rows),
        rng.random(rows) > 0.5,
    )
    value = 0.8 * city + np.sin(hour / 4) + x + truth + rng.normal(0, 0.5, rows)
    level = np.digitize(value, [1.0, 2.8] if task == "multiclass" else [2.0])
    labels = {"binary": ["no", "yes"], "multiclass": ["low", "middle", "high"]}
    present = rng.random((4, rows)) > 0.05

    def column(values: np.ndarray, number: int) -> pl.Series:
        return pl.Series([v if p else None for v, p in zip(values.tolist(), present[number], strict=True)])

    return pl.DataFrame(
        {
            "city": column(np.array(CITIES)[city], 0),
            "hour": column(hour, 1),
            "x": column(x, 2),
            "truth": column(truth, 3),
            "same": pl.Series([1.0] * rows),
            "target": pl.Series(value if task == "regression" else [labels[task][i] for i in level]),
        }
    )


def strange_rows() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "city": [None, "never seen", "Oslo", ""],
            "hour": [None, 99, 3, -1],
            "x": [None, 1e9, -1e9, 0.0],
            "truth": [None, True, False, None],
            "same": [None, 0.0, 1.0, 2.0],
        }
    )


def fit(
    spec: CandidateSpecification,
    task: Task,
    *,
    train: pl.DataFrame | None = None,
    validation: pl.DataFrame | None = None,
    seed: int = 0,
) -> FittedCandidate:
    return fit_candidate(
        spec,
        features=FEATURES,
        task=task.kind,
        classes=task.classes,
        train=make_rows(500, 1, task.kind) if train is None else train,
        validation=make_rows(200, 2, task.kind) if validation is None else validation,
        target="target",
        seed=seed,
        budget=Budget(),
    )


def graph_scores(candidate: FittedCandidate, rows: pl.DataFrame) -> np.ndarray:
    session = open_session(compile_scores(candidate, INPUTS))
    return np.asarray(session.run(["scores"], columns_from(rows, INPUTS))[0])


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{'-'.join(map(str, case[1].values()))}")
def candidate(request: pytest.FixtureRequest) -> FittedCandidate:
    task, document = request.param
    return fit(ADAPTER.validate_python(document), TASKS[task])


def test_outputs_are_probabilities_or_finite_values(candidate: FittedCandidate) -> None:
    outputs = candidate.outputs(pl.concat([make_rows(100, 3, candidate.task.kind).drop("target"), strange_rows()]))

    assert outputs.shape == (104, candidate.task.width)
    assert np.isfinite(outputs).all()
    if not candidate.task.is_regression:
        assert (outputs >= 0).all()
        np.testing.assert_allclose(outputs.sum(axis=1), 1.0, atol=1e-12)


def test_the_graph_says_the_same(candidate: FittedCandidate) -> None:
    rows = pl.concat([make_rows(500, 1, candidate.task.kind).drop("target"), strange_rows()])
    expected = candidate.outputs(rows)

    difference = np.abs(graph_scores(candidate, rows) - expected) / np.maximum(1.0, np.abs(expected))

    assert difference.max() < 1e-12


def test_fitting_again_gives_the_same_bits(candidate: FittedCandidate) -> None:
    again = fit(candidate.spec, candidate.task)
    rows = make_rows(100, 3, candidate.task.kind)

    assert again.outputs(rows).tobytes() == candidate.outputs(rows).tobytes()
    assert compile_scores(again, INPUTS) == compile_scores(candidate, INPUTS)


def test_fitting_leaves_the_tables_alone(candidate: FittedCandidate) -> None:
    train, validation = make_rows(500, 1, candidate.task.kind), make_rows(200, 2, candidate.task.kind)
    fit(candidate.spec, candidate.task, train=train, validation=validation)

    assert train.equals(make_rows(500, 1, candidate.task.kind))
    assert validation.equals(make_rows(200, 2, candidate.task.kind))


def test_a_row_is_judged_alone_as_it_is_among_others(candidate: FittedCandidate) -> None:
    rows = pl.concat([make_rows(20, 4, candidate.task.kind).drop("target"), strange_rows()])
    alone = [rows.slice(row, 1) for row in range(rows.height)]

    np.testing.assert_allclose(
        np.vstack([candidate.outputs(row) for row in alone]), candidate.outputs(rows), rtol=1e-12, atol=1e-14
    )
    assert (
        np.vstack([graph_scores(candidate, row) for row in alone]).tobytes() == graph_scores(candidate, rows).tobytes()
    )


def test_no_rows_give_no_outputs(candidate: FittedCandidate) -> None:
    rows = make_rows(1, 4, candidate.task.kind).head(0)

    assert candidate.outputs(rows).shape == (0, candidate.task.width)
    assert graph_scores(candidate, rows).shape == (0, candidate.task.width)


def test_it_is_no_worse_than_saying_the_mean(candidate: FittedCandidate) -> None:
    constant = fit(ADAPTER.validate_python({"kind": "historical_rate"}), candidate.task)

    assert candidate.validation_loss <= constant.validation_loss


def test_one_class_in_training_is_refused(candidate: FittedCandidate) -> None:
    if candidate.task.is_regression:
        return
    rows = make_rows(500, 1, candidate.task.kind)
    one_class = rows.filter(pl.col("target") == candidate.task.classes[0])

    with pytest.raises(TrainingError, match=f"no row of class '{candidate.task.classes[1]}'"):
        fit(candidate.spec, candidate.task, train=one_class)


def test_a_label_that_is_no_class_is_refused(candidate: FittedCandidate) -> None:
    rows = make_rows(500, 1, candidate.task.kind)
    if candidate.task.is_regression:
        strange, message = rows.with_columns(target=pl.lit("high")), "a regression expects numbers"
    else:
        strange, message = rows.with_columns(target=pl.lit("unheard of")), "holds 'unheard of'; expected one of"

    with pytest.raises(TrainingError, match=message):
        fit(candidate.spec, candidate.task, validation=strange)


def test_an_empty_part_is_refused(candidate: FittedCandidate) -> None:
    with pytest.raises(TrainingError, match="the train part has no rows"):
        fit(candidate.spec, candidate.task, train=make_rows(5, 1, candidate.task.kind).head(0))
    with pytest.raises(TrainingError, match="the validation part has no rows"):
        fit(candidate.spec, candidate.task, validation=make_rows(5, 1, candidate.task.kind).head(0))


def test_columns_that_never_vary_are_no_fault(candidate: FittedCandidate) -> None:
    rows = make_rows(300, 1, candidate.task.kind).with_columns(
        city=pl.lit("Oslo"), hour=pl.lit(3), x=pl.lit(0.1), truth=pl.lit(True)
    )

    fitted = fit(candidate.spec, candidate.task, train=rows, validation=rows)

    outputs = fitted.outputs(rows.head(3))
    assert np.isfinite(outputs).all()
    np.testing.assert_allclose(graph_scores(fitted, rows.head(3)), outputs, atol=1e-12)
    assert np.isfinite(fitted.outputs(strange_rows())).all()


@pytest.mark.parametrize("kind", KINDS)
def test_missing_values_are_used_or_refused_by_the_features_name(kind: str) -> None:
    spec = ADAPTER.validate_python(
        {"kind": kind}
        if kind == "historical_rate"
        else {"kind": kind, "features": [{"kind": "numeric", "columns": ["x", "hour"]}]}
    )
    task = TASKS["binary"]
    if spec.build(task).accepts_missing:
        assert np.isfinite(fit(spec, task).outputs(strange_rows())).all()
    else:
        with pytest.raises(TrainingError, match="feature 'x' has missing values, which this model cannot use"):
            fit(spec, task)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_is_rarely_there_is_no_fault(kind: str) -> None:
    rows = make_rows(500, 1, "binary").with_columns(
        x=pl.when(pl.int_range(pl.len()) == 7).then(1.5), hour=pl.when(pl.int_range(pl.len()) < 20).then(pl.col("hour"))
    )

    fitted = fit(ADAPTER.validate_python({"kind": kind}), TASKS["binary"], train=rows)

    assert np.isfinite(fitted.outputs(strange_rows())).all()


def test_trees_take_a_column_with_one_value_and_gaps() -> None:
    rows = make_rows(500, 1, "binary").with_columns(x=pl.when(pl.int_range(pl.len()) % 3 == 0).then(1.5))
    spec = ADAPTER.validate_python(
        {"kind": "boosted_trees", "features": [{"kind": "numeric", "columns": ["x", "hour"]}]}
    )

    fitted = fit(spec, TASKS["binary"], train=rows)

    np.testing.assert_allclose(graph_scores(fitted, strange_rows()), fitted.outputs(strange_rows()), atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_its_name_is_its_kind_unless_given(kind: str) -> None:
    assert ADAPTER.validate_python({"kind": kind}).name == kind
    assert ADAPTER.validate_python({"kind": kind, "name": "mine"}).name == "mine"


@pytest.mark.parametrize(("task", "document"), CASES)
def test_the_yaml_survives_a_round_trip(task: str, document: dict[str, object]) -> None:
    spec = ADAPTER.validate_python(document)

    assert ADAPTER.validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_over_no_hyperparameter_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match="search names 'colour', which is no hyperparameter here; there are: "):
        ADAPTER.validate_python({"kind": kind, "search": {"colour": [1]}})
