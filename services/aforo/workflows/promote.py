"""Promote: the gate's verdict becomes the champion, by way of the ledger."""

from __future__ import annotations

import time
from dataclasses import dataclass

from aforo.contracts.run import EvaluateManifest, PromoteManifest, RunKey
from aforo.errors import GateRefused, StepNotReady
from aforo.registry.promotion import promote
from aforo.use_case import UseCase
from aforo.workflows.champions import actor
from aforo.workflows.provenance import inputs_of
from aforo.workflows.wiring import Platform


@dataclass(frozen=True)
class Approval:
    """A person's answer to the gate's question; a version that they do not want is simply not promoted."""

    by: str
    reason: str


def run(
    use_case: UseCase, run_key: RunKey, platform: Platform, *, move: bool = True, approval: Approval | None = None
) -> PromoteManifest:
    """Make the run's version the champion if the gate agreed, or if it asked and a person agreed.

    Parameters
    ----------
    move
        ``False`` leaves the version a challenger, for a person to promote.
    approval
        Of the person whom the gate asked; of no use where it did not ask.

    Raises
    ------
    GateRefused
        The gate refused it, or asks a person who has not answered; the champion stays.
    StepNotReady
        Another version has become champion since the gate compared the two.
    """
    started = time.monotonic()
    evaluated = platform.runs.read(use_case.name, run_key, EvaluateManifest)
    if evaluated.verdict == "refuse":
        raise GateRefused(
            f"{use_case.name}: version {evaluated.model_version} was refused\n"
            + "\n".join(f"  {reason}" for reason in evaluated.reasons),
            hint=f"the champion stays; the report is {evaluated.report}",
        )
    asked = evaluated.verdict == "ask"
    if asked and move and approval is None:
        raise GateRefused(
            f"{use_case.name}: the gate asks a person about version {evaluated.model_version}\n"
            + "\n".join(f"  {reason}" for reason in evaluated.reasons),
            hint=f"read {evaluated.report}; then "
            f"`aforo promote {use_case.name} --version {evaluated.model_version} --reason TEXT`, or leave it",
        )
    version = platform.versions.resolve(use_case.name, evaluated.model_version)
    changed, previous = False, None
    if move:
        _refuse_stale_verdict(use_case, run_key, evaluated, platform)
        promoted = promote(
            platform.ledger,
            platform.versions,
            version,
            actor=approval.by if asked and approval else actor(),
            reason=approval.reason if asked and approval else f"accepted by the gate in run {run_key}",
            report=evaluated.report,
            report_digest=evaluated.report_digest,
            by_person=asked,
        )
        # By the ledger, and not by this try: a step that is tried again says what it said before.
        row = promoted.row
        changed, previous = (row.action, row.run_key) == ("promote", run_key), row.previous_version
    return platform.runs.write(
        PromoteManifest(
            use_case=use_case.name,
            run_key=run_key,
            inputs=inputs_of(use_case, evaluated, move=move),
            seconds=time.monotonic() - started,
            model_version=version.version,
            previous_version=previous,
            model_digest=evaluated.model_digest,
            changed=changed,
        )
    )


def _refuse_stale_verdict(use_case: UseCase, run_key: RunKey, evaluated: EvaluateManifest, platform: Platform) -> None:
    rows = platform.ledger.history(use_case.name)
    present = rows[-1].version if rows else None
    is_promoted = any((row.action, row.run_key) == ("promote", run_key) for row in rows)
    if not is_promoted and present not in (evaluated.champion, evaluated.model_version):
        raise StepNotReady(
            f"{use_case.name}: version {evaluated.model_version} was compared with champion "
            f"{evaluated.champion or 'none'}; the champion now is {present or 'none'}",
            hint=f"judge it again with `aforo evaluate {use_case.name} --run-key {run_key}`",
        )
