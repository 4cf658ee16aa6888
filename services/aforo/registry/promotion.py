"""Making a version the champion, and going back. The ledger is written first; the alias follows it.

A crash between the two leaves a ledger that is right and an alias that is behind. :func:`reconcile`, which begins every
promotion and rollback, moves the alias to where the ledger says, so whatever comes next finishes the job.
The other order would leave a champion that no row accounts for. For the same reason an alias that was moved by hand
is put back, and reported.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from aforo.errors import GateRefused, LedgerError
from aforo.registry.ledger import Ledger, Promotion
from aforo.registry.versions import CHAMPION, RegisteredVersion, Versions

logger = logging.getLogger(__name__)

LEDGER_TAG = "ledger_hash"
"""Tag of a version that became champion: the hash of its ledger row, so that rows cut off the end are missed."""


@dataclass(frozen=True)
class Promoted:
    """What a promotion or rollback came to.

    Attributes
    ----------
    changed
        Whether another version is champion now than before.
    """

    version: str
    previous_version: str | None
    changed: bool
    row: Promotion


def promote(
    ledger: Ledger,
    versions: Versions,
    version: RegisteredVersion,
    *,
    actor: str,
    reason: str,
    report: str | None = None,
    report_digest: str | None = None,
    by_person: bool = False,
    once: bool = True,
) -> Promoted:
    """Make ``version`` the champion of its use case.

    Parameters
    ----------
    actor
        Who decided: a person, or the step of a run.
    by_person
        Whether a person has decided: theirs is the answer where the gate's verdict is ``ask``.
    once
        A run promotes its version once, however often its step is tried. ``False`` for a person, who may
        promote a version again after it was rolled back.

    Raises
    ------
    GateRefused
        The gate refused the version, or asks a person about it.
    """
    verdict = version.tags.get("verdict")
    if verdict != "promote" and not (verdict == "ask" and by_person):
        raise GateRefused(
            f"{version.use_case} version {version.version} was not accepted by the gate (verdict: {verdict})",
            hint="read its report, then train again; the gate is the only road to champion",
        )
    before = reconcile(ledger, versions, version.use_case)
    if before is not None and before.version == version.version:
        return Promoted(version.version, before.previous_version, False, before)
    row = ledger.append(
        use_case=version.use_case,
        action="promote",
        version=version.version,
        actor=actor,
        reason=reason,
        run_key=version.tags["run_key"],
        snapshot_id=version.tags["snapshot_id"],
        report=report,
        report_digest=report_digest,
        once=once,
    )
    now = reconcile(ledger, versions, version.use_case)
    changed = now is not None and now.id == row.id
    if not changed:
        logger.info(
            "already promoted once, and another version since",
            extra={"use_case": version.use_case, "model_version": version.version, "ledger_row": row.id},
        )
    return Promoted(version.version, row.previous_version, changed, row)


def rollback(
    ledger: Ledger, versions: Versions, use_case: str, *, actor: str, reason: str, to: str | None = None
) -> Promoted:
    """Make a former champion the champion again.

    Parameters
    ----------
    to
        The version to go back to; ``None`` for the one before the present champion. Going back twice goes back two.

    Raises
    ------
    LedgerError
        There is no champion, no former one, or ``to`` never was one.
    """
    present = reconcile(ledger, versions, use_case)
    if present is None:
        raise LedgerError(f"{use_case} has no champion, so there is nothing to go back from")
    rows = ledger.history(use_case)
    if to is None:
        standing = champions_in_line(rows)
        if len(standing) < 2:
            raise LedgerError(f"{use_case} version {present.version} is the first champion; there is none before it")
        to = standing[-2]
    made = next((row for row in reversed(rows) if row.version == to), None)
    if made is None:
        valid = ", ".join(dict.fromkeys(row.version for row in rows))
        raise LedgerError(
            f"{use_case} version {to} never was champion; those that were: {valid}",
            hint=f"use `aforo promote {use_case}` for a version that was not champion before",
        )
    if to == present.version:
        return Promoted(to, present.previous_version, False, present)
    versions.resolve(use_case, to)
    row = ledger.append(
        use_case=use_case,
        action="rollback",
        version=to,
        actor=actor,
        reason=reason,
        run_key=made.run_key,
        snapshot_id=made.snapshot_id,
        report=made.report,
        report_digest=made.report_digest,
        once=False,
    )
    reconcile(ledger, versions, use_case)
    return Promoted(to, row.previous_version, True, row)


def reconcile(ledger: Ledger, versions: Versions, use_case: str) -> Promotion | None:
    """Move the alias to where the ledger says it is, and return the row that says so.

    Returns
    -------
    Promotion or None
        ``None`` if the ledger knows no champion; an alias that stands all the same is reported and left.
    """
    row = ledger.champion(use_case)
    alias = versions.aliases(use_case).get(CHAMPION)
    if row is None:
        if alias is not None:
            logger.warning(
                "the alias champion stands without a row in the ledger",
                extra={"use_case": use_case, "model_version": alias},
            )
        return None
    if alias != row.version:
        # An alias that is where it was before the last row was not moved by hand: its move is still to be made.
        if alias != row.previous_version:
            logger.warning(
                "the alias champion was moved by hand, and is put back",
                extra={"use_case": use_case, "found": alias, "model_version": row.version},
            )
        versions.set_tags(use_case, row.version, {LEDGER_TAG: row.hash})
        versions.set_alias(use_case, CHAMPION, row.version)
        logger.info(
            "champion changed", extra={"use_case": use_case, "model_version": row.version, "previous_version": alias}
        )
    return row


def discrepancies(ledger: Ledger, versions: Versions, use_case: str) -> list[str]:
    """Return what does not fit between ledger and registry, one sentence each; empty if all does. Changes nothing.

    Raises
    ------
    LedgerError
        The ledger itself is broken.
    """
    ledger.verify()
    rows = ledger.history(use_case)
    hashes = {row.hash for row in rows}
    found = []
    alias = versions.aliases(use_case).get(CHAMPION)
    expected = rows[-1].version if rows else None
    if alias != expected:
        found.append(f"{use_case}: the alias champion names version {alias}; the ledger says {expected}")
    registered = versions.all(use_case)
    for version in registered:
        recorded = version.tags.get(LEDGER_TAG)
        if recorded is not None and recorded not in hashes:
            found.append(f"{use_case}: version {version.version} was made champion by a ledger row that is gone")
    known = {version.version for version in registered}
    missing = dict.fromkeys(row.version for row in rows if row.version not in known)
    found += [f"{use_case}: version {version} was champion, and is no longer registered" for version in missing]
    return found


def champions_in_line(rows: list[Promotion]) -> list[str]:
    """Return the champions that a rollback would step through, the present one last."""
    line: list[str] = []
    for row in rows:
        if row.action == "rollback" and row.version in line:
            while line[-1] != row.version:
                line.pop()
        else:
            line.append(row.version)
    return line
