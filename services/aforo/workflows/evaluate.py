"""Evaluate: measure on the frozen test part, ask the gate, and register what was judged."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from aforo.contracts.explanation import Background
from aforo.contracts.prediction import LabelSets, Lineage, PredictionContract
from aforo.contracts.run import (
    CalibrateManifest,
    EvaluateManifest,
    RunKey,
    SplitManifest,
    TrainManifest,
    ValidateManifest,
)
from aforo.evaluation import Answers, GateReport, judge
from aforo.evaluation.abstention import Abstention, abstention
from aforo.evaluation.explained import explain_rows
from aforo.evaluation.fairness import Representation
from aforo.evaluation.report import ModelCard, render
from aforo.evaluation.subject import Subject
from aforo.evaluation.two_phase import SMALL, TwoPhases
from aforo.export.explanations import Explainer
from aforo.registry.bundle import BACKGROUND, REPORT, REPORT_PAGE, read_bundle, write_bundle
from aforo.registry.registration import register_version
from aforo.registry.tracking import TrackedRun
from aforo.registry.versions import RegisteredVersion
from aforo.use_case import UseCase
from aforo.workflows.background import choose_background
from aforo.workflows.figures import note, record
from aforo.workflows.fitting import groups_of, run_in_pieces
from aforo.workflows.freshness import ingredients
from aforo.workflows.golden import choose_golden_rows
from aforo.workflows.measuring import Judged, Measured, all_trained, measure
from aforo.workflows.parts import Parts
from aforo.workflows.provenance import code_commit, inputs_of
from aforo.workflows.validate import REPRESENTATION
from aforo.workflows.wiring import Platform

logger = logging.getLogger(__name__)


def run(use_case: UseCase, run_key: RunKey, platform: Platform) -> EvaluateManifest:
    """Judge the chosen candidate, and register it as ``challenger`` whatever the verdict.

    It is judged anew when another version has become champion since.

    Raises
    ------
    DataError
        The test part cannot be judged on.
    """
    started = time.monotonic()
    split = platform.runs.read(use_case.name, run_key, SplitManifest)
    trained = platform.runs.read(use_case.name, run_key, TrainManifest)
    calibrated = platform.runs.read(use_case.name, run_key, CalibrateManifest)
    champion = _opponent(use_case, run_key, platform)
    inputs = inputs_of(use_case, split, trained, calibrated, champion=champion)
    if done := platform.runs.finished(use_case.name, run_key, EvaluateManifest, inputs):
        return done
    parts = Parts.load(split, use_case, platform)
    judged = Judged.of(use_case, trained, calibrated, platform)
    measured = measure(use_case, trained, calibrated, judged, parts, champion, platform)
    background = choose_background(judged.predictor, parts.of("train"), trained.seed)
    abstains = _abstention(use_case, trained, judged, parts, measured)
    judged = judged.under(_contract(judged.contract, abstains))
    calibration = parts.of("calibration")
    report = _judge(use_case, trained, judged, background, abstains, measured, calibration, judged.sets)
    tracked = platform.tracker.reopen(trained.mlflow_run_id)
    written = report.to_json()
    pictures = record(use_case, trained, measured, report, tracked, platform)
    lineage = _lineage(use_case, run_key, trained, platform)
    represented = _represented(use_case, run_key, platform)
    page = render(report, _card(use_case, judged.contract, lineage, split, trained, calibrated, represented), pictures)
    tracked.log_file("gate/report.html", page)
    tracked.log_file("gate/report.json", written)
    tracked.set_tags({"verdict": report.verdict, "mlflow.note.content": note(use_case, trained, report)})
    key = platform.runs.write_bytes(platform.runs.key(use_case.name, run_key, "evaluate", "report.json"), written)
    platform.runs.write_bytes(platform.runs.key(use_case.name, run_key, "evaluate", "report.html"), page)
    attachments = {REPORT: written, REPORT_PAGE: page, BACKGROUND: background.model_dump_json().encode()}
    version = _register(use_case, lineage, trained, judged, measured, report, attachments, tracked, platform)
    tracked.finish()
    for reason in report.reasons:
        logger.info(reason, extra={"verdict": report.verdict})
    return platform.runs.write(
        EvaluateManifest(
            use_case=use_case.name,
            run_key=run_key,
            inputs=inputs,
            seconds=time.monotonic() - started,
            report=key,
            report_digest=hashlib.sha256(written).hexdigest(),
            champion=champion,
            verdict=report.verdict,
            reasons=report.reasons,
            metrics=report.figures(),
            model_version=version.version,
            model_digest=version.tags["model_digest"],
            mlflow_url=version.url,
        )
    )


def _opponent(use_case: UseCase, run_key: RunKey, platform: Platform) -> str | None:
    """Return the version to compare with: the champion, or the one before if that is what this run made."""
    champion = platform.versions.champion(use_case.name)
    judged = platform.runs.find(use_case.name, run_key, EvaluateManifest)
    if champion is not None and judged is not None and champion.version == judged.model_version:
        return judged.champion
    return None if champion is None else champion.version


def _abstention(
    use_case: UseCase, trained: TrainManifest, judged: Judged, parts: Parts, measured: Measured
) -> Abstention | None:
    """Return when the candidate abstains, chosen on the validation part; ``None`` where that is not asked for."""
    if use_case.task.abstain is None:
        return None
    validation = parts.of("validation")
    answers = Answers.of(judged.contract, use_case.targets(validation), run_in_pieces(judged.predictor, validation))
    return abstention(
        use_case.task.abstain,
        answers,
        measured.served,
        validation_groups=groups_of(use_case, validation),
        groups=groups_of(use_case, measured.table),
        spec=use_case.evaluation.bootstrap,
        seed=trained.seed,
    )


def _contract(judged: PredictionContract, abstains: Abstention | None) -> PredictionContract:
    """Return the contract, with the bound that was chosen."""
    if abstains is None:
        return judged
    return judged.model_copy(update={"abstain_below": abstains.below, "abstain_above": abstains.above})


def _judge(
    use_case: UseCase,
    trained: TrainManifest,
    judged: Judged,
    background: Background,
    abstains: Abstention | None,
    measured: Measured,
    calibration: pl.DataFrame,
    sets: LabelSets | None,
) -> GateReport:
    chosen, baseline = trained.chosen, use_case.baseline
    others = {name: answers for name, answers in measured.calibrated.items() if name not in (chosen, baseline, SMALL)}

    def asked_about(table: pl.DataFrame) -> Subject:
        return Subject(
            contract=judged.contract,
            columns=use_case.data,
            predict=lambda rows: run_in_pieces(judged.predictor, rows),
            table=table,
            y=use_case.targets(table),
            groups=groups_of(use_case, table),
            seed=trained.seed,
        )

    subject = asked_about(measured.table)
    explained = None
    if use_case.evaluation.explained_rows is not None:
        explainer = Explainer(judged.predictor.run, judged.contract, background)
        found = explain_rows(subject, explainer, use_case.evaluation.explained_rows, use_case.evaluation.bootstrap)
        own = next(candidate for candidate in trained.candidates if candidate.name == chosen)
        explained = found.model_copy(update={"integrated_gradients": own.integrated_gradients})
    return judge(
        use_case=use_case.name,
        candidate_name=chosen,
        candidate=measured.served,
        uncalibrated=measured.served_uncalibrated,
        baseline=measured.calibrated[baseline],
        champion=measured.champion,
        others=others,
        evaluation=use_case.evaluation,
        gate=use_case.gate,
        groups=subject.groups,
        subject=subject,
        calibration=asked_about(calibration),
        fairness=use_case.fairness,
        costs=use_case.costs,
        abstention=abstains,
        explained=explained,
        sets=sets,
        two_phase=_two_phases(use_case, trained, judged, measured),
        seed=trained.seed,
    )


def _two_phases(use_case: UseCase, trained: TrainManifest, judged: Judged, measured: Measured) -> TwoPhases | None:
    if use_case.two_phase is None or judged.choice is None or judged.small is None or measured.by_small is None:
        return None
    return TwoPhases(
        spec=use_case.two_phase,
        choice=judged.choice,
        by_small=measured.by_small,
        full=measured.calibrated[trained.chosen],
        small=measured.calibrated[SMALL],
        full_bytes=len(judged.graph),
        small_bytes=len(judged.small),
    )


def _lineage(use_case: UseCase, run_key: RunKey, trained: TrainManifest, platform: Platform) -> Lineage:
    made_from = ingredients(use_case, trained.snapshot_id, trained.seed)
    made_from.pop("seed")
    return Lineage(
        run_key=run_key,
        split_digest=trained.split_digest,
        code_commit=code_commit(platform.settings),
        seed=trained.seed,
        **made_from,
    )


def _represented(use_case: UseCase, run_key: RunKey, platform: Platform) -> tuple[Representation, ...]:
    """Return what the validate step found about groups of people in the data."""
    if use_case.fairness is None:
        return ()
    validated = platform.runs.read(use_case.name, run_key, ValidateManifest)
    if validated.fairness is None:
        return ()
    return REPRESENTATION.validate_json(platform.runs.read_bytes(validated.fairness))


def _card(
    use_case: UseCase,
    contract: PredictionContract,
    lineage: Lineage,
    split: SplitManifest,
    trained: TrainManifest,
    calibrated: CalibrateManifest,
    representation: tuple[Representation, ...],
) -> ModelCard:
    return ModelCard(
        title=use_case.title,
        owner=use_case.owner,
        description=use_case.description,
        limits=use_case.limits,
        contract=contract,
        lineage=lineage,
        parts=split.parts,
        trained=all_trained(trained),
        calibrated=(*calibrated.candidates, *([calibrated.small] if calibrated.small else [])),
        representation=representation,
    )


def _register(
    use_case: UseCase,
    lineage: Lineage,
    trained: TrainManifest,
    judged: Judged,
    measured: Measured,
    report: GateReport,
    attachments: Mapping[str, bytes],
    tracked: TrackedRun,
    platform: Platform,
) -> RegisteredVersion:
    with tempfile.TemporaryDirectory(prefix="aforo-bundle-") as temporary:
        folder = Path(temporary) / "bundle"
        write_bundle(
            folder,
            graph=judged.graph,
            small=judged.small,
            contract=judged.contract,
            golden=choose_golden_rows(judged.predictor, measured.table),
            lineage=lineage,
            candidate=trained.chosen,
            metrics=report.figures()["candidate"],
            key=platform.signing_key,
            attachments=attachments,
        )
        read_bundle(folder, platform.signing_key)
        return register_version(
            platform.versions, folder, run=tracked, verdict=report.verdict, description=use_case.title
        )
