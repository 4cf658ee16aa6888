"""The steps of a run up to the verdict, one command each, and ``run``, which is all of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer

from aforo.cli.entry import Interrupted
from aforo.cli.options import (
    AgainOption,
    JsonOption,
    LimitOption,
    PromoteOption,
    RunKeyOption,
    SeedOption,
    SnapshotOption,
    UseCaseArgument,
)
from aforo.cli.output import show_manifest
from aforo.cli.patience import patiently
from aforo.contracts.run import Manifest, RunKey, parse_run_key
from aforo.settings import Settings
from aforo.use_case import UseCase, load_use_case
from aforo.workflows import calibrate as calibrate_step
from aforo.workflows import evaluate as evaluate_step
from aforo.workflows import ingest as ingest_step
from aforo.workflows import promote as promote_step
from aforo.workflows import split as split_step
from aforo.workflows import train as train_step
from aforo.workflows import validate as validate_step
from aforo.workflows.wiring import Platform


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to ``app``, under a heading of their own in its help."""
    for command in (run, ingest, validate, split, train, calibrate, evaluate):
        app.command(rich_help_panel=panel)(command)


def ingest(
    use_case: UseCaseArgument,
    run_key: RunKeyOption,
    snapshot: SnapshotOption = None,
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read the sources, set bad rows apart, and take a snapshot."""
    _step(use_case, run_key, as_json, lambda *at: ingest_step.run(*at, snapshot=snapshot, limit=limit))


def validate(use_case: UseCaseArgument, run_key: RunKeyOption, as_json: JsonOption = False) -> None:
    """Check that the snapshot is whole, adds up, and can be learnt from."""
    _step(use_case, run_key, as_json, validate_step.run)


def split(use_case: UseCaseArgument, run_key: RunKeyOption, as_json: JsonOption = False) -> None:
    """Put each row into train, validation, calibration or test."""
    _step(use_case, run_key, as_json, split_step.run)


def train(
    use_case: UseCaseArgument,
    run_key: RunKeyOption,
    seed: SeedOption = None,
    again: AgainOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit every candidate, and choose one on the validation part."""
    _step(use_case, run_key, as_json, lambda *at: train_step.run(*at, seed=seed, again=again))


def calibrate(use_case: UseCaseArgument, run_key: RunKeyOption, as_json: JsonOption = False) -> None:
    """Calibrate every candidate on the calibration part, and export it."""
    _step(use_case, run_key, as_json, calibrate_step.run)


def evaluate(use_case: UseCaseArgument, run_key: RunKeyOption, as_json: JsonOption = False) -> None:
    """Measure on the test part, ask the gate, and register the candidate."""
    _step(use_case, run_key, as_json, evaluate_step.run)


def run(
    use_case: UseCaseArgument,
    run_key: Annotated[
        str | None, typer.Option("--run-key", "-k", envvar="AFORO_RUN_KEY", help="Default: the time now.")
    ] = None,
    snapshot: SnapshotOption = None,
    limit: LimitOption = None,
    seed: SeedOption = None,
    again: AgainOption = False,
    move: PromoteOption = True,
    as_json: JsonOption = False,
) -> None:
    """Take all the steps, without Airflow. With the run key of a run that broke off, go on where it stopped."""
    key = run_key or datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    steps: tuple[Callable[[UseCase, RunKey, Platform], Manifest], ...] = (
        lambda *at: ingest_step.run(*at, snapshot=snapshot, limit=limit),
        validate_step.run,
        split_step.run,
        lambda *at: train_step.run(*at, seed=seed, again=again),
        calibrate_step.run,
        evaluate_step.run,
        lambda *at: promote_step.run(*at, move=move),
    )
    try:
        for step in steps:
            _step(use_case, key, as_json, step)
    except Interrupted as ended:
        ended.add_note(f"`aforo run {use_case} --run-key {key}` goes on from here")
        raise


def _step(use_case: str, run_key: str, as_json: bool, step: Callable[[UseCase, RunKey, Platform], Manifest]) -> None:
    settings = Settings.from_environment()
    at = load_use_case(settings.use_cases, use_case), parse_run_key(run_key), Platform.of(settings)
    manifest = patiently(lambda: step(*at), settings.patience_s)
    show_manifest(manifest, as_json=as_json)
