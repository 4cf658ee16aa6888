"""What a result was computed by: the code, and the versions of the libraries beneath it."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from aforo.contracts.certificate import Provenance
from aforo.contracts.run import Manifest
from aforo.settings import Settings
from aforo.use_case import UseCase


def provenance(use_case: UseCase) -> Provenance:
    """Return all that a result follows from besides its data, in full."""
    return Provenance(
        use_case=use_case.model_dump(mode="json"),
        code=code_files(use_case.folder),
        libraries=libraries(),
        machine=machine(),
    )


def code_files(use_case_folder: Path) -> dict[str, str]:
    """Return every Python file of the library and of the use case, with the SHA-256 of its bytes."""
    library = Path(__file__).parent.parent
    return {
        path.relative_to(root.parent).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for root in (library, use_case_folder)
        for path in sorted(root.rglob("*.py"))
    }


def code_digest(files: Mapping[str, str]) -> str:
    """Return the SHA-256 of what `code_files` returned."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def inputs_of(use_case: UseCase, *before: Manifest, **parameters: object) -> str:
    """Return the SHA-256 of all that a step's result follows from: use case, code, earlier steps and parameters."""
    said = {
        "use_case": use_case.digest,
        "code": code_digest(code_files(use_case.folder)),
        "before": [manifest.identity for manifest in before],
        "parameters": parameters,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def code_commit(settings: Settings) -> str | None:
    """Return the git commit this code is from: the one its image was built from, else that of the checkout.

    ``-dirty`` is appended if files were changed; ``None`` where there is neither.
    """
    if settings.code_commit is not None:
        return settings.code_commit
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return f"{commit}-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603, S607
    return done.stdout.strip()


def libraries() -> dict[str, str]:
    """Return the exact versions of all that ``aforo[learning]`` needs, as they are installed here.

    The installed versions are what computed the result; a lock file only says what should have been.
    """
    return dict(sorted(_closure("aforo", "learning").items()))


def lock_digest(versions: Mapping[str, str]) -> str:
    """Return the SHA-256 of what `libraries` returned."""
    lines = sorted(f"{name}=={version}" for name, version in versions.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def machine() -> dict[str, str]:
    """Return what arithmetic depends on: the processor's model, the system and the Python."""
    return {"processor": _processor(), "system": platform.platform(), "python": platform.python_version()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _closure(distribution: str, extra: str) -> dict[str, str]:
    found: dict[str, str] = {}
    waiting = _requirements(distribution, (extra,))
    while waiting:
        name, extras = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # needed on another platform only
        waiting += _requirements(name, extras)
    return found


def _requirements(distribution: str, extras: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    needed = []
    for line in metadata.requires(distribution) or ():
        requirement = Requirement(line)
        contexts = [{"extra": extra} for extra in extras] or [{"extra": ""}]
        if requirement.marker is None or any(requirement.marker.evaluate(context) for context in contexts):
            name = re.sub(r"[-_.]+", "-", requirement.name).lower()
            needed.append((name, tuple(sorted(requirement.extras))))
    return needed
