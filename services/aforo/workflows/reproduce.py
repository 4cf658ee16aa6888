"""Reproduce: make a registered version again from what was recorded of it, and compare link by link.

The chain goes from the source to the predictions. Its first links are what the version was made with (use case, code,
libraries, source): compared with what is here now. Its other links are results, computed anew from the recorded
snapshot, seed and use case, by the code that is here now. A difference early in the chain need not reach its end, and
where it does, the first broken link says why.

That two model files are equal byte for byte proves more than is needed, and that they differ proves nothing; so where
the graphs differ, what decides is the predictions on the golden rows and on the whole test part. The idea of a chain
follows Pineau et al., *Improving Reproducibility in Machine Learning Research* (JMLR 22, 2021), whose checklist asks
for data, split, code, dependencies, seed and results.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from aforo.contracts.certificate import Certificate, Link, Provenance
from aforo.contracts.prediction import PredictionContract
from aforo.contracts.run import RunKey
from aforo.data.differences import row_differences
from aforo.data.ingestion import ingest
from aforo.data.snapshots import Snapshots
from aforo.data.splits import split_digest
from aforo.errors import AforoError, SnapshotDamaged
from aforo.export.compile import compile_small
from aforo.export.inference import columns_of
from aforo.export.two_phase import open_predictor
from aforo.registry.bundle import SMALL
from aforo.registry.signing import sign
from aforo.storage import LocalStore
from aforo.use_case import UseCase
from aforo.workflows.fitting import (
    Fitted,
    calibrate,
    choose_phases,
    contract_of,
    fit,
    fit_small,
    run_in_pieces,
)
from aforo.workflows.links import compare_digests, compare_documents, compare_outputs, leaves, moved_rows
from aforo.workflows.parts import Parts
from aforo.workflows.provenance import code_digest, lock_digest, provenance
from aforo.workflows.recorded import Recorded
from aforo.workflows.wiring import Platform

logger = logging.getLogger(__name__)


def run(use_case: UseCase, run_key: RunKey, platform: Platform, *, tolerance: float = 0.0) -> Certificate:
    """Make the version of a run again, and certify what came of it.

    The certificate is signed, and stored with the run and with the version in MLflow; nothing else is changed.

    Parameters
    ----------
    use_case
        As it is now. The version is made again from the use case as it was then.
    tolerance
        Largest absolute difference of a prediction that still counts, for a machine with another kind of processor.

    Raises
    ------
    StepNotReady
        The run did not come as far as a registered version.
    BundleRefused
        The registered version itself is damaged or was tampered with.
    """
    started, at = time.monotonic(), datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="aforo-reproduce-") as temporary:
        recorded = Recorded.of(use_case, run_key, Path(temporary), platform)
        here = provenance(use_case)
        links = [*_ingredients(recorded, here, use_case), _source(recorded, Path(temporary), platform)]
        links += _results(recorded, platform, tolerance)
    certificate = Certificate(
        use_case=use_case.name,
        run_key=run_key,
        model_version=recorded.version,
        tolerance=tolerance,
        at=at.isoformat(timespec="seconds"),
        seconds=time.monotonic() - started,
        machine=here.machine,
        links=tuple(links),
    )
    _store(certificate, recorded.trained.mlflow_run_id, platform, at)
    return certificate


def _ingredients(recorded: Recorded, here: Provenance, now: UseCase) -> Iterator[Link]:
    """Compare what the version was made with, and what is here. The signed digests are the bundle's."""
    lineage, then = recorded.bundle.manifest.lineage, recorded.made_with
    digests = (lineage.use_case_digest, recorded.use_case.digest, now.digest)
    yield compare_documents("use case", digests, leaves(then.use_case), leaves(here.use_case))
    digests = (lineage.code_digest, code_digest(then.code), code_digest(here.code))
    yield compare_documents("code", digests, then.code, here.code, show_values=False)
    digests = (lineage.lock_digest, lock_digest(then.libraries), lock_digest(here.libraries))
    yield compare_documents("libraries", digests, then.libraries, here.libraries)


def _source(recorded: Recorded, folder: Path, platform: Platform) -> Link:
    """Read the sources again, into a folder that is thrown away, and compare the snapshot."""
    was, expected = recorded.use_case, recorded.split.snapshot_id
    if recorded.ingested.given:
        reason = "not read: the run was given its snapshot"
        return compare_digests("source", expected, expected, [reason])
    aside = LocalStore(folder / "store")
    try:
        with platform.progress("ingest", unit="rows") as advance:
            taken = ingest(
                was.data,
                folder=was.folder,
                store=aside,
                settings=platform.settings,
                progress=advance,
                limit=recorded.ingested.limit,
            )
    except AforoError as error:
        return Link(name="source", status="unknown", recorded=expected, found="-", differences=(error.message,))
    differences: list[str] = []
    if taken.snapshot_id != expected:
        differences = _row_differences(was, expected, Snapshots(aside).load(taken.snapshot_id), platform)
    if taken.rows != recorded.ingested.rows:
        then, now = leaves(recorded.ingested.rows.model_dump()), leaves(taken.rows.model_dump())
        differences += [f"rows {name}: {then.get(name)} -> {now[name]}" for name in now if then.get(name) != now[name]]
    return compare_digests("source", expected, taken.snapshot_id, differences)


def _row_differences(was: UseCase, snapshot_id: str, now: pl.DataFrame, platform: Platform) -> list[str]:
    private = frozenset(column.name for column in was.data.columns if column.private)
    try:
        then = platform.snapshots.load(snapshot_id)
    except AforoError as error:
        return [error.message]
    return row_differences(then, now, was.data.key, private=private) or ["the same rows in another order"]


def _results(recorded: Recorded, platform: Platform, tolerance: float) -> Iterator[Link]:
    """Compute the run again from its snapshot; there is no more to compare where the snapshot is damaged."""
    was, split, bundle = recorded.use_case, recorded.split, recorded.bundle
    try:
        table = platform.snapshots.load(split.snapshot_id)
    except SnapshotDamaged as error:
        yield compare_digests("snapshot", split.snapshot_id, "-", [error.message])
        return
    yield compare_digests("snapshot", split.snapshot_id, split.snapshot_id)
    codes = was.build_split().assign(table)
    digest = split_digest(table.select(was.data.key or table.columns), codes)
    yield compare_digests(
        "split", split.split_digest, digest, moved_rows(Parts.load(split, was, platform).codes, codes)
    )
    parts = Parts.placed(table, codes, was)
    fitted = _fit_all(recorded, parts, platform)
    yield _candidates(recorded, fitted)
    chosen = fitted[bundle.manifest.candidate]
    rebuilt = calibrate(was, parts, chosen.scores, chosen.reference, bundle.manifest.lineage.seed).predictor
    contract, small = _small(recorded, parts, chosen, rebuilt)
    again = open_predictor(rebuilt, contract, small)
    golden, test = bundle.golden, parts.of("test")
    expected = {name: np.array(values) for name, values in golden.outputs.items()}
    links = (
        compare_outputs("golden rows", expected, again.run(columns_of(golden.rows, was.contract)), tolerance),
        compare_outputs("predictions", run_in_pieces(bundle.predictor, test), run_in_pieces(again, test), tolerance),
    )
    models = [compare_digests("model", bundle.model_digest, hashlib.sha256(rebuilt).hexdigest())]
    if small is not None:
        models.append(compare_digests("small model", bundle.manifest.files[SMALL], hashlib.sha256(small).hexdigest()))
        models.append(compare_digests("two phases", repr(bundle.contract.two_phase), repr(contract.two_phase)))
    for model in models:
        if not model.holds and all(link.holds for link in links):
            model = model.model_copy(update={"status": "close", "differences": ("other bytes, the same predictions",)})
        yield model
    yield from links


def _small(recorded: Recorded, parts: Parts, full: Fitted, predictor: bytes) -> tuple[PredictionContract, bytes | None]:
    """Make the small model of two phases again, and return it with the contract: from which confidence on it answers.

    The bound to abstain at is taken from the version's contract: it is an outcome of the judgement, not of training.
    """
    was, served = recorded.use_case, recorded.bundle
    if was.two_phase is None:
        return was.contract, None
    seed = served.manifest.lineage.seed
    taught = fit_small(was, was.two_phase, full.scores, parts, seed)
    small = calibrate(was, parts, taught.scores, taught.reference, seed).predictor
    contract = contract_of(was, choose_phases(was, was.two_phase, predictor, small, parts))
    contract = contract.model_copy(update={"abstain_below": served.contract.abstain_below})
    return contract, compile_small(small, contract)


def _fit_all(recorded: Recorded, parts: Parts, platform: Platform) -> dict[str, Fitted]:
    was, seed = recorded.use_case, recorded.bundle.manifest.lineage.seed
    with platform.progress("train", unit="fits", total=was.most_fits) as advance:
        every = [fit(was, spec, parts, seed, progress=lambda _: advance(1)) for spec in was.candidates]
    return {fitted.candidate.name: fitted for fitted in every}


def _candidates(recorded: Recorded, fitted: Mapping[str, Fitted]) -> Link:
    """Compare which candidate was chosen, and every candidate's loss on the validation part."""
    losses = {candidate.name: candidate.validation_loss for candidate in recorded.trained.candidates}
    found = {name: each.candidate.validation_loss for name, each in fitted.items()}
    differences = [
        f"{name}: validation loss {losses[name]!r} -> {found[name]!r}" for name in losses if losses[name] != found[name]
    ]
    then, now = recorded.bundle.manifest.candidate, min(found, key=lambda name: found[name])
    link = compare_digests("candidates", then, now, differences)
    return link.model_copy(update={"status": "differs"}) if differences else link


def _store(certificate: Certificate, run_id: str, platform: Platform, at: datetime) -> None:
    """Store the certificate beside the run and with the version; its signature first, so that none is without."""
    text = certificate.model_dump_json(indent=1).encode()
    signature = f"{sign(text, platform.signing_key)}\n".encode()
    name = certificate.use_case
    folder = platform.runs.key(name, RunKey(certificate.run_key), "reproduce", f"{at:%Y-%m-%dT%H-%M-%SZ}")
    tracked = platform.tracker.reopen(run_id)
    for file, data in (("certificate.sig", signature), ("certificate.json", text)):
        platform.runs.write_bytes(f"{folder}/{file}", data)
        tracked.log_file(f"reproduction/{file}", data)
    broken = ", ".join(link.name for link in certificate.broken)
    tags = {"reproduced": f"no: {broken}" if broken else "yes", "reproduced_at": certificate.at}
    platform.versions.set_tags(name, certificate.model_version, tags)
    logger.info("certificate stored", extra={"use_case": name, "certificate": f"{folder}/certificate.json", **tags})
