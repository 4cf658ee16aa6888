"""A large graph is in memory once, however many workers answer with it, and whenever it arrived."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aforo.errors import BundleRefused, SettingsError
from aforo.export.inference import GraphPredictor, MappedGraph, columns_of
from prediction_api.shared_graphs import SharedGraphs

TABLE_MB = 64


def heavy(graph: bytes) -> bytes:
    """Return the graph with a table of 64 MB, of which a row's answer reads a part that adds nothing."""
    model = onnx.load_model_from_string(graph)
    table = np.zeros((TABLE_MB * 2**20 // 8 // 1024, 1024))
    model.graph.initializer.extend(
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1, 2]), "axes")]
    )
    (last,) = (node for node in model.graph.node if list(node.output) == ["z"])
    last.output[0] = "light"
    place = list(model.graph.node).index(last) + 1
    node = helper.make_node
    for new in reversed(
        [
            node("Cast", ["distance"], ["row_of_table"], to=TensorProto.INT64),
            node("Gather", ["table", "row_of_table"], ["rows_of_table"]),
            node("ReduceSum", ["rows_of_table", "axes"], ["flat"], keepdims=0),
            node("Unsqueeze", ["flat", "axis_1"], ["ballast"]),
            node("Add", ["light", "ballast"], ["z"]),
        ]
    ):
        model.graph.node.insert(place, new)
    return model.SerializeToString()


@pytest.fixture
def heavy_graph(graph_of):
    return heavy(graph_of("binary", 1.0))


@pytest.fixture
def graphs(registry):
    shared = SharedGraphs(registry.folder, least_bytes=2**20)
    yield shared
    shared.close()


def digest_of(bundle):
    return hashlib.sha256((bundle / "predictor.onnx").read_bytes()).hexdigest()


def mapped_folders(registry):
    return sorted(registry.folder.glob(".mapped-*"))


def test_a_small_graph_is_given_as_its_bytes(registry, graphs):
    bundle = registry.add("flight_delay", "1")

    assert graphs.take(bundle, digest_of(bundle)) == (bundle / "predictor.onnx").read_bytes()


def test_a_mapped_graph_gives_the_numbers_of_the_one_in_the_bundle(registry, graphs, heavy_graph, contract_of, row):
    bundle = registry.add("flight_delay", "1", graph=heavy_graph)
    contract = contract_of("flight_delay", "binary")
    columns = columns_of([row, {**row, "distance": 0.0, "seats": None}], contract)

    graph = graphs.take(bundle, digest_of(bundle))

    assert isinstance(graph, MappedGraph)
    mapped = GraphPredictor(graph, contract).run(columns)["probabilities"]
    assert mapped.tolist() == GraphPredictor(heavy_graph, contract).run(columns)["probabilities"].tolist()


def test_a_graph_is_written_once(registry, graphs, heavy_graph):
    bundle = registry.add("flight_delay", "1", graph=heavy_graph)
    first = graphs.take(bundle, digest_of(bundle))
    written = (first.folder / "constants.bin").stat().st_mtime_ns

    assert graphs.take(bundle, digest_of(bundle)) == first
    assert (first.folder / "constants.bin").stat().st_mtime_ns == written


def test_a_graph_of_another_digest_is_refused_and_nothing_is_left_of_it(registry, graphs, heavy_graph):
    bundle = registry.add("flight_delay", "1", graph=heavy_graph)

    with pytest.raises(BundleRefused, match="SHA-256"):
        graphs.take(bundle, "0" * 64)

    assert not list(mapped_folders(registry)[0].glob("*/*/*/*"))


def test_what_is_no_graph_is_refused(registry, graphs):
    bundle = registry.folder / "flight_delay" / "1"
    bundle.mkdir(parents=True)
    (bundle / "predictor.onnx").write_bytes(bytes(2**20))

    with pytest.raises(BundleRefused, match="cannot be loaded by ONNX Runtime"):
        graphs.take(bundle, digest_of(bundle))


def test_the_graph_of_a_version_that_left_the_local_copy_is_removed(registry, graphs, heavy_graph):
    bundle = registry.add("flight_delay", "1", graph=heavy_graph)
    graph = graphs.take(bundle, digest_of(bundle))
    graphs.forget_others()
    assert graph.folder.exists()

    bundle.rename(registry.folder / "elsewhere")
    graphs.forget_others()

    assert not graph.folder.exists()


def test_the_folder_of_a_service_that_was_killed_is_removed_and_one_in_use_is_not(registry, graphs):
    program = "import os, sys; from pathlib import Path; from prediction_api.shared_graphs import SharedGraphs as S; "
    program += "graphs = S(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", program, registry.folder], check=False)
    assert len(mapped_folders(registry)) == 2

    other = SharedGraphs(registry.folder)
    assert len(mapped_folders(registry)) == 2
    other.close()

    assert len(mapped_folders(registry)) == 1


def pss_mb(pid):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


def test_a_large_version_that_arrives_later_is_in_memory_once_for_all_workers(registry, run_service, heavy_graph, row):
    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1")

    rows = [{**row, "distance": float(distance)} for distance in range(8000)]

    def ask_every_worker(service):
        for _ in range(40):  # connections meet the workers by chance
            with service.client() as client:
                assert client.post("/models/flight_delay/predict", json={"rows": rows}).status_code == 200

    with run_service(registry, workers=3) as service:
        service.wait_until(lambda client: len(client.get("/models/flight_delay").json()["workers"]) == 3)
        ask_every_worker(service)  # what such requests themselves need is no part of the difference
        with service.client() as client:
            pids = [worker["pid"] for worker in client.get("/models/flight_delay").json()["workers"]]
        before = sum(map(pss_mb, [service.process.pid, *pids]))
        registry.add("flight_delay", "2", graph=heavy_graph)
        registry.point("flight_delay", champion="2")
        service.wait_until(
            lambda client: (
                [worker["live"] for worker in client.get("/models/flight_delay").json()["workers"]]
                == [{"champion": "2"}] * 3
            )
        )
        ask_every_worker(service)
        after = sum(map(pss_mb, [service.process.pid, *pids]))

    assert TABLE_MB * 0.9 < after - before < TABLE_MB * 1.5
    assert not mapped_folders(registry)


def test_a_local_copy_that_cannot_be_written_to_is_refused_with_a_hint(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match="cannot hold what the workers share") as refusal:
        SharedGraphs(tmp_path / "file" / "mirror")

    assert refusal.value.hint == "make the folder of the local copy writable for the service"
