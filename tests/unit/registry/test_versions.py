from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pytest

from aforo.errors import BundleRefused, ModelNotFound
from aforo.registry.bundle import read_bundle
from aforo.registry.registration import register_version

if TYPE_CHECKING:
    from conftest import World

KEY = b"0123456789abcdef0123456789abcdef"


@pytest.mark.usefixtures("signing_key_in_place")
def test_a_version_says_what_it_was_made_from(world: World):
    version = world.register("monday")

    assert version.version == "1"
    assert version.tags == {
        "run_key": "monday",
        "snapshot_id": "a" * 64,
        "split_digest": "b" * 64,
        "model_digest": hashlib.sha256((world.bundles[0] / "predictor.onnx").read_bytes()).hexdigest(),
        "bundle_digest": hashlib.sha256((world.bundles[0] / "bundle.json").read_bytes()).hexdigest(),
        "candidate": "boosted_trees",
        "verdict": "promote",
    }
    assert version.description.startswith("Will it be late?")
    assert "| brier | 0.12 |" in version.description
    assert version.run_id == world.tracker.run("flight_delay", "monday", {}).run_id
    assert world.versions.aliases("flight_delay") == {"challenger": "1"}


@pytest.mark.usefixtures("signing_key_in_place")
def test_a_step_that_is_tried_again_registers_nothing_new(world: World):
    first = world.register("monday", weight=0.1)
    second = world.register("tuesday", weight=0.2)

    again = world.register("monday", weight=0.1)

    assert again == first
    assert [version.version for version in world.versions.all("flight_delay")] == ["1", "2"]
    assert world.versions.aliases("flight_delay") == {"challenger": second.version}


@pytest.mark.usefixtures("signing_key_in_place")
def test_a_step_that_made_something_else_registers_it(world: World):
    world.register("monday", weight=0.1)
    other = world.register("monday", weight=0.2)

    assert other.version == "2"
    assert world.versions.find("flight_delay", run_key="monday") == other


@pytest.mark.usefixtures("signing_key_in_place")
def test_a_verdict_that_changed_is_recorded(world: World):
    world.register("monday", weight=0.1, verdict="refuse")

    assert world.register("monday", weight=0.1, verdict="promote").tags["verdict"] == "promote"
    assert world.versions.resolve("flight_delay", "1").tags["verdict"] == "promote"


@pytest.mark.usefixtures("signing_key_in_place")
def test_versions_are_found_by_number_and_alias(world: World):
    first, second = world.register("monday"), world.register("tuesday")
    world.versions.set_alias("flight_delay", "champion", "1")

    assert world.versions.resolve("flight_delay", "2") == second
    assert world.versions.resolve("flight_delay", "champion") == first
    assert world.versions.champion("flight_delay") == first
    assert world.versions.models() == ["flight_delay"]


@pytest.mark.usefixtures("signing_key_in_place")
@pytest.mark.parametrize("asked", ["3", "production", "latest", "1'; --"])
def test_a_version_that_is_not_there_is_answered_with_those_that_are(world: World, asked: str):
    world.register("monday")

    with pytest.raises(ModelNotFound, match=r"there are: 1, challenger$"):
        world.versions.resolve("flight_delay", asked)


def test_a_model_that_is_not_there_is_answered_with_those_that_are(world: World):
    with pytest.raises(ModelNotFound, match="no model 'digits' is registered; there are: none"):
        world.versions.resolve("digits", "champion")
    assert world.versions.champion("digits") is None
    assert world.versions.all("digits") == []
    assert world.versions.find("digits", run_key="monday") is None


@pytest.mark.usefixtures("signing_key_in_place")
def test_a_downloaded_bundle_is_the_one_that_was_registered(world: World, tmp_path: Path):
    world.register("monday")

    folder = world.versions.download("flight_delay", "1", tmp_path / "fetched" / "bundle")

    assert read_bundle(folder, KEY).signed
    for path in world.bundles[0].iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


@pytest.mark.usefixtures("signing_key_in_place")
def test_a_version_without_a_bundle_is_refused_and_one_that_is_not_there_not_found(world: World, tmp_path: Path):
    world.register("monday")
    [stored] = (world.settings.home / "mlartifacts").rglob("data/bundle")
    shutil.rmtree(stored)

    with pytest.raises(BundleRefused, match="flight_delay version 1 holds no bundle"):
        world.versions.download("flight_delay", "1", tmp_path / "bundle")
    with pytest.raises(ModelNotFound, match="no version or alias '7'"):
        world.versions.download("flight_delay", "7", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.usefixtures("signing_key_in_place")
def test_signature_and_example_are_in_the_model(world: World):
    version = world.register("monday")

    info = mlflow.models.get_model_info("models:/flight_delay/1")

    columns = {column.name: (column.type.name, column.required) for column in info.signature.inputs}
    assert columns == {
        "hour": ("double", False),  # for MLflow a whole number is never missing
        "distance": ("double", True),
        "carrier": ("string", True),
        "weekend": ("boolean", False),
    }
    assert info.signature.outputs.input_names() == ["probability_no", "probability_yes", "label"]
    model = mlflow.pyfunc.load_model("models:/flight_delay/1")
    assert len(model.predict(model.input_example)) == 3
    assert info.run_id == version.run_id


@pytest.mark.usefixtures("signing_key_in_place")
def test_a_model_is_logged_in_its_own_experiment_and_quickly(world: World):
    world.register("monday")

    run = world.tracker.run("flight_delay", "monday", {})
    [logged] = mlflow.search_logged_models(experiment_ids=[run.experiment_id], output_format="list")
    assert logged.source_run_id == run.run_id
    assert logged.tags["run_key"] == "monday"
    assert str(logged.status) == "READY"


def test_a_bundle_in_a_folder_of_another_name_is_a_mistake_of_the_caller(world: World, tmp_path: Path, bundle_writer):
    bundle_writer(tmp_path / "package")
    run = world.tracker.run("flight_delay", "monday", {})

    with pytest.raises(ValueError, match="called 'package'; expected 'bundle'"):
        register_version(world.versions, tmp_path / "package", run=run, verdict="promote")
