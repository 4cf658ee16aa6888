"""From parts to graphs: the computation of training and calibration, without a store and without MLflow.

The train and calibrate steps run it and record what comes out; ``reproduce`` runs it again and compares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aforo.contracts.prediction import LabelSets, PredictionContract, TwoPhase
from aforo.contracts.run import PhaseChoice
from aforo.evaluation.answers import Answers
from aforo.evaluation.two_phase import SMALL, TwoPhaseSpec, choose_confidence
from aforo.export.compile import SCORES, compile_predictor, compile_scores
from aforo.export.inference import GraphPredictor, open_session
from aforo.export.parity import refuse_difference
from aforo.export.tables import columns_from
from aforo.models.calibration import Calibrator, fit_calibrator, fit_sets
from aforo.models.estimators import CandidateSpec, Target
from aforo.models.estimators import Task as EstimatorTask
from aforo.models.network_weights import network_weights
from aforo.models.training import FitReport, FittedCandidate, Teacher, fit_candidate
from aforo.use_case import UseCase
from aforo.workflows.parts import Parts

# A graph is run on pieces of a table, so that the strings of a large one never exist at once.
_PIECE_ROWS = 10_000

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted candidate as a graph.

    Attributes
    ----------
    scores
        Graph from raw columns to uncalibrated outputs.
    reference
        What the Python objects say about the rows of calibration and test, shape (N, K).
    weights
        What a network goes by, on rows of the validation part; see
        :func:`~aforo.models.network_weights.network_weights`.
    """

    candidate: FittedCandidate
    scores: bytes
    reference: Matrix
    weights: dict[str, float] | None


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A calibrated predictor as a graph.

    Attributes
    ----------
    predictor
        Graph from raw columns to the outputs of the prediction contract.
    difference
        Largest absolute difference between the graph and the Python objects, over the rows of calibration and test.
    sets
        How sets of labels are made, ``None`` if the use case asks for none.
    """

    calibrator: Calibrator
    predictor: bytes
    difference: float
    sets: LabelSets | None


def fit(
    use_case: UseCase,
    candidate: CandidateSpec,
    parts: Parts,
    seed: int,
    progress: Callable[[FitReport], None] | None = None,
    teacher: Teacher | None = None,
) -> Fitted:
    """Fit one candidate, and refuse it if its graph says anything else than it does.

    Parameters
    ----------
    teacher
        What it learns from instead of the labels, where it can.

    Raises
    ------
    TrainingError
        It cannot learn from these rows.
    ExportError
        It cannot be expressed as an exact graph.
    """
    fitted = fit_candidate(
        candidate,
        features=use_case.features,
        task=use_case.task.kind,
        classes=use_case.classes,
        train=parts.of("train"),
        validation=parts.of("validation"),
        target=use_case.data.target.name,
        bridge=use_case.build_bridge(),
        seed=seed,
        budget=use_case.budget,
        progress=progress,
        teacher=teacher,
    )
    unseen = parts.of("calibration", "test")
    scores, reference = compile_scores(fitted, use_case.inputs), fitted.outputs(unseen)
    found = run_scores(scores, use_case, unseen)
    refuse_difference({SCORES: found}, {SCORES: reference}, step=f"candidate {fitted.name}")
    return Fitted(fitted, scores, reference, network_weights(fitted, parts.of("train"), parts.of("validation")))


def fit_small(
    use_case: UseCase,
    two_phase: TwoPhaseSpec,
    full: bytes,
    parts: Parts,
    seed: int,
    progress: Callable[[FitReport], None] | None = None,
) -> Fitted:
    """Fit the small model of two phases, taught by the full one.

    Parameters
    ----------
    full
        The full model's graph from raw columns to uncalibrated outputs.
    """
    share = two_phase.taught_share

    def teacher(table: pl.DataFrame, y: Target) -> Matrix:
        labels = np.eye(len(use_case.classes))[y.astype(np.int64)]
        return share * run_scores(full, use_case, table) + (1.0 - share) * labels

    spec = two_phase.small.model_copy(update={"name": SMALL})
    return fit(use_case, spec, parts, seed, progress, teacher if share else None)


def choose_phases(use_case: UseCase, two_phase: TwoPhaseSpec, full: bytes, small: bytes, parts: Parts) -> PhaseChoice:
    """Return the confidence from which the small model may answer, chosen on the validation part.

    Parameters
    ----------
    full, small
        Graphs from raw columns to calibrated outputs.
    """
    part, contract = parts.of("validation"), use_case.contract
    y = use_case.targets(part)
    alone, quick = (Answers.of(contract, y, run_predictor(graph, use_case, part)) for graph in (full, small))
    return choose_confidence(alone, quick, two_phase)


def sets_of_phases(
    use_case: UseCase, choice: PhaseChoice, full_scores: bytes, small_scores: bytes, small: bytes, parts: Parts
) -> LabelSets | None:
    """Return how sets of labels are made of the answers of two phases, ``None`` if the use case asks for none.

    Parameters
    ----------
    full_scores, small_scores
        Graphs from raw columns to uncalibrated outputs.
    small
        The small model's calibrated graph, whose confidence decides who answers a row.
    """
    if not use_case.calibration.sets:
        return None
    part = parts.of("calibration")
    by_small = run_predictor(small, use_case, part)["probabilities"].max(axis=1) >= choice.confidence
    quick, slow = (run_scores(graph, use_case, part) for graph in (small_scores, full_scores))
    outputs = np.where(by_small[:, None], quick, slow)
    return fit_sets(outputs, use_case.targets(part).astype(np.int64), coverage=use_case.calibration.coverage)


def contract_of(use_case: UseCase, choice: PhaseChoice | None) -> PredictionContract:
    """Return the use case's contract, with its two phases if there are two."""
    if choice is None:
        return use_case.contract
    return use_case.contract.model_copy(update={"two_phase": TwoPhase(confidence=choice.confidence)})


def calibrate(use_case: UseCase, parts: Parts, scores: bytes, reference: Matrix, seed: int) -> Calibrated:
    """Fit a calibrator on the calibration part, and append it to the graph.

    Parameters
    ----------
    reference
        What the Python objects say about the rows of calibration and test, shape (N, K).

    Raises
    ------
    ExportError
        The whole graph differs from the Python objects.
    """
    part, spec = parts.of("calibration"), use_case.calibration
    outputs, y = run_scores(scores, use_case, part), use_case.targets(part)
    calibrator = fit_calibrator(
        outputs,
        y,
        EstimatorTask(use_case.task.kind, use_case.classes),
        spec,
        seed=seed,
        groups=groups_of(use_case, part),
    )
    sets = fit_sets(outputs, y.astype(np.int64), coverage=spec.coverage) if spec.sets else None
    predictor = compile_predictor(scores, calibrator, use_case.contract)
    found = run_predictor(predictor, use_case, parts.of("calibration", "test"))
    difference = refuse_difference(found, calibrator.apply(reference), step=f"calibration {calibrator.method}")
    return Calibrated(calibrator, predictor, difference, sets)


def groups_of(use_case: UseCase, table: pl.DataFrame) -> NDArray[Any] | None:
    """Return the group of each row that is drawn, or held out, as a whole; ``None`` if rows are independent."""
    by = use_case.evaluation.bootstrap.by
    return None if by is None else table.get_column(by).cast(pl.String).to_numpy()


def run_scores(graph: bytes, use_case: UseCase, table: pl.DataFrame) -> Matrix:
    """Return a graph's uncalibrated outputs for raw rows, shape (N, K)."""
    session = open_session(graph)
    pieces = [
        session.run([SCORES], columns_from(piece, use_case.inputs))[0] for piece in table.iter_slices(_PIECE_ROWS)
    ]
    return np.vstack(pieces)


def run_predictor(graph: bytes, use_case: UseCase, table: pl.DataFrame) -> dict[str, Matrix]:
    """Return a graph's outputs of the prediction contract for raw rows."""
    return run_in_pieces(GraphPredictor(graph, use_case.contract), table)


def run_in_pieces(predictor: GraphPredictor, table: pl.DataFrame) -> dict[str, Matrix]:
    """Return the outputs of the prediction contract for a table of any length, none included."""
    slices = table.iter_slices(_PIECE_ROWS) if table.height else [table]
    pieces = [predictor.run(columns_from(piece, predictor.contract)) for piece in slices]
    return {name: np.vstack([piece[name] for piece in pieces]) for name in pieces[0]}
