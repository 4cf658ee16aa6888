"""Calibrate: every candidate on the calibration part alone, appended to its graph."""

from __future__ import annotations

import io
import logging
import time

import numpy as np

from aforo.contracts.run import (
    CalibratedCandidate,
    CalibrateManifest,
    CandidateSummary,
    RunKey,
    SplitManifest,
    TrainManifest,
)
from aforo.use_case import UseCase
from aforo.workflows.fitting import calibrate
from aforo.workflows.parts import Parts
from aforo.workflows.provenance import inputs_of
from aforo.workflows.wiring import Platform

logger = logging.getLogger(__name__)


def run(use_case: UseCase, run_key: RunKey, platform: Platform) -> CalibrateManifest:
    """Fit a calibrator for each candidate, and write the whole predictors as graphs.

    Raises
    ------
    TrainingError
        The calibration part is too small.
    ExportError
        A graph differs from the Python objects.
    """
    started = time.monotonic()
    split = platform.runs.read(use_case.name, run_key, SplitManifest)
    trained = platform.runs.read(use_case.name, run_key, TrainManifest)
    inputs = inputs_of(use_case, split, trained)
    if done := platform.runs.finished(use_case.name, run_key, CalibrateManifest, inputs):
        return done
    parts = Parts.load(split, platform)
    candidates = []
    with platform.progress("calibrate", unit="candidates", total=len(trained.candidates)) as advance:
        for candidate in trained.candidates:
            candidates.append(_calibrate(use_case, run_key, candidate, parts, trained.seed, platform))
            advance(1)
    return platform.runs.write(
        CalibrateManifest(
            use_case=use_case.name,
            run_key=run_key,
            inputs=inputs,
            seconds=time.monotonic() - started,
            candidates=tuple(candidates),
        )
    )


def _calibrate(
    use_case: UseCase, run_key: RunKey, candidate: CandidateSummary, parts: Parts, seed: int, platform: Platform
) -> CalibratedCandidate:
    reference = np.load(io.BytesIO(platform.runs.read_bytes(candidate.reference)), allow_pickle=False)
    scores = platform.runs.read_bytes(candidate.scores)
    calibrated = calibrate(use_case, parts, scores, reference, seed)
    tracked = platform.tracker.reopen(candidate.mlflow_run_id)
    method, cross_validated = calibrated.calibrator.method, calibrated.calibrator.cross_validated
    tracked.log_params({"calibration": method})
    tracked.log_metrics({f"calibration.cross_validated.{name}": value for name, value in cross_validated.items()})
    tracked.log_metrics({"graph_difference": calibrated.difference})
    key = platform.runs.key(use_case.name, run_key, "calibrate", candidate.name, "predictor.onnx")
    logger.info(
        "candidate calibrated",
        extra={"candidate": candidate.name, "method": method, "graph_difference": calibrated.difference},
    )
    return CalibratedCandidate(
        name=candidate.name,
        method=method,
        predictor=platform.runs.write_bytes(key, calibrated.predictor),
        cross_validated=cross_validated,
        sets=calibrated.sets,
        largest_graph_difference=calibrated.difference,
    )
