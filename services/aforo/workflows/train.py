"""Train: every candidate on the same rows under the same budget, one of them chosen on the validation part."""

from __future__ import annotations

import io
import logging
import time

import numpy as np

from aforo.contracts.run import CandidateSummary, RunKey, SplitManifest, TrainManifest, ValidateManifest
from aforo.errors import NothingChanged
from aforo.registry.tracking import TrackedRun
from aforo.use_case import UseCase
from aforo.workflows.fitting import Fitted, Matrix, fit, fit_small
from aforo.workflows.freshness import freshness, ingredients
from aforo.workflows.parts import Parts
from aforo.workflows.provenance import code_commit, inputs_of, provenance
from aforo.workflows.wiring import Platform

logger = logging.getLogger(__name__)


def run(
    use_case: UseCase, run_key: RunKey, platform: Platform, *, seed: int | None = None, again: bool = False
) -> TrainManifest:
    """Fit all candidates, and record them without judging them.

    Parameters
    ----------
    seed
        Default: the one in ``use_case.yaml``.
    again
        Train even if nothing has changed since the champion was made.

    Raises
    ------
    NothingChanged
        Training would give the champion again.
    TrainingError
        A candidate cannot learn from these rows.
    """
    started = time.monotonic()
    seed = use_case.seed if seed is None else seed
    split = platform.runs.read(use_case.name, run_key, SplitManifest)
    inputs = inputs_of(use_case, split, seed=seed)
    if done := platform.runs.finished(use_case.name, run_key, TrainManifest, inputs):
        return done
    if not again:
        _refuse_repetition(use_case, split, seed, platform)
    tracked = _open_run(use_case, run_key, split, seed, platform)
    made_with = provenance(use_case).model_dump_json(indent=1).encode()
    tracked.log_file("provenance.json", made_with)
    validated = platform.runs.read(use_case.name, run_key, ValidateManifest)
    tracked.log_file("snapshot/report.html", platform.runs.read_bytes(validated.report))
    parts = Parts.load(split, use_case, platform)
    candidates = []
    with platform.progress("train", unit="fits", total=use_case.most_fits) as advance:
        for spec in use_case.candidates:
            fitted = fit(use_case, spec, parts, seed, progress=lambda _: advance(1))
            candidates.append(_record(use_case, run_key, spec.kind, fitted, tracked, platform))
        chosen = min(candidates, key=lambda candidate: candidate.validation_loss)
        small = None
        if use_case.two_phase is not None:
            full = platform.runs.read_bytes(chosen.scores)
            taught = fit_small(use_case, use_case.two_phase, full, parts, seed, progress=lambda _: advance(1))
            small = _record(use_case, run_key, use_case.two_phase.small.kind, taught, tracked, platform)
    tracked.log_params({"chosen": chosen.name, **{f"chosen.{k}": v for k, v in chosen.hyperparameters.items()}})
    logger.info(
        "candidates trained",
        extra={"use_case": use_case.name, "chosen": chosen.name, "validation_loss": chosen.validation_loss},
    )
    return platform.runs.write(
        TrainManifest(
            use_case=use_case.name,
            run_key=run_key,
            inputs=inputs,
            seconds=time.monotonic() - started,
            snapshot_id=split.snapshot_id,
            split_digest=split.split_digest,
            seed=seed,
            mlflow_run_id=tracked.run_id,
            mlflow_url=tracked.url,
            candidates=tuple(candidates),
            chosen=chosen.name,
            small=small,
            provenance=platform.runs.write_bytes(
                platform.runs.key(use_case.name, run_key, "train", "provenance.json"), made_with
            ),
        )
    )


def _refuse_repetition(use_case: UseCase, split: SplitManifest, seed: int, platform: Platform) -> None:
    found = freshness(use_case, split.snapshot_id, seed, platform)
    if not found.changes:
        raise NothingChanged(
            f"{use_case.name}: nothing has changed since version {found.champion} was made "
            f"from snapshot {split.snapshot_id}; training would give it again",
            hint="to train all the same, use --again or another --seed",
        )


def _open_run(use_case: UseCase, run_key: RunKey, split: SplitManifest, seed: int, platform: Platform) -> TrackedRun:
    tags = {**ingredients(use_case, split.snapshot_id, seed), "split_digest": split.split_digest}
    tracked = platform.tracker.run(use_case.name, run_key, {**tags, "code_commit": code_commit(platform.settings)})
    logger.info("run opened", extra={"mlflow_run_id": tracked.run_id, "mlflow": tracked.url or "no server"})
    snapshot = platform.snapshots.read_manifest(split.snapshot_id)
    tracked.log_dataset(
        name=use_case.name,
        snapshot_id=snapshot.snapshot_id,
        source=snapshot.source,
        schema={column.name: column.type for column in snapshot.columns},
        rows=snapshot.rows,
        context="training",
    )
    tracked.log_params({"seed": seed, "budget.fits": use_case.budget.fits, "split": use_case.split.kind})
    tracked.log_metrics({f"rows.{part}": float(summary.rows) for part, summary in split.parts.items()})
    tracked.log_metrics({"rows.left_out": float(split.left_out), "split.warnings": float(len(split.warnings))})
    if split.warnings:
        tracked.log_file("split/warnings.txt", "\n".join(split.warnings).encode())
    return tracked


def _record(
    use_case: UseCase, run_key: RunKey, kind: str, fitted: Fitted, parent: TrackedRun, platform: Platform
) -> CandidateSummary:
    candidate = fitted.candidate
    tracked = platform.tracker.candidate(parent, candidate.name)
    tracked.log_params({"kind": kind, **candidate.hyperparameters})
    for number, tried in enumerate(candidate.history):
        tracked.log_metrics({"validation_loss": tried.validation_loss, "seconds": tried.seconds}, step=number)
    folder = platform.runs.key(use_case.name, run_key, "train", candidate.name)
    return CandidateSummary(
        name=candidate.name,
        kind=kind,
        is_baseline=candidate.name == use_case.baseline,
        hyperparameters=candidate.hyperparameters,
        validation_loss=candidate.validation_loss,
        fits=candidate.fits,
        seconds=candidate.seconds,
        scores=platform.runs.write_bytes(f"{folder}/scores.onnx", fitted.scores),
        reference=platform.runs.write_bytes(f"{folder}/reference.npy", _npy(fitted.reference)),
        mlflow_run_id=tracked.run_id,
        integrated_gradients=fitted.weights,
    )


def _npy(matrix: Matrix) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, matrix, allow_pickle=False)
    return buffer.getvalue()
