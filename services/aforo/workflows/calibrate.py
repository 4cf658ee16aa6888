"""Calibrate: every candidate on the calibration part alone, appended to its graph."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Sequence

import numpy as np

from aforo.contracts.run import (
    CalibratedCandidate,
    CalibrateManifest,
    CandidateSummary,
    PhaseChoice,
    RunKey,
    SplitManifest,
    TrainManifest,
)
from aforo.evaluation.two_phase import TwoPhaseSpec
from aforo.use_case import UseCase
from aforo.workflows.fitting import calibrate, choose_phases, sets_of_phases
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
    parts = Parts.load(split, use_case, platform)
    every = [*trained.candidates, *([trained.small] if trained.small else [])]
    calibrated = []
    with platform.progress("calibrate", unit="candidates", total=len(every)) as advance:
        for candidate in every:
            calibrated.append(_calibrate(use_case, run_key, candidate, parts, trained.seed, platform))
            advance(1)
    candidates = calibrated[: len(trained.candidates)]
    small, choice = None, None
    if use_case.two_phase is not None:
        small = calibrated[-1]
        choice = _choose_phases(use_case, use_case.two_phase, trained, candidates, small, parts, platform)
    return platform.runs.write(
        CalibrateManifest(
            use_case=use_case.name,
            run_key=run_key,
            inputs=inputs,
            seconds=time.monotonic() - started,
            candidates=tuple(candidates),
            small=small,
            two_phase=choice,
        )
    )


def _choose_phases(
    use_case: UseCase,
    two_phase: TwoPhaseSpec,
    trained: TrainManifest,
    candidates: Sequence[CalibratedCandidate],
    small: CalibratedCandidate,
    parts: Parts,
    platform: Platform,
) -> PhaseChoice:
    """Choose from which confidence on the small model answers."""
    read = platform.runs.read_bytes
    full = next(each for each in candidates if each.name == trained.chosen)
    quick = read(small.predictor)
    choice = choose_phases(use_case, two_phase, read(full.predictor), quick, parts)
    if trained.small is not None:
        scores = (
            read(next(each for each in trained.candidates if each.name == full.name).scores),
            read(trained.small.scores),
        )
        choice = choice.model_copy(update={"sets": sets_of_phases(use_case, choice, *scores, quick, parts)})
    logger.info("phases chosen", extra=choice.model_dump())
    return choice


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
