"""What the predictors of a run say about the test part, and what of them is judged and registered."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aforo.contracts.prediction import PHASES, LabelSets, PredictionContract
from aforo.contracts.run import CalibrateManifest, CandidateSummary, PhaseChoice, TrainManifest
from aforo.errors import DataError
from aforo.evaluation import Answers
from aforo.evaluation.two_phase import SMALL, combined
from aforo.export.compile import compile_small
from aforo.export.inference import GraphPredictor
from aforo.export.two_phase import open_predictor
from aforo.registry.bundle import read_bundle
from aforo.use_case import UseCase
from aforo.workflows.fitting import contract_of, run_in_pieces, run_predictor, run_scores
from aforo.workflows.parts import Parts
from aforo.workflows.wiring import Platform


@dataclass(frozen=True)
class Measured:
    """What all predictors of a run say about the test part.

    Attributes
    ----------
    calibrated, uncalibrated
        Per candidate; the small model of two phases too.
    served, served_uncalibrated
        Of what is registered: the chosen candidate, together with the small model if there are two phases.
    champion
        Of the present champion on the same rows, ``None`` if there is none.
    by_small
        Which rows the small model answers, shape (N,); ``None`` without two phases.
    """

    table: pl.DataFrame
    calibrated: dict[str, Answers]
    uncalibrated: dict[str, Answers]
    served: Answers
    served_uncalibrated: Answers
    champion: Answers | None
    by_small: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Judged:
    """What is judged, and registered: graphs and contract as they are served."""

    contract: PredictionContract
    graph: bytes
    small: bytes | None
    choice: PhaseChoice | None
    sets: LabelSets | None

    @classmethod
    def of(cls, use_case: UseCase, trained: TrainManifest, calibrated: CalibrateManifest, platform: Platform) -> Judged:
        chosen = next(candidate for candidate in calibrated.candidates if candidate.name == trained.chosen)
        return cls(
            contract=contract_of(use_case, calibrated.two_phase),
            graph=platform.runs.read_bytes(chosen.predictor),
            small=None if calibrated.small is None else platform.runs.read_bytes(calibrated.small.predictor),
            choice=calibrated.two_phase,
            sets=chosen.sets if calibrated.two_phase is None else calibrated.two_phase.sets,
        )

    def under(self, contract: PredictionContract) -> Judged:
        """Return the same under the contract that is registered; the small graph says in itself what it means."""
        small = None if self.small is None else compile_small(self.small, contract)
        return replace(self, contract=contract, small=small)

    @cached_property
    def predictor(self) -> GraphPredictor:
        return open_predictor(self.graph, self.contract, self.small)


def measure(
    use_case: UseCase,
    trained: TrainManifest,
    calibrated: CalibrateManifest,
    judged: Judged,
    parts: Parts,
    champion: str | None,
    platform: Platform,
) -> Measured:
    """Ask every predictor of a run, what is registered, and the present champion about the test part.

    Raises
    ------
    DataError
        The champion answers another question.
    """
    table = parts.of("test")
    y, contract = use_case.targets(table), use_case.contract
    output = "value" if contract.task == "regression" else "probabilities"
    after = {
        each.name: Answers.of(contract, y, run_predictor(platform.runs.read_bytes(each.predictor), use_case, table))
        for each in (*calibrated.candidates, *([calibrated.small] if calibrated.small else []))
    }
    before = {
        each.name: Answers.of(contract, y, {output: run_scores(platform.runs.read_bytes(each.scores), use_case, table)})
        for each in all_trained(trained)
    }
    served, served_uncalibrated, by_small = after[trained.chosen], before[trained.chosen], None
    if judged.choice is not None:
        outputs = run_in_pieces(judged.predictor, table)
        by_small = outputs["phase"][:, 0] == PHASES.index("small")
        served = Answers.of(judged.contract, y, outputs)
        served_uncalibrated = combined(served_uncalibrated, before[SMALL], by_small)
    return Measured(
        table=table,
        calibrated=after,
        uncalibrated=before,
        served=served,
        served_uncalibrated=served_uncalibrated,
        champion=None if champion is None else _answers_of(champion, use_case, table, platform),
        by_small=by_small,
    )


def all_trained(trained: TrainManifest) -> tuple[CandidateSummary, ...]:
    """Return the candidates, and the small model of two phases if there is one."""
    return (*trained.candidates, *([trained.small] if trained.small else []))


def _answers_of(version: str, use_case: UseCase, table: pl.DataFrame, platform: Platform) -> Answers:
    with tempfile.TemporaryDirectory(prefix="aforo-champion-") as folder:
        fetched = platform.versions.download(use_case.name, version, Path(folder) / "bundle")
        bundle = read_bundle(fetched, platform.signing_key)
        if bundle.contract.task != use_case.task.kind or bundle.contract.classes != use_case.classes:
            raise DataError(
                f"{use_case.name}: champion version {version} answers another question "
                f"({bundle.contract.task} of {list(bundle.contract.classes)})",
                hint="give the changed question a use case of its own",
            )
        return Answers.of(bundle.contract, use_case.targets(table), run_in_pieces(bundle.predictor, table))
