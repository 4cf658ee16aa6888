"""The bundle: a predictor as one folder that needs no training library, proves what it is, and proves that it works.

::

    bundle.json      contract, lineage, figures, and the SHA-256 of every other file
    bundle.sig       HMAC-SHA-256 of bundle.json's bytes, in hex
    predictor.onnx   the graph from raw columns to calibrated outputs
    small.onnx       of two phases: the graph that answers the rows it is sure of; a file that also works by itself
    golden.json      raw rows with the outputs they must give
    background.json  the rows that explanations compare with
    report.json ...  attachments: the gate's report, for machines and (report.html) for people

Reading one checks everything before anything is used: the signature, the format, each file's digest, that no file is
missing and none was added, and that the graph gives the golden rows' outputs on this very machine.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from aforo.contracts.explanation import Background
from aforo.contracts.prediction import BundleManifest, GoldenRows, Lineage, PredictionContract
from aforo.errors import AforoError, BundleRefused
from aforo.export.inference import GraphPredictor, MappedGraph, columns_of
from aforo.export.two_phase import open_predictor
from aforo.registry.signing import is_signed, sign

logger = logging.getLogger(__name__)

MANIFEST, SIGNATURE, GRAPH, GOLDEN = "bundle.json", "bundle.sig", "predictor.onnx", "golden.json"
SMALL = "small.onnx"
REPORT, REPORT_PAGE, BACKGROUND = "report.json", "report.html", "background.json"
FORMAT = 1

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Bundle:
    """A bundle that passed every check, ready to predict.

    Attributes
    ----------
    digest
        SHA-256 of ``bundle.json``: since that holds the digests of all files, the identity of the whole.
    signed
        Whether the signature was checked too; never so without a key.
    """

    folder: Path
    manifest: BundleManifest
    golden: GoldenRows
    predictor: GraphPredictor
    digest: str
    signed: bool

    @property
    def contract(self) -> PredictionContract:
        return self.manifest.contract

    @property
    def model_digest(self) -> str:
        """SHA-256 of the graph file."""
        return self.manifest.files[GRAPH]

    @property
    def background(self) -> Background | None:
        """What explanations compare a row with; ``None`` in a bundle that was made before there were any."""
        data = self.attachment(BACKGROUND)
        return None if data is None else Background.model_validate_json(data)

    def attachment(self, name: str) -> bytes | None:
        """Return an attached file's bytes, or ``None`` if the bundle has none of that name."""
        return (self.folder / name).read_bytes() if name in self.manifest.files else None


def write_bundle(
    folder: Path,
    *,
    graph: bytes,
    contract: PredictionContract,
    golden: GoldenRows,
    lineage: Lineage,
    candidate: str,
    metrics: Mapping[str, float],
    key: bytes,
    attachments: Mapping[str, bytes] | None = None,
    small: bytes | None = None,
) -> BundleManifest:
    """Write a signed bundle into ``folder``, which must be empty or absent. The same content gives the same bytes.

    Parameters
    ----------
    small
        The small graph, where the contract says ``two_phase``.

    Raises
    ------
    BundleRefused
        The folder holds something, or an attachment's name is not usable.
    """
    contents = {GRAPH: graph, GOLDEN: _to_json(golden), **(attachments or {})}
    if small is not None:
        contents[SMALL] = small
    _refuse_bad_names(contents, folder)
    if folder.exists() and any(folder.iterdir()):
        raise BundleRefused(f"{folder} is not empty", hint="write each bundle into a folder of its own")
    manifest = BundleManifest(
        contract=contract,
        lineage=lineage,
        candidate=candidate,
        metrics=dict(sorted(metrics.items())),
        files={name: hashlib.sha256(data).hexdigest() for name, data in sorted(contents.items())},
    )
    contents[MANIFEST] = _to_json(manifest)
    contents[SIGNATURE] = (sign(contents[MANIFEST], key) + "\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return manifest


TakeGraph = Callable[[Path, str], bytes | MappedGraph]
"""From a bundle's folder and the SHA-256 that its graph must have to that graph; raises ``BundleRefused``."""


def read_graph(folder: Path, digest: str) -> bytes:
    """Return the graph in ``folder`` if its bytes have the SHA-256 ``digest``.

    Raises
    ------
    BundleRefused
        They have not, or cannot be read.
    """
    return _read_listed(folder, GRAPH, digest)


def read_bundle(folder: Path, key: bytes | None, *, threads: int = 1, take_graph: TakeGraph = read_graph) -> Bundle:
    """Return the bundle in ``folder`` after every check.

    Parameters
    ----------
    key
        The signing key; ``None`` checks the digests only, which finds damage but no forgery. For a data scientist's
        notebook; a server always has the key.
    threads
        Threads that one prediction may use.
    take_graph
        Another way to the graph's bytes, which must check their digest as :func:`read_graph` does.

    Raises
    ------
    BundleRefused
        Something is wrong; the message names it.
    """
    manifest_bytes = _read(folder, MANIFEST)
    signature = _read(folder, SIGNATURE).decode(errors="replace").strip()
    if key is None:
        logger.warning("bundle signature not checked: no signing key here", extra={"bundle": str(folder)})
    elif not is_signed(manifest_bytes, signature, key):
        raise BundleRefused(
            f"{folder}: the signature in {SIGNATURE} is not that of {MANIFEST}",
            hint="the bundle was changed, or signed with another key than AFORO_SIGNING_KEY_FILE holds",
        )
    manifest = _manifest(manifest_bytes, folder)
    contents = _contents(folder, manifest)
    golden = _golden(contents[GOLDEN], folder)
    graph = take_graph(folder, manifest.files[GRAPH])
    try:
        predictor = open_predictor(graph, manifest.contract, contents.get(SMALL), threads=threads)
    except AforoError as error:
        raise BundleRefused(f"{folder}: {GRAPH} cannot be loaded: {error.message}") from error
    replay(predictor, golden, manifest.contract, where=str(folder))
    digest = hashlib.sha256(manifest_bytes).hexdigest()
    return Bundle(folder, manifest, golden, predictor, digest, signed=key is not None)


def replay(predictor: GraphPredictor, golden: GoldenRows, contract: PredictionContract, *, where: str) -> None:
    """Predict the golden rows, and compare.

    Raises
    ------
    BundleRefused
        An output differs by more than the tolerance; the message names the first row and the largest difference.
    """
    try:
        outputs = predictor.run(columns_of(golden.rows, contract))
    except AforoError as error:
        raise BundleRefused(f"{where}: the golden rows cannot be predicted: {error.message}") from error
    for name, rows in golden.outputs.items():
        expected = np.asarray(rows, dtype=np.float64)
        if name not in outputs or outputs[name].shape != expected.shape:
            given = f"shape {outputs[name].shape}" if name in outputs else "nothing"
            raise BundleRefused(f"{where}: golden output {name!r} has shape {expected.shape}; the graph gives {given}")
        # Written so that a NaN is a difference.
        differs = ~(np.abs(outputs[name] - expected) <= golden.tolerance)
        if differs.any():
            row = int(np.flatnonzero(differs.any(axis=1))[0])
            raise BundleRefused(
                f"{where}: golden row {row} gives {outputs[name][row].tolist()} as {name!r}; "
                f"expected {expected[row].tolist()} within {golden.tolerance:g}",
                hint="the runtime computes something else here than where the model was made",
            )


def _manifest(data: bytes, folder: Path) -> BundleManifest:
    try:
        document = json.loads(data)
        version = document.get("format") if isinstance(document, dict) else None
        if version != FORMAT:
            raise BundleRefused(
                f"{folder}: {MANIFEST} has format {version!r}; this version of aforo reads format {FORMAT}",
                hint="update aforo, or register the model again",
            )
        manifest = BundleManifest.model_validate(document)
    except (ValueError, ValidationError) as error:
        raise BundleRefused(f"{folder}: {MANIFEST} is not a bundle's manifest: {error}") from error
    _refuse_bad_names(manifest.files, folder)
    for name in (GRAPH, GOLDEN, *((SMALL,) if manifest.contract.two_phase else ())):
        if name not in manifest.files:
            raise BundleRefused(f"{folder}: {MANIFEST} lists no {name}")
    return manifest


def _contents(folder: Path, manifest: BundleManifest) -> dict[str, bytes]:
    """Read the listed files but the graph once: what is hashed is what is used."""
    listed = {*manifest.files, MANIFEST, SIGNATURE}
    added = sorted(path.name for path in folder.iterdir() if path.name not in listed)
    if added:
        raise BundleRefused(f"{folder}: files that {MANIFEST} does not list: {', '.join(added)}")
    return {name: _read_listed(folder, name, digest) for name, digest in manifest.files.items() if name != GRAPH}


def _read_listed(folder: Path, name: str, digest: str) -> bytes:
    data = _read(folder, name)
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise BundleRefused(
            f"{folder}: {name} has SHA-256 {found}; {MANIFEST} says {digest}", hint="download the version again"
        )
    return data


def _golden(data: bytes, folder: Path) -> GoldenRows:
    try:
        return GoldenRows.model_validate_json(data)
    except ValidationError as error:
        raise BundleRefused(f"{folder}: {GOLDEN} holds no golden rows: {error}") from error


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    if path.is_symlink():
        raise BundleRefused(f"{folder}: {name} is a link; a bundle holds plain files only")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleRefused(f"{folder}: {name} cannot be read: {error.strerror}") from error


def _refuse_bad_names(names: Mapping[str, object], folder: Path) -> None:
    bad = [name for name in names if not _FILE_NAME.fullmatch(name) or name in (MANIFEST, SIGNATURE)]
    if bad:
        raise BundleRefused(
            f"{folder}: {bad[0]!r} is no name for a bundle's file; expected letters, digits and _ . - without a folder"
        )


def _to_json(document: BundleManifest | GoldenRows) -> bytes:
    return (document.model_dump_json(indent=1) + "\n").encode()
