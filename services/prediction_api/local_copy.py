"""The local copy of the registry, as the workers read it. Who writes it: :mod:`aforo.registry.mirror`.

::

    <folder>/status.json                 when the registry was asked last, and what came of it
    <folder>/<model>/aliases.json        {"champion": "7", ...}
    <folder>/<model>/<version>/          a bundle
    <folder>/wanted/<model>@<version>    a worker asks for a version that is not here
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile(r"[0-9]{1,18}")
_MOST_WANTED = 100


@dataclass(frozen=True)
class CopyStatus:
    """How fresh the local copy of the registry is.

    Attributes
    ----------
    synced_at
        When the registry last answered, in seconds since the epoch; ``None`` for never.
    age_s
        Seconds since then.
    error
        What went wrong when it was asked last, or which versions were refused.
    """

    synced_at: float | None
    age_s: float | None
    error: str | None


class LocalCopy:
    """Reads the folder; it never fails because something is being replaced in it.

    Parameters
    ----------
    folder
        Need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder

    def models(self) -> tuple[str, ...]:
        """Return the names of the models that have an ``aliases.json``, sorted."""
        return tuple(sorted(path.parent.name for path in self.path.glob("*/aliases.json")))

    def versions(self, name: str) -> frozenset[str]:
        """Return the versions of ``name`` that are here, complete."""
        if not _NAME.fullmatch(name):
            return frozenset()
        return frozenset(
            path.parent.name
            for path in (self.path / name).glob("*/bundle.json")
            if _VERSION.fullmatch(path.parent.name)
        )

    def aliases(self, name: str) -> dict[str, str]:
        """Return alias to version."""
        try:
            document = json.loads((self.path / name / "aliases.json").read_bytes())
        except FileNotFoundError:
            return {}
        return {str(alias): str(version) for alias, version in document.items()}

    def folder(self, name: str, version: str) -> Path:
        return self.path / name / version

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Return something that is another as soon as an alias has moved."""
        stamps = []
        for path in sorted(self.path.glob("*/aliases.json")):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            stamps.append((path.parent.name, status.st_mtime_ns, status.st_ino))
        return tuple(stamps)

    def content(self, name: str, version: str) -> tuple[tuple[str, int, int, int], ...]:
        """Return something that is another as soon as a file of the version is."""
        stamps = []
        try:
            for path in sorted(self.folder(name, version).iterdir()):
                status = path.stat()
                stamps.append((path.name, status.st_size, status.st_mtime_ns, status.st_ino))
        except FileNotFoundError:
            return ()
        return tuple(stamps)

    def ask_for(self, name: str, version: str) -> None:
        """Leave word that a version is wanted; the downloader fetches it if the registry has it."""
        wanted = self.path / "wanted"
        if not _NAME.fullmatch(name) or not _VERSION.fullmatch(version):
            return
        wanted.mkdir(parents=True, exist_ok=True)
        if sum(1 for _ in wanted.iterdir()) < _MOST_WANTED:
            (wanted / f"{name}@{version}").touch()

    def status(self) -> CopyStatus:
        """Return how fresh the copy is."""
        try:
            document = json.loads((self.path / "status.json").read_bytes())
        except FileNotFoundError:
            return CopyStatus(synced_at=None, age_s=None, error=None)
        synced_at = document.get("synced_at")
        age_s = None if synced_at is None else round(max(0.0, time.time() - synced_at), 3)
        return CopyStatus(synced_at=synced_at, age_s=age_s, error=document.get("error"))
