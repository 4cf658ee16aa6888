"""A local copy of the served versions, written by one process and read by many that know no MLflow.

::

    <folder>/status.json                 when the registry answered last, and what went wrong since
    <folder>/<model>/aliases.json        {"champion": "7", ...}
    <folder>/<model>/<version>/          a bundle, there as a whole or not at all
    <folder>/wanted/<model>@<version>    left by a reader that needs a version that is not here

A version's folder never changes once it is there, and an alias never names a version that is not there: versions
are fetched first. With the registry stopped, readers go on with what they have.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aforo.errors import AforoError, BundleRefused, StoreUnavailable
from aforo.registry.bundle import read_bundle

logger = logging.getLogger(__name__)

ALIASES, STATUS, WANTED = "aliases.json", "status.json", "wanted"

_WANTED = re.compile(r"([a-z][a-z0-9_]{0,62})@([0-9]{1,9})")


class Registry(Protocol):
    """Where versions come from: :class:`aforo.registry.versions.Versions`, or a folder in tests and benchmarks."""

    def models(self) -> list[str]: ...

    def aliases(self, use_case: str) -> dict[str, str]: ...

    def download(self, use_case: str, version: str, folder: Path) -> Path: ...


@dataclass(frozen=True)
class Refused:
    """A version that was fetched and is not served."""

    model: str
    version: str
    reason: str


class Mirror:
    """Writes the copy. One process does so at a time.

    Parameters
    ----------
    key
        Every fetched bundle is checked with it before it takes its place.
    keep
        How many versions of a model stay beside those that an alias names: the ones fetched last.
    retry_after_s
        A version that was refused is not fetched again before, however often :meth:`sync` is called.
    now
        Seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        *,
        key: bytes,
        keep: int = 3,
        retry_after_s: float = 60.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self._key = key
        self._keep = keep
        self._retry_after_s = retry_after_s
        self._now = now
        self._refused: dict[tuple[str, str], tuple[float, Refused]] = {}

    def sync(self, registry: Registry, models: Iterable[str] | None = None) -> list[Refused]:
        """Bring the copy up to date, and return the versions that were refused.

        An alias whose new version is refused stays where it was: the live version goes on, and ``status.json`` says
        what is wrong.

        Parameters
        ----------
        models
            Names of the models to copy; ``None`` for all that are registered.

        Raises
        ------
        StoreUnavailable
            The registry does not answer. The copy is as it was, and ``status.json`` says why.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            refused = []
            for model in registry.models() if models is None else models:
                refused += self._sync_model(registry, model)
            refused += self._fetch_wanted(registry)
        except StoreUnavailable as error:
            self._report(answered=False, error=error.message)
            raise
        self._report(answered=True, error="; ".join(r.reason for r in refused) or None)
        return refused

    def versions(self, model: str) -> list[str]:
        """Return the versions of ``model`` that are here, the oldest first."""
        found = (path.parent.name for path in (self.folder / model).glob("*/bundle.json"))
        return sorted((name for name in found if name.isdecimal()), key=int)

    def aliases(self, model: str) -> dict[str, str]:
        """Return alias to version, as readers see them."""
        try:
            document: dict[str, str] = json.loads((self.folder / model / ALIASES).read_bytes())
        except FileNotFoundError:
            return {}
        return document

    def _sync_model(self, registry: Registry, model: str) -> list[Refused]:
        before, refused = self.aliases(model), []
        aliases: dict[str, str] = {}
        unusable: set[str] = set()
        for alias, version in sorted(registry.aliases(model).items()):
            if version not in unusable and (problem := self._fetch(registry, model, version)) is not None:
                refused.append(problem)
                unusable.add(version)
            if version not in unusable:
                aliases[alias] = version
            elif alias in before:
                aliases[alias] = before[alias]
        if aliases != before:
            _write_atomically(self.folder / model / ALIASES, aliases)
            logger.info("aliases mirrored", extra={"model": model, **{f"alias_{a}": v for a, v in aliases.items()}})
        self._let_go(model, {*aliases.values(), *before.values()})
        return refused

    def _fetch(self, registry: Registry, model: str, version: str) -> Refused | None:
        """Fetch and check a version unless it is here; it takes its place by one rename."""
        place = self.folder / model / version
        if place.exists():
            return None
        refused_at, before = self._refused.get((model, version), (0.0, None))
        if before is not None and self._now() - refused_at < self._retry_after_s:
            return before
        place.parent.mkdir(parents=True, exist_ok=True)
        arriving = place.with_name(f".{version}.{secrets.token_hex(4)}")
        try:
            registry.download(model, version, arriving)
            contract = read_bundle(arriving, self._key).contract
            if contract.use_case != model:
                raise BundleRefused(f"the bundle is of {contract.use_case!r}; expected one of {model!r}")
            arriving.rename(place)
        except StoreUnavailable:
            raise
        except AforoError as error:
            reason = f"{model} version {version} refused: {error.message.replace(str(arriving), 'bundle')}"
            logger.error("version refused", extra={"model": model, "model_version": version, "reason": reason})
            refused = Refused(model, version, reason)
            self._refused[model, version] = self._now(), refused
            return refused
        finally:
            shutil.rmtree(arriving, ignore_errors=True)
        logger.info("version mirrored", extra={"model": model, "model_version": version})
        return None

    def _fetch_wanted(self, registry: Registry) -> list[Refused]:
        refused = []
        for path in sorted((self.folder / WANTED).glob("*@*")):
            if asked := _WANTED.fullmatch(path.name):
                problem = self._fetch(registry, asked[1], asked[2])
                refused += [problem] if problem else []
            path.unlink(missing_ok=True)
        return refused

    def _let_go(self, model: str, needed: set[str]) -> None:
        others = [version for version in self.versions(model) if version not in needed]
        others.sort(key=lambda version: (self.folder / model / version).stat().st_mtime)
        for version in others[: max(0, len(others) - self._keep)]:
            # Renamed first: a reader never meets half a version.
            leaving = self.folder / model / f".{version}.leaving"
            (self.folder / model / version).rename(leaving)
            shutil.rmtree(leaving)
            logger.info("version let go", extra={"model": model, "model_version": version})

    def _report(self, *, answered: bool, error: str | None) -> None:
        path = self.folder / STATUS
        synced_at = self._now() if answered else None
        if not answered and path.exists():
            synced_at = json.loads(path.read_bytes()).get("synced_at")
        _write_atomically(path, {"synced_at": synced_at, "error": error})


def _write_atomically(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    partial.write_text(json.dumps(document, indent=1, sort_keys=True), encoding="utf-8")
    partial.replace(path)
