from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aforo.contracts.prediction import BundleManifest, GoldenRows
from aforo.errors import BundleRefused
from aforo.registry.bundle import read_bundle
from aforo.registry.signing import sign

KEY = b"0123456789abcdef0123456789abcdef"
Write = Callable[..., BundleManifest]


@pytest.fixture
def bundle(tmp_path: Path, bundle_writer: Write) -> Path:
    folder = tmp_path / "bundle"
    bundle_writer(folder)
    return folder


def resigned(folder: Path, change: Callable[[dict], None]) -> None:
    """Change bundle.json as its author could: the signature fits again."""
    document = json.loads((folder / "bundle.json").read_bytes())
    change(document)
    data = json.dumps(document).encode()
    (folder / "bundle.json").write_bytes(data)
    (folder / "bundle.sig").write_text(sign(data, KEY))


def test_a_bundle_reads_back_and_predicts(bundle: Path):
    read = read_bundle(bundle, KEY)

    assert read.signed
    assert read.manifest.candidate == "boosted_trees"
    assert read.model_digest == hashlib.sha256((bundle / "predictor.onnx").read_bytes()).hexdigest()
    assert read.attachment("report.json") == b'{"verdict": "promote"}\n'
    assert read.attachment("model_card.html") is None
    columns = {
        "hour": np.array([[10.0]]),
        "distance": np.array([[0.0]]),
        "carrier": np.array([["UA"]], dtype=object),
        "weekend": np.array([[np.nan]]),
    }
    assert read.predictor.run(columns)["probabilities"] == pytest.approx(np.array([[1 - 0.7310586, 0.7310586]]))


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, bundle_writer: Write):
    bundle_writer(tmp_path / "one", metrics={"brier": 0.1, "auc": 0.7})
    bundle_writer(tmp_path / "two", metrics={"auc": 0.7, "brier": 0.1})

    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", ["predictor.onnx", "golden.json", "report.json", "bundle.json", "bundle.sig"])
@pytest.mark.parametrize("place", [0, -1, 0.5])
def test_a_flipped_byte_is_refused_wherever_it_is(bundle: Path, name: str, place: float):
    data = bytearray((bundle / name).read_bytes().rstrip())
    data[int(place * len(data)) if place == 0.5 else int(place)] ^= 1
    (bundle / name).write_bytes(data)

    with pytest.raises(BundleRefused, match=r"signature|has SHA-256"):
        read_bundle(bundle, KEY)


@pytest.mark.parametrize("name", ["predictor.onnx", "golden.json", "report.json", "bundle.json", "bundle.sig"])
def test_a_missing_file_is_named(bundle: Path, name: str):
    (bundle / name).unlink()

    with pytest.raises(BundleRefused, match=f"{name} cannot be read: No such file"):
        read_bundle(bundle, KEY)


def test_an_added_file_is_named(bundle: Path):
    (bundle / "sitecustomize.py").write_text("")

    with pytest.raises(BundleRefused, match=r"files that bundle\.json does not list: sitecustomize\.py"):
        read_bundle(bundle, KEY)


def test_a_bundle_signed_with_another_key_is_refused(bundle: Path):
    with pytest.raises(BundleRefused, match="AFORO_SIGNING_KEY_FILE"):
        read_bundle(bundle, KEY[::-1])


def test_an_unknown_format_is_refused_by_its_number(bundle: Path):
    resigned(bundle, lambda document: document.update(format=2))

    with pytest.raises(BundleRefused, match="has format 2; this version of aforo reads format 1"):
        read_bundle(bundle, KEY)


@pytest.mark.parametrize("name", ["../secrets", "/etc/passwd", "a/b", "..", "", "bundle.json", "C:evil", ".hidden"])
def test_a_name_that_leads_out_of_the_folder_is_refused(bundle: Path, name: str):
    resigned(bundle, lambda document: document["files"].update({name: "0" * 64}))

    with pytest.raises(BundleRefused, match="is no name for a bundle's file"):
        read_bundle(bundle, KEY)


def test_a_link_is_refused(bundle: Path, tmp_path: Path):
    (bundle / "report.json").rename(tmp_path / "elsewhere")
    (bundle / "report.json").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(BundleRefused, match=r"report\.json is a link"):
        read_bundle(bundle, KEY)


def test_golden_rows_that_come_out_differently_are_refused_with_the_row(tmp_path: Path, bundle_writer: Write):
    manifest_of_another = tmp_path / "another"
    bundle_writer(manifest_of_another, weight=0.3)
    golden = GoldenRows.model_validate_json((manifest_of_another / "golden.json").read_bytes())
    bundle_writer(tmp_path / "bundle", weight=0.1, golden=golden)

    with pytest.raises(BundleRefused, match=r"golden row 0 gives \[.*\] as 'probabilities'; expected \["):
        read_bundle(tmp_path / "bundle", KEY)


def test_golden_rows_of_the_wrong_shape_are_refused(bundle: Path, tmp_path: Path, bundle_writer: Write):
    golden = read_bundle(bundle, KEY).golden
    bundle_writer(tmp_path / "other", golden=golden.model_copy(update={"rows": golden.rows[:2]}))

    with pytest.raises(BundleRefused, match=r"has shape \(3, 2\); the graph gives shape \(2, 2\)"):
        read_bundle(tmp_path / "other", KEY)


def test_a_graph_that_is_none_is_refused(tmp_path: Path, bundle_writer: Write, bundle: Path):
    bundle_writer(tmp_path / "other", graph=b"not a graph", golden=read_bundle(bundle, KEY).golden)

    with pytest.raises(BundleRefused, match=r"predictor\.onnx cannot be loaded"):
        read_bundle(tmp_path / "other", KEY)


def test_without_the_key_damage_is_still_found_and_the_lack_is_said(bundle: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        assert not read_bundle(bundle, None).signed
    assert "signature not checked" in caplog.text

    (bundle / "report.json").write_bytes(b"{}")
    with pytest.raises(BundleRefused, match=r"report\.json has SHA-256"):
        read_bundle(bundle, None)


def test_a_bundle_is_not_written_over_something(bundle: Path, bundle_writer: Write):
    with pytest.raises(BundleRefused, match="is not empty"):
        bundle_writer(bundle)


def test_reading_a_bundle_needs_no_training_library():
    heavy = {"sklearn", "pandas", "torch", "polars", "mlflow", "onnx", "matplotlib", "sqlalchemy"}
    code = (
        "import sys, aforo.registry.bundle, aforo.registry.mirror, aforo.registry.versions;"
        f"sys.exit(', '.join({heavy!r} & set(sys.modules)) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
