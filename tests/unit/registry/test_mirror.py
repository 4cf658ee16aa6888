from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aforo.contracts.prediction import BundleManifest
from aforo.errors import ModelNotFound, StoreUnavailable
from aforo.registry.bundle import read_bundle
from aforo.registry.mirror import Mirror

if TYPE_CHECKING:
    from conftest import World

KEY = b"0123456789abcdef0123456789abcdef"


class Shelf:
    """A registry in a folder, which can be out of reach."""

    def __init__(self, folder: Path, write: Callable[..., BundleManifest]) -> None:
        self.folder = folder
        self.write = write
        self.pointers: dict[str, str] = {}
        self.is_open = True
        self.downloads: list[str] = []

    def put(self, version: str, **changes: object) -> None:
        self.write(self.folder / version, weight=int(version) / 10, **changes)

    def models(self) -> list[str]:
        return ["flight_delay"]

    def aliases(self, _use_case: str) -> dict[str, str]:
        if not self.is_open:
            raise StoreUnavailable("MLflow at http://mlflow:5000 does not answer")
        return dict(self.pointers)

    def download(self, use_case: str, version: str, folder: Path) -> Path:
        self.downloads.append(version)
        if not (self.folder / version).exists():
            raise ModelNotFound(f"{use_case} has no version {version}")
        return Path(shutil.copytree(self.folder / version, folder))


@pytest.fixture
def shelf(tmp_path: Path, bundle_writer: Callable[..., BundleManifest]) -> Shelf:
    shelf = Shelf(tmp_path / "shelf", bundle_writer)
    shelf.put("1")
    shelf.pointers = {"champion": "1", "challenger": "1"}
    return shelf


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "mirror", key=KEY, now=lambda: 1000.0)


def status(mirror: Mirror) -> dict[str, object]:
    return json.loads((mirror.folder / "status.json").read_bytes())


def test_served_versions_are_copied_with_their_aliases(shelf: Shelf, mirror: Mirror):
    shelf.put("2")
    shelf.pointers["challenger"] = "2"

    assert mirror.sync(shelf) == []

    assert mirror.aliases("flight_delay") == {"champion": "1", "challenger": "2"}
    assert mirror.versions("flight_delay") == ["1", "2"]
    assert read_bundle(mirror.folder / "flight_delay" / "2", KEY).signed
    assert status(mirror) == {"synced_at": 1000.0, "error": None}


def test_what_is_here_is_not_fetched_again_nor_written_anew(shelf: Shelf, mirror: Mirror):
    mirror.sync(shelf)
    before = (mirror.folder / "flight_delay" / "aliases.json").stat()

    mirror.sync(shelf)

    after = (mirror.folder / "flight_delay" / "aliases.json").stat()
    assert shelf.downloads == ["1"]
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_damaged_version_leaves_the_live_one_and_says_so(shelf: Shelf, mirror: Mirror):
    mirror.sync(shelf)
    shelf.put("2")
    (shelf.folder / "2" / "report.json").write_bytes(b"{}")
    shelf.pointers = {"champion": "2", "challenger": "2"}

    [refused] = mirror.sync(shelf)

    assert (refused.model, refused.version) == ("flight_delay", "2")
    assert refused.reason.startswith("flight_delay version 2 refused: bundle: report.json has SHA-256")
    assert mirror.aliases("flight_delay") == {"champion": "1", "challenger": "1"}
    assert mirror.versions("flight_delay") == ["1"]
    assert status(mirror) == {"synced_at": 1000.0, "error": refused.reason}
    assert sorted(path.name for path in (mirror.folder / "flight_delay").iterdir()) == ["1", "aliases.json"]


def test_a_forged_version_is_refused(shelf: Shelf, mirror: Mirror):
    shelf.put("2", key=KEY[::-1])
    shelf.pointers["champion"] = "2"

    [refused] = mirror.sync(shelf)

    assert "the signature in bundle.sig is not that of bundle.json" in refused.reason
    assert mirror.aliases("flight_delay") == {"challenger": "1"}


def test_a_bundle_of_another_model_is_refused(shelf: Shelf, mirror: Mirror):
    class Renamed(Shelf):
        def models(self) -> list[str]:
            return ["digits"]

    renamed = Renamed(shelf.folder, shelf.write)
    renamed.pointers = {"champion": "1"}

    [refused] = mirror.sync(renamed)

    assert "the bundle is of 'flight_delay'; expected one of 'digits'" in refused.reason


def test_a_refused_version_is_not_fetched_at_every_turn(shelf: Shelf, tmp_path: Path):
    seconds = iter([0.0, 0.0, 30.0, 30.0, 90.0, 90.0, 90.0, 90.0])
    mirror = Mirror(tmp_path / "mirror", key=KEY, retry_after_s=60, now=lambda: next(seconds))
    (shelf.folder / "1" / "report.json").write_bytes(b"{}")

    first = mirror.sync(shelf)
    second = mirror.sync(shelf)
    assert shelf.downloads == ["1"]
    assert first == second
    mirror.sync(shelf)

    assert shelf.downloads == ["1", "1"]


def test_with_the_registry_out_of_reach_the_copy_stays_and_says_how_old_it_is(shelf: Shelf, mirror: Mirror):
    mirror.sync(shelf)
    shelf.is_open = False

    with pytest.raises(StoreUnavailable):
        mirror.sync(shelf)

    assert mirror.aliases("flight_delay") == {"champion": "1", "challenger": "1"}
    assert status(mirror) == {"synced_at": 1000.0, "error": "MLflow at http://mlflow:5000 does not answer"}


def test_a_version_that_a_reader_asks_for_is_fetched_once(shelf: Shelf, mirror: Mirror):
    shelf.put("7")
    wanted = mirror.folder / "wanted"
    wanted.mkdir(parents=True)
    for name in ("flight_delay@7", "flight_delay@99", "..@1", "flight_delay@../../1"[:15]):
        (wanted / name.replace("/", "_")).touch()

    [refused] = mirror.sync(shelf)

    assert refused.version == "99"
    assert mirror.versions("flight_delay") == ["1", "7"]
    assert list(wanted.iterdir()) == []


def test_only_the_versions_fetched_last_are_kept_beside_those_with_an_alias(shelf: Shelf, tmp_path: Path):
    mirror = Mirror(tmp_path / "mirror", key=KEY, keep=2)
    for version in ("2", "3", "4", "5", "6"):
        shelf.put(version)
        shelf.pointers["challenger"] = version
        mirror.sync(shelf)
    mirror.sync(shelf)

    # 1 is champion and 6 challenger; 4 and 5 are kept.
    assert mirror.versions("flight_delay") == ["1", "4", "5", "6"]


def test_models_may_be_chosen(shelf: Shelf, mirror: Mirror):
    mirror.sync(shelf, models=[])

    assert mirror.versions("flight_delay") == []


@pytest.mark.usefixtures("signing_key_in_place")
def test_a_real_registry_is_mirrored(world: World, tmp_path: Path):
    world.register("monday")
    world.versions.set_alias("flight_delay", "champion", "1")
    mirror = Mirror(tmp_path / "mirror", key=KEY)

    assert mirror.sync(world.versions) == []

    assert mirror.aliases("flight_delay") == {"champion": "1", "challenger": "1"}
    assert read_bundle(mirror.folder / "flight_delay" / "1", KEY).manifest.lineage.run_key == "monday"
