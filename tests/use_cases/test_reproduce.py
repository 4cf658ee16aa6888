"""A registered version is made again, and the certificate names the link that broke."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from aforo.cli.main import app
from aforo.contracts.certificate import Certificate
from aforo.contracts.run import IngestManifest, RunKey, SplitManifest, TrainManifest
from aforo.errors import NotReproduced, StepNotReady
from aforo.registry.signing import is_signed
from aforo.settings import Settings
from aforo.use_case import UseCase, load_use_case
from aforo.workflows import calibrate, evaluate, ingest, promote, provenance, reproduce, split, train, validate
from aforo.workflows.wiring import Platform

KEY = RunKey("first")
SHIPPED = Path(__file__).parents[2] / "services" / "use_cases" / "newborn_weight"


@dataclass
class World:
    """One use case with a champion, in a folder of its own."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"AFORO_HOME": str(self.folder / "home"), "AFORO_USE_CASES": str(self.folder / "use_cases")}

    @property
    def file(self) -> Path:
        return self.folder / "use_cases" / "newborn_weight" / "use_case.yaml"

    @property
    def use_case(self) -> UseCase:
        return load_use_case(self.folder / "use_cases", "newborn_weight")

    @property
    def platform(self) -> Platform:
        return Platform.of(Settings.from_environment(self.environment))

    def certificate(self, **options: float) -> Certificate:
        return reproduce.run(self.use_case, KEY, self.platform, **options)

    def stored(self, key: str) -> Path:
        return self.folder / "home" / "store" / key


@pytest.fixture(scope="module")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The births with the two candidates that are fitted in a moment."""
    folder = tmp_path_factory.mktemp("trained") / "world"
    shutil.copytree(SHIPPED, folder / "use_cases" / "newborn_weight")
    world = World(folder)
    document = yaml.safe_load(world.file.read_text())
    document["candidates"] = document["candidates"][:2]
    document["evaluation"] = {"bootstrap": {"resamples": 100}}
    world.file.write_text(yaml.safe_dump(document, sort_keys=False))
    for step in (ingest, validate, split, train, calibrate, evaluate, promote):
        step.run(world.use_case, KEY, world.platform)
    return folder


@pytest.fixture
def world(_trained: Path, tmp_path: Path) -> Iterator[World]:
    """The one trained folder, lent to a test; what tests change in it is put back. MLflow's database stays open."""
    changed = ("use_cases", "home/store")
    for part in changed:
        shutil.copytree(_trained / part, tmp_path / part)
    yield World(_trained)
    for part in changed:
        shutil.rmtree(_trained / part)
        shutil.copytree(tmp_path / part, _trained / part)


def test_an_untouched_version_is_reproduced_bit_for_bit(world: World) -> None:
    certificate = world.certificate()

    assert [link.name for link in certificate.links] == [
        "use case",
        "code",
        "libraries",
        "source",
        "snapshot",
        "split",
        "candidates",
        "model",
        "golden rows",
        "predictions",
    ]
    assert {link.status for link in certificate.links} == {"same"}
    assert certificate.model_version == "1"


def test_the_certificate_is_signed_and_stored_with_the_version(world: World) -> None:
    certificate = world.certificate()

    (folder,) = world.stored("runs/newborn_weight/first/reproduce").iterdir()
    text = (folder / "certificate.json").read_bytes()
    assert Certificate.model_validate_json(text) == certificate
    assert is_signed(text, (folder / "certificate.sig").read_text().strip(), world.platform.signing_key)
    tags = world.platform.versions.resolve("newborn_weight", "champion").tags
    assert (tags["reproduced"], tags["reproduced_at"]) == ("yes", certificate.at)


def test_one_changed_byte_of_the_source_is_shown_with_its_row_and_value(world: World) -> None:
    source = world.file.with_name("data.csv")
    source.write_text(source.read_text().replace("\n500,43.0,", "\n500,44.0,", 1))

    (broken,) = world.certificate().broken

    assert broken.name == "source"
    assert broken.differences == ("fage changed in 1 row(s): birth=500: 43 -> 44",)


def test_a_source_that_is_gone_is_said_and_the_rest_still_compared(world: World) -> None:
    world.file.with_name("data.csv").unlink()

    certificate = world.certificate()

    (broken,) = certificate.broken
    assert (broken.name, broken.status) == ("source", "unknown")
    assert "no file matches 'data.csv'" in broken.differences[0]
    assert certificate.links[-1].status == "same"


def test_a_changed_use_case_is_named_by_its_field_and_the_version_made_from_the_former_one(world: World) -> None:
    world.file.write_text(world.file.read_text().replace("seed: 2026", "seed: 7"))

    certificate = world.certificate()

    (broken,) = certificate.broken
    assert (broken.name, broken.differences) == ("use case", ("seed: 2026 -> 7",))


def test_changed_code_is_named_by_its_file(world: World) -> None:
    world.file.with_name("helpers.py").write_text("HOURS = 24\n")

    (broken,) = world.certificate().broken

    assert (broken.name, broken.differences) == ("code", ("newborn_weight/helpers.py is new",))


def test_another_version_of_a_library_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    here = provenance.libraries()
    monkeypatch.setattr(provenance, "libraries", lambda: {**here, "numpy": "0.0.1"})

    (broken,) = world.certificate().broken

    assert (broken.name, broken.differences) == ("libraries", (f"numpy: '{here['numpy']}' -> '0.0.1'",))


def test_a_provenance_that_was_changed_afterwards_does_not_fit_the_signed_bundle(world: World) -> None:
    file = world.stored(world.platform.runs.read("newborn_weight", KEY, TrainManifest).provenance)
    document = json.loads(file.read_text())
    document["libraries"]["numpy"] = "0.0.1"
    file.write_text(json.dumps(document))

    links = {link.name: link for link in world.certificate().links}

    assert links["libraries"].differences[0].startswith("provenance.json was changed")


def test_a_damaged_snapshot_ends_the_chain_and_names_the_part(world: World) -> None:
    snapshot_id = world.platform.runs.read("newborn_weight", KEY, SplitManifest).snapshot_id
    part = world.stored(f"snapshots/{snapshot_id}/part-00000.parquet")
    part.write_bytes(part.read_bytes()[:-1] + b"\0")

    certificate = world.certificate()

    assert certificate.links[-1].name == "snapshot"
    assert "part-00000.parquet" in certificate.links[-1].differences[0]


def test_a_membership_that_was_changed_shows_which_rows_moved(world: World) -> None:
    split_manifest = world.platform.runs.read("newborn_weight", KEY, SplitManifest)
    file = world.stored(split_manifest.membership)
    codes = pl.read_parquet(file).get_column("part").to_list()
    first_of_test = codes.index(3)
    codes[first_of_test] = 0
    pl.DataFrame({"part": pl.Series(codes, dtype=pl.UInt8)}).write_parquet(file)

    links = {link.name: link for link in world.certificate().links}

    # The recorded digest is that of the true membership, so the split holds; what was written beside it does not.
    assert links["split"].differences == ("1 rows moved from train to test",)


def test_a_fit_that_gives_something_else_is_seen_in_candidates_model_and_predictions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = reproduce.fit

    def with_another_penalty(use_case: UseCase, spec: object, parts: object, seed: int, **options: object) -> object:
        changed = spec.model_copy(update={"search": {"penalty": (500.0,)}}) if spec.kind == "linear" else spec
        return honest(use_case, changed, parts, seed, **options)

    monkeypatch.setattr(reproduce, "fit", with_another_penalty)

    certificate = world.certificate()

    assert [link.name for link in certificate.broken] == ["candidates", "model", "golden rows", "predictions"]
    assert certificate.broken[0].differences[0].startswith("linear: validation loss")
    assert certificate.broken[-1].differences[0].startswith("largest difference")
    assert [link.name for link in world.certificate(tolerance=100.0).broken] == ["candidates"]


def test_a_run_with_a_limit_reads_as_many_rows_again(world: World) -> None:
    key = RunKey("short")
    ingest.run(world.use_case, key, world.platform, limit=600)
    for step in (validate, split, train, calibrate, evaluate):
        step.run(world.use_case, key, world.platform)

    assert not reproduce.run(world.use_case, key, world.platform).broken


def test_a_run_that_was_given_its_snapshot_does_not_read_the_source(world: World) -> None:
    snapshot_id = world.platform.runs.read("newborn_weight", KEY, IngestManifest).snapshot_id
    key = RunKey("given")
    ingest.run(world.use_case, key, world.platform, snapshot=snapshot_id)
    for step in (validate, split):
        step.run(world.use_case, key, world.platform)
    train.run(world.use_case, key, world.platform, again=True)
    for step in (calibrate, evaluate):
        step.run(world.use_case, key, world.platform)
    world.file.with_name("data.csv").unlink()

    certificate = reproduce.run(world.use_case, key, world.platform)

    assert not certificate.broken
    assert certificate.links[3].differences == ("not read: the run was given its snapshot",)


def test_a_run_without_a_version_cannot_be_reproduced(world: World) -> None:
    with pytest.raises(StepNotReady, match="no finished step 'train'"):
        reproduce.run(world.use_case, RunKey("never"), world.platform)


def test_the_command_takes_a_run_key_or_a_version(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)

    by_key = CliRunner().invoke(app, ["reproduce", "first"])
    by_alias = CliRunner().invoke(app, ["reproduce", "newborn_weight@champion", "--json"])
    unknown = CliRunner().invoke(app, ["reproduce", "never"])
    world.file.with_name("helpers.py").write_text("HOURS = 24\n")
    broken = CliRunner().invoke(app, ["reproduce", "newborn_weight@1"])

    assert by_key.exit_code == 0
    assert by_key.stdout.splitlines()[-1] == "reproduced"
    assert Certificate.model_validate_json(by_alias.stdout).broken == ()
    assert isinstance(unknown.exception, StepNotReady)
    assert isinstance(broken.exception, NotReproduced)
    assert "not reproduced" in broken.stdout
