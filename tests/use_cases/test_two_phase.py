"""Two phases from ``use_case.yaml`` to the answer: the same phase and bits wherever a version is asked."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import onnxruntime
import polars as pl
import pytest

from aforo.contracts.run import RunKey, SplitManifest
from aforo.errors import UseCaseError
from aforo.registry.bundle import SMALL, Bundle, read_bundle
from aforo.workflows import bulk, reproduce
from aforo.workflows.parts import Parts

if TYPE_CHECKING:
    from conftest import Home

ROOT = Path(__file__).parents[2]
DATA = ROOT / "services" / "use_cases" / "breast_cancer" / "data.csv"
TWO_PHASE = {"max_loss": 0.02, "min_share": 0.2}


def add(home: Home, document: dict[str, Any], two_phase: dict[str, Any] | None) -> None:
    """Trees on three columns, and a small network before them."""
    candidates = [document["candidates"][0], {"kind": "boosted_trees", "trees": 40}]
    home.add_use_case(
        "tiny", {**document, "candidates": candidates, "two_phase": two_phase}, {"data.csv": DATA.read_bytes()}
    )


@dataclass(frozen=True)
class World:
    home: Home
    bundle: Bundle
    rows: pl.DataFrame
    """The test part, with the inputs alone."""

    @property
    def expected(self) -> list[dict[str, Any]]:
        """What the two graphs answer, put together here by hand."""
        contract = self.bundle.contract
        full, small = (self.run(name) for name in ("predictor.onnx", SMALL))
        assert contract.two_phase is not None
        sure = small.max(axis=1) >= contract.two_phase.confidence
        return [
            {"probabilities": (quick if is_sure else slow).tolist(), "phase": "small" if is_sure else "full"}
            for quick, slow, is_sure in zip(small, full, sure, strict=True)
        ]

    def run(self, graph: str) -> np.ndarray:
        session = onnxruntime.InferenceSession(self.bundle.folder / graph, providers=["CPUExecutionProvider"])
        columns = json.loads(session.get_modelmeta().custom_metadata_map["number_columns"])
        numbers = self.rows.select(pl.col(columns).cast(pl.Float64)).to_numpy()
        return np.asarray(session.run(["probabilities"], {"_numbers": np.ascontiguousarray(numbers)})[0])


@pytest.fixture(scope="module")
def world(
    new_home: Callable[[Path | None], Home], tiny_document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> World:
    home = new_home(tmp_path_factory.mktemp("two_phase"))
    add(home, tiny_document, TWO_PHASE)
    home.run("tiny")
    folder = home.platform.versions.download("tiny", "1", tmp_path_factory.mktemp("bundle") / "bundle")
    bundle = read_bundle(folder, home.platform.signing_key)
    split = SplitManifest.model_validate(home.manifest("split", "tiny"))
    table = Parts.load(split, home.use_case("tiny"), home.platform).of("test")
    return World(home, bundle, table.select([column.name for column in bundle.contract.inputs]))


@pytest.fixture(scope="module")
def client(world: World, serve: Callable[..., httpx.Client]) -> httpx.Client:
    return serve(world.home)


def asked(client: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_both_models_answer_some_of_the_rows(world: World):
    assert {each["phase"] for each in world.expected} == {"small", "full"}


def test_the_api_says_for_each_row_which_phase_spoke(world: World, client: httpx.Client):
    answered = asked(client, "/models/tiny/predict", {"rows": world.rows.to_dicts()})["predictions"]

    assert [
        {"probabilities": list(each["probabilities"].values()), "phase": each["phase"]} for each in answered
    ] == world.expected


def test_a_row_alone_is_answered_as_among_others(world: World, client: httpx.Client):
    for row, expected in list(zip(world.rows.to_dicts(), world.expected, strict=True))[:20]:
        (alone,) = asked(client, "/models/tiny/predict", {"rows": [row]})["predictions"]
        assert (list(alone["probabilities"].values()), alone["phase"]) == (expected["probabilities"], expected["phase"])


def test_the_other_protocols_say_it_too(world: World, client: httpx.Client):
    tensors = [
        {"name": name, "shape": [world.rows.height], "datatype": "FP64", "data": world.rows[name].to_list()}
        for name in world.rows.columns
    ]
    by_tensor = asked(client, "/v2/models/tiny/infer", {"inputs": tensors})["outputs"]
    by_record = asked(client, "/models/tiny/invocations", {"dataframe_records": world.rows.to_dicts()})["predictions"]

    phases = [each["phase"] for each in world.expected]
    assert next(tensor for tensor in by_tensor if tensor["name"] == "phase")["data"] == phases
    assert [record["phase"] for record in by_record] == phases
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["tiny.Prediction"]["properties"]["phase"]["enum"] == ["small", "full"]
    metadata = client.get("/v2/models/tiny").json()["outputs"]
    assert {"name": "phase", "datatype": "BYTES", "shape": [-1]} in metadata


def test_bulk_and_pyfunc_give_the_same_bits_and_phases(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import mlflow

    world.rows.write_parquet(tmp_path / "rows.parquet")
    bulk.predict("tiny", "champion", str(tmp_path / "rows.parquet"), str(tmp_path / "out"), world.home.platform)
    in_bulk = pl.read_parquet(tmp_path / "out" / "part-*.parquet")
    monkeypatch.setenv("AFORO_HOME", str(world.home.folder))
    mlflow.set_tracking_uri(world.home.settings.mlflow_tracking_uri)
    mlflow.set_registry_uri(world.home.settings.mlflow_tracking_uri)
    model = mlflow.pyfunc.load_model("models:/tiny@champion")
    by_pyfunc = model.predict(world.rows.to_pandas())

    columns = [f"probability_{label}" for label in world.bundle.contract.classes]
    for table in (in_bulk, pl.from_pandas(by_pyfunc)):
        assert table.select(columns).rows() == [tuple(each["probabilities"]) for each in world.expected]
        assert table["phase"].to_list() == [each["phase"] for each in world.expected]
    assert "phase" in model.metadata.signature.outputs.input_names()


def test_metrics_count_the_rows_of_each_phase(
    new_home: Callable[[Path | None], Home], world: World, client: httpx.Client
):
    def counted() -> dict[str, int]:
        lines = client.get("/metrics").text.splitlines()
        found = [line for line in lines if line.startswith('aforo_phase_rows_total{model="tiny",version="1"')]
        return {line.split('phase="')[1].split('"')[0]: int(line.split()[-1]) for line in found}

    before = counted()
    asked(client, "/models/tiny/predict", {"rows": world.rows.to_dicts()})
    phases = [each["phase"] for each in world.expected]
    wanted = {phase: before.get(phase, 0) + phases.count(phase) for phase in ("small", "full")}
    end = time.monotonic() + 20
    while counted() != wanted and time.monotonic() < end:
        time.sleep(0.2)
    assert counted() == wanted


def test_the_gate_judged_what_is_served(world: World):
    report = json.loads(world.bundle.attachment("report.json") or b"")
    page = (world.bundle.attachment("report.html") or b"").decode()
    labels = np.array([np.argmax(each["probabilities"]) for each in world.expected])
    manifest = SplitManifest.model_validate(world.home.manifest("split", "tiny"))
    use_case = world.home.use_case("tiny")
    truth = use_case.targets(Parts.load(manifest, use_case, world.home.platform).of("test"))
    by_small = np.mean([each["phase"] == "small" for each in world.expected])

    assert report["metrics"]["candidate"]["accuracy"]["value"] == pytest.approx(np.mean(labels == truth))
    assert report["two_phase"]["share"]["value"] == pytest.approx(by_small)
    lost = report["metrics"]["full"]["accuracy"]["value"] - report["metrics"]["candidate"]["accuracy"]["value"]
    assert report["two_phase"]["lost"]["value"] == pytest.approx(lost)
    assert {"two_phase_loss", "two_phase_share"} <= {rule["name"] for rule in report["rules"]}
    assert "<h2>Two phases</h2>" in page
    assert f"{by_small:.1%}" in page


def test_the_small_model_has_its_run_in_mlflow(world: World):
    runs = {run.data.tags.get("candidate"): run for run in world.home.tracked_runs("tiny")}

    assert runs["small"].info.status == "FINISHED"
    assert "test.accuracy" in runs["small"].data.metrics
    assert "two_phase.share.value" in runs[None].data.metrics


def test_it_is_reproduced_small_model_and_confidence_included(world: World):
    certificate = reproduce.run(world.home.use_case("tiny"), RunKey("one"), world.home.platform)

    links = {link.name: link for link in certificate.links}
    assert [name for name, link in links.items() if link.status != "same"] == []
    small = hashlib.sha256((world.bundle.folder / SMALL).read_bytes()).hexdigest()
    assert links["small model"].recorded == links["small model"].found == small
    assert world.bundle.contract.two_phase is not None
    assert links["two phases"].found == f"TwoPhase(confidence={world.bundle.contract.two_phase.confidence!r})"


OFFLINE = """
import sys
sys.path.append(sys.argv.pop(1))
for name in ("aforo", "prediction_api", "onnx", "sklearn", "torch", "polars", "pandas", "mlflow", "pydantic"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(f"{name} can be imported here")
import runpy
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_small_file_answers_offline_with_onnxruntime_and_numpy_alone(world: World, tmp_path: Path):
    packages = tmp_path / "packages"
    packages.mkdir()
    home = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs", "onnxruntime"):
        (packages / name).symlink_to(home / name)

    done = subprocess.run(
        [
            sys.executable,
            "-IS",  # no site-packages: nothing that is installed can be found
            "-c",
            OFFLINE,
            packages,
            ROOT / "docs/examples/on_device.py",
            world.bundle.folder / SMALL,
        ],
        input=json.dumps(world.rows.to_dicts()),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    classes = world.bundle.contract.classes
    for answer, expected in zip(answers, world.expected, strict=True):
        assert answer["phase"] == expected["phase"]
        if answer["phase"] == "small":
            confidence = max(expected["probabilities"])
            assert answer["confidence"] == confidence
            abstains = confidence < (world.bundle.contract.abstain_below or 0)
            assert answer["label"] == (None if abstains else classes[int(np.argmax(expected["probabilities"]))])


def test_a_small_model_that_answers_too_little_is_refused_by_the_gate(home: Home, tiny_document: dict[str, Any]):
    add(home, tiny_document, {**TWO_PHASE, "min_share": 1.0})

    taken = home.run("tiny", last="evaluate")

    assert taken["evaluate"].verdict == "refuse"
    assert any("of the rows; 100% are asked for" in reason for reason in taken["evaluate"].reasons)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"two_phase": {}}, r"two_phase\.max_loss: Field required"),
        ({"two_phase": {"max_loss": 0.1, "small": {"kind": "tiny_network"}}}, "valid kinds: .*quantized_network"),
        ({"two_phase": {"max_loss": 0.1, "metric": "rmse"}}, r"two_phase\.metric is 'rmse', which cannot decide"),
        (
            {
                "two_phase": {"max_loss": 0.1},
                "candidates": [{"kind": "historical_rate"}, {"kind": "linear", "name": "small"}],
            },
            "a candidate is called 'small', which two_phase uses itself",
        ),
        (
            {
                "two_phase": {
                    "max_loss": 0.1,
                    "small": {"kind": "linear", "features": [{"kind": "numeric", "columns": ["age"]}]},
                }
            },
            "feature column 'age' is not in data.columns",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(home: Home, tiny_document: dict[str, Any], change: Any, message: str):
    home.add_use_case("tiny", {**tiny_document, **change}, {"data.csv": b""})

    with pytest.raises(UseCaseError, match=message):
        home.use_case("tiny")
