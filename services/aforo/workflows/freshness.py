"""Whether training again could give anything new: what has changed since the champion was made."""

from __future__ import annotations

from aforo.contracts.specification import Specification
from aforo.use_case import UseCase
from aforo.workflows.provenance import code_digest, code_files, libraries, lock_digest
from aforo.workflows.wiring import Platform

_WORDS = {
    "snapshot_id": "the data",
    "use_case_digest": "the use case",
    "code_digest": "the code",
    "lock_digest": "a library",
    "seed": "the seed",
}


def ingredients(use_case: UseCase, snapshot_id: str, seed: int) -> dict[str, str]:
    """Return all that a model follows from; the same ingredients give the same model."""
    return {
        "snapshot_id": snapshot_id,
        "use_case_digest": use_case.digest,
        "code_digest": code_digest(code_files(use_case.folder)),
        "lock_digest": lock_digest(libraries()),
        "seed": str(seed),
    }


class Freshness(Specification):
    """How a use case stands to its champion.

    Attributes
    ----------
    champion
        Its version, ``None`` if there is none yet.
    changes
        What differs from the champion's ingredients, in words; empty if training again would repeat it.
    """

    use_case: str
    snapshot_id: str
    champion: str | None
    changes: tuple[str, ...]


def freshness(use_case: UseCase, snapshot_id: str, seed: int, platform: Platform) -> Freshness:
    """Return whether training now could give anything else than the champion."""
    champion = platform.versions.champion(use_case.name)
    if champion is None:
        found: tuple[str, ...] = ("there is no champion yet",)
    else:
        now, then = ingredients(use_case, snapshot_id, seed), platform.tracker.reopen(champion.run_id).tags()
        found = tuple(f"{words} changed" for name, words in _WORDS.items() if now[name] != then.get(name))
    number = None if champion is None else champion.version
    return Freshness(use_case=use_case.name, snapshot_id=snapshot_id, champion=number, changes=found)
