"""Whether training again could give anything new: what has changed since the champion was made."""

from __future__ import annotations

from aforo.registry.versions import RegisteredVersion
from aforo.use_case import UseCase
from aforo.workflows.provenance import code_digest, code_files, libraries, lock_digest
from aforo.workflows.wiring import Platform


def ingredients(use_case: UseCase, snapshot_id: str, seed: int) -> dict[str, str]:
    """Return all that a model follows from; the same ingredients give the same model."""
    return {
        "snapshot_id": snapshot_id,
        "use_case_digest": use_case.digest,
        "code_digest": code_digest(code_files(use_case.folder)),
        "lock_digest": lock_digest(libraries()),
        "seed": str(seed),
    }


def changes(use_case: UseCase, snapshot_id: str, seed: int, platform: Platform) -> tuple[str, ...]:
    """Return what differs from the champion's ingredients, in words; empty if training again would repeat it."""
    champion = platform.versions.champion(use_case.name)
    if champion is None:
        return ("there is no champion yet",)
    names = {
        "snapshot_id": "the data",
        "use_case_digest": "the use case",
        "code_digest": "the code",
        "lock_digest": "a library",
        "seed": "the seed",
    }
    now, then = ingredients(use_case, snapshot_id, seed), _recorded(champion, platform)
    return tuple(f"{words} changed" for name, words in names.items() if now[name] != then.get(name))


def _recorded(version: RegisteredVersion, platform: Platform) -> dict[str, str]:
    return platform.tracker.reopen(version.run_id).tags()
