"""Figures and pictures of the test part, as a data scientist sees them in MLflow."""

from __future__ import annotations

from aforo.contracts.run import TrainManifest
from aforo.evaluation import Answers, GateReport
from aforo.evaluation.two_phase import FULL
from aforo.registry.tracking import TrackedRun
from aforo.use_case import UseCase
from aforo.workflows.measuring import Measured, all_trained
from aforo.workflows.wiring import Platform


def _pictures_of(use_case: UseCase, before: Answers, after: Answers) -> dict[str, bytes]:
    """Return name to PNG.

    Parameters
    ----------
    before, after
        The predictor without and with its calibrator, on the same rows.
    """
    # matplotlib takes a second to load, and every command would wait for it.
    from aforo.evaluation.plots import confusion_matrix, predicted_and_true, ranking_curves, reliability_diagram

    if use_case.task.kind == "regression":
        target = use_case.data.target
        return {"predicted_and_true": predicted_and_true(after, target=target.name, unit=target.unit)}
    pictures = {"reliability": reliability_diagram(before, after, bins=use_case.evaluation.ece_bins)}
    if use_case.task.kind == "binary":
        return {**pictures, "ranking": ranking_curves({"calibrated": after})}
    return {**pictures, "confusion": confusion_matrix(after, use_case.classes)}


def record(
    use_case: UseCase,
    trained: TrainManifest,
    measured: Measured,
    report: GateReport,
    tracked: TrackedRun,
    platform: Platform,
) -> dict[str, bytes]:
    """Put figures and pictures where a data scientist looks for them: on the run, and on that of each candidate.

    Returns the pictures of what is registered.
    """
    names = {"candidate": trained.chosen, "baseline": use_case.baseline}
    if measured.by_small is not None:
        names = {FULL: trained.chosen, "baseline": use_case.baseline}
    for predictor, figures in report.metrics.items():
        values = {f"test.{metric}": interval.value for metric, interval in figures.items()}
        if predictor == "candidate":
            bounds = {f"test.{m}.{end}": getattr(i, end) for m, i in figures.items() for end in ("lower", "upper")}
            tracked.log_metrics({**values, **bounds})
        else:
            tracked.log_metrics({f"{predictor}.{name}": value for name, value in values.items()})
        for candidate in all_trained(trained):
            if candidate.name == names.get(predictor, predictor):
                platform.tracker.reopen(candidate.mlflow_run_id).log_metrics(values)
    for candidate in all_trained(trained):
        nested = platform.tracker.reopen(candidate.mlflow_run_id)
        before, after = measured.uncalibrated[candidate.name], measured.calibrated[candidate.name]
        for name, picture in _pictures_of(use_case, before, after).items():
            nested.log_file(f"plots/{name}.png", picture)
        nested.finish()
    pictures = _pictures_of(use_case, measured.served_uncalibrated, measured.served)
    for name, picture in pictures.items():
        tracked.log_file(f"plots/{name}.png", picture)
    if report.two_phase is not None:
        found = report.two_phase
        tracked.log_metrics({f"two_phase.share.{end}": value for end, value in found.share})
        tracked.log_metrics({f"two_phase.lost.{end}": value for end, value in found.lost})
        tracked.log_metrics({"two_phase.size_share": found.small_bytes / found.full_bytes})
        tracked.log_params({"two_phase.confidence": found.confidence})
    return pictures


def note(use_case: UseCase, trained: TrainManifest, report: GateReport) -> str:
    """Return what MLflow shows above a run."""
    reasons = "\n".join(f"- {reason}" for reason in report.reasons)
    return f"{use_case.title}\n\nChosen: `{trained.chosen}`. The gate's verdict: **{report.verdict}**\n\n{reasons}"
