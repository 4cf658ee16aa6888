"""What a person decides about champions. The gate stays the only road to become one."""

from __future__ import annotations

import getpass

from aforo.contracts.specification import Specification
from aforo.registry import promotion
from aforo.registry.ledger import Promotion
from aforo.workflows.wiring import Platform


class ChampionChange(Specification):
    """What a decision came to.

    Attributes
    ----------
    changed
        Whether another version is champion now than before.
    """

    use_case: str
    version: str
    previous_version: str | None
    changed: bool


class History(Specification):
    """The ledger's rows of one use case, the oldest first, and what does not fit between ledger and registry."""

    use_case: str
    rows: tuple[Promotion, ...]
    discrepancies: tuple[str, ...]


def promote(use_case: str, version: str, platform: Platform, *, reason: str) -> ChampionChange:
    """Make a version the champion that the gate accepted or asks about, one that was rolled back included.

    Raises
    ------
    ModelNotFound
        There is no such version.
    GateRefused
        The gate refused it.
    """
    chosen = platform.versions.resolve(use_case, version)
    return _change(
        use_case,
        promotion.promote(
            platform.ledger, platform.versions, chosen, actor=actor(), reason=reason, by_person=True, once=False
        ),
    )


def rollback(use_case: str, platform: Platform, *, reason: str, to: str | None = None) -> ChampionChange:
    """Make a former champion the champion again.

    Parameters
    ----------
    to
        Its number; ``None`` for the one before the present champion.

    Raises
    ------
    LedgerError
        There is none to go back to.
    """
    done = promotion.rollback(platform.ledger, platform.versions, use_case, actor=actor(), reason=reason, to=to)
    return _change(use_case, done)


def history(use_case: str, platform: Platform) -> History:
    """Return the ledger's rows.

    Raises
    ------
    LedgerError
        The ledger itself was tampered with.
    ModelNotFound
        Nobody ever registered such a model.
    """
    rows = platform.ledger.history(use_case)
    if not rows:
        platform.versions.resolve(use_case, "1")
    found = promotion.discrepancies(platform.ledger, platform.versions, use_case)
    return History(use_case=use_case, rows=tuple(rows), discrepancies=tuple(found))


def actor() -> str:
    """Return who is asking, for the ledger: the account that this process runs as."""
    return getpass.getuser()


def _change(use_case: str, done: promotion.Promoted) -> ChampionChange:
    return ChampionChange(
        use_case=use_case, version=done.version, previous_version=done.previous_version, changed=done.changed
    )
