"""The models and versions that one worker holds, and how a new one takes over.

A worker reads the local copy only. When an alias has moved there, the version it points at is verified, loaded,
replayed and warmed up in a thread beside the one that answers; then one assignment makes it the one that answers. A
version that fails any check is refused with the reason, and what answered before goes on answering. It is tried again
when its files have changed, and after a minute in any case.

Versions that no alias points at are loaded when asked for, and let go, least recently used first, when the memory
budget is exceeded. Pinned are: what answers for an alias, what answered before it, and the ``warm`` list.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from aforo.errors import AforoError
from prediction_api.local_copy import LocalCopy
from prediction_api.problems import Problem
from prediction_api.served_model import Refusal, ServedModel
from prediction_api.served_version import ServedVersion

logger = logging.getLogger(__name__)

CHAMPION: Final = "champion"
_RETRY_S = 60.0


class ServedModels:
    """All that one worker can answer with.

    Parameters
    ----------
    local_copy
        The local copy of the registry.
    load
        From model name, version and folder to a version that passed every check.
    only
        Names of the models to serve; ``None`` for all that the copy holds.
    warm
        ``(model, version)`` pairs that stay in memory.
    memory_budget_bytes
        What all versions together may use before unpinned ones are let go.
    on_refused
        Told model and version of each one that fails a check.
    """

    def __init__(
        self,
        local_copy: LocalCopy,
        load: Callable[[str, str, Path], ServedVersion],
        *,
        only: Iterable[str] | None = None,
        warm: Iterable[tuple[str, str]] = (),
        memory_budget_bytes: int = 2**30,
        on_refused: Callable[[str, str], None],
    ) -> None:
        self.local_copy = local_copy
        self.models: dict[str, ServedModel] = {}
        self.generation = 0
        """Rises with every change, so that what is derived from the models can be kept until then."""
        self._load = load
        self._on_refused = on_refused
        self._only = frozenset(only) if only is not None else None
        self._warm = frozenset(warm)
        self._budget = memory_budget_bytes
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._arriving: dict[tuple[str, str], asyncio.Future[ServedVersion]] = {}

    def find(self, name: str, version: str | None, alias: str | None) -> ServedVersion | None:
        """Return the version if it is in memory and may answer."""
        model = self.models.get(name)
        if model is None:
            return None
        found = model.loaded.get(version) if version is not None else model.live.get(alias or CHAMPION)
        if found is not None:
            found.last_used = time.monotonic()
        return found

    async def obtain(self, name: str, version: str | None, alias: str | None) -> ServedVersion:
        """Return the version, loading it first if it is only in the local copy.

        Raises
        ------
        Problem
            ``model_not_found``, or ``not_ready`` with the reason.
        """
        found = self.find(name, version, alias)
        if found is not None:
            return found
        if self._only is not None and name not in self._only:
            raise self._unknown(name)
        model = self.models.get(name)
        if model is None and name not in self.local_copy.models():
            raise self._unknown(name)
        model = model or ServedModel(name)
        if version is None:
            alias = alias or CHAMPION
            version = model.aliases.get(alias)
            if version is None:
                known = ", ".join(sorted(model.aliases)) or "none"
                raise Problem("model_not_found", f"model {name} has no alias {alias!r}; its aliases: {known}")
            self._raise_if_refused(model, version)
            raise Problem(
                "not_ready",
                f"version {version} of {name}, which {alias} points at, is being loaded",
                headers={"Retry-After": "1"},
            )
        self._raise_if_refused(model, version)
        if version not in self.local_copy.versions(name):
            self.local_copy.ask_for(name, version)
            raise Problem(
                "model_not_found",
                f"version {version} of {name} is not in the local copy, which has: "
                f"{', '.join(sorted(self.local_copy.versions(name), key=_by_number)) or 'none'}; "
                "if the registry has it, it will be there shortly",
            )
        return await self._obtain_from_copy(name, version)

    async def _obtain_from_copy(self, name: str, version: str) -> ServedVersion:
        key = (name, version)
        arriving = self._arriving.get(key)
        if arriving is None:
            loop = asyncio.get_running_loop()
            arriving = asyncio.ensure_future(loop.run_in_executor(self._loader(), self._load_on_demand, name, version))
            self._arriving[key] = arriving
            arriving.add_done_callback(lambda _: self._arriving.pop(key, None))
        try:
            return await asyncio.shield(arriving)
        except AforoError as error:
            raise Problem("not_ready", f"version {version} of {name} is refused: {error.message}") from error

    @property
    def unready(self) -> dict[str, str]:
        """Why the service is not ready: model to reason; empty if it is.

        A model is ready when its champion answers. With no model at all the service is not ready.
        """
        reasons = {}
        for name in self._only or self.models or ():
            model = self.models.get(name)
            if model is None:
                reasons[name] = "the local copy of the registry does not have it"
            elif CHAMPION not in model.live:
                version = model.aliases.get(CHAMPION)
                if version is None:
                    reasons[name] = "no version is champion"
                elif version in model.refused:
                    reasons[name] = f"version {version} is refused: {model.refused[version].reason}"
                else:
                    reasons[name] = f"version {version} is being loaded"
        if not self._only and not self.models:
            reasons["*"] = "the local copy of the registry is empty"
        return reasons

    @property
    def warnings(self) -> list[str]:
        """What is wrong although the service answers."""
        warnings = [
            f"{model.name}: {alias} is version {version}, and version {model.live[alias].version} answers: "
            + (model.refused[version].reason if version in model.refused else "the new one is being loaded")
            for model in self.models.values()
            for alias, version in sorted(model.aliases.items())
            if alias in model.live and model.live[alias].version != version
        ]
        error = self.local_copy.status().error
        return warnings if error is None else [*warnings, f"local copy: {error}"]

    def refresh(self) -> bool:
        """Bring this worker to the state of the local copy; return whether anything changed.

        Blocks while versions are loaded: call it before the event loop starts, or from the loader's thread.
        """
        before = self.generation
        names = [name for name in self.local_copy.models() if self._only is None or name in self._only]
        for name in names:
            self._refresh_model(name)
        for name in set(self.models) - set(names):
            self._replace({key: model for key, model in self.models.items() if key != name})
        for name, version in self._warm:
            if name in self.models:
                self._try(name, version)
        if self.generation != before:
            self._let_go()
        return self.generation != before

    def _refresh_model(self, name: str) -> None:
        model = self.models.get(name) or ServedModel(name)
        aliases = self.local_copy.aliases(name)
        if name not in self.models:
            self._replace({**self.models, name: model})
        if aliases != model.aliases:
            model.aliases = aliases
            self.generation += 1
        if not model.awaited and model.live.keys() == aliases.keys():
            return
        for alias, version in sorted(aliases.items(), key=lambda item: item[0] != CHAMPION):
            live = model.live.get(alias)
            if live is not None and live.version == version:
                continue
            loaded = self._try(name, version)
            if loaded is None:
                continue
            if live is not None:
                model.former = {**model.former, alias: live}
            model.live = {**model.live, alias: loaded}  # the swap: one assignment
            self.generation += 1
            logger.info(
                "version answers",
                extra={
                    "model": name,
                    "alias": alias,
                    "model_version": version,
                    "before": live.version if live else None,
                },
            )
        gone = model.live.keys() - aliases.keys()
        if gone:
            model.live = {alias: live for alias, live in model.live.items() if alias in aliases}
            self.generation += 1

    def _try(self, name: str, version: str) -> ServedVersion | None:
        if version not in self.local_copy.versions(name):
            return None  # the alias is ahead of the download; the next refresh sees it
        if self._refusal(self.models[name], version) is not None:
            return None
        try:
            return self.ensure(name, version)
        except AforoError:
            return None  # recorded and logged by ensure

    def ensure(self, name: str, version: str) -> ServedVersion:
        """Return the version from memory, or load it from the local copy.

        Raises
        ------
        AforoError
            It fails a check; it is recorded as refused.
        """
        with self._lock:
            model = self.models.get(name)
            if model is None:
                model = ServedModel(name, aliases=self.local_copy.aliases(name))
                self._replace({**self.models, name: model})
            if version in model.loaded:
                return model.loaded[version]
            started = time.perf_counter()
            content = self.local_copy.content(name, version)
            try:
                loaded = self._load(name, version, self.local_copy.folder(name, version))
            except AforoError as error:
                model.refused = {**model.refused, version: Refusal(error.message, time.time(), content)}
                self.generation += 1
                self._on_refused(name, version)
                logger.error(
                    "version refused", extra={"model": name, "model_version": version, "reason": error.message}
                )
                raise
            model.loaded = {**model.loaded, version: loaded}
            model.refused = {other: refusal for other, refusal in model.refused.items() if other != version}
            self.generation += 1
            logger.info(
                "version loaded",
                extra={"model": name, "model_version": version, "seconds": time.perf_counter() - started},
            )
            return loaded

    def _refusal(self, model: ServedModel, version: str) -> Refusal | None:
        """Return why the version is refused, or ``None`` if it may be tried (again)."""
        refusal = model.refused.get(version)
        if refusal is None or time.time() - refusal.at > _RETRY_S:
            return None
        return refusal if refusal.content == self.local_copy.content(model.name, version) else None

    def _raise_if_refused(self, model: ServedModel, version: str) -> None:
        refusal = self._refusal(model, version)
        if refusal is not None:
            raise Problem("not_ready", f"version {version} of {model.name} is refused: {refusal.reason}")

    @property
    def _is_waiting(self) -> bool:
        """Whether a version that must be in memory is not, and may be tried (again)."""
        awaited = {(model.name, version) for model in self.models.values() for version in model.awaited}
        awaited |= {
            (name, version)
            for name, version in self._warm
            if name in self.models and version not in self.models[name].loaded
        }
        return any(self._refusal(self.models[name], version) is None for name, version in awaited)

    def _load_on_demand(self, name: str, version: str) -> ServedVersion:
        served = self.ensure(name, version)
        self._let_go(needed=served)
        return served

    def _replace(self, models: dict[str, ServedModel]) -> None:
        self.models = models
        self.generation += 1

    def _let_go(self, needed: ServedVersion | None = None) -> None:
        """Drop unpinned versions, least recently used first, until the rest is within the budget."""
        pinned = {
            (model.name, served.version)
            for model in self.models.values()
            for served in (*model.live.values(), *model.former.values())
        } | self._warm
        held = [served for model in self.models.values() for served in model.loaded.values()]
        excess = sum(served.size_bytes for served in held) - self._budget
        for served in sorted(held, key=lambda served: served.last_used):
            if excess <= 0:
                return
            if served is needed or (served.model, served.version) in pinned:
                continue
            model = self.models[served.model]
            model.loaded = {version: kept for version, kept in model.loaded.items() if version != served.version}
            excess -= served.size_bytes
            logger.info("version let go", extra={"model": served.model, "model_version": served.version})

    def _loader(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="loader", initializer=yield_to_requests)
        return self._pool

    async def watch(self, look_s: float, on_change: Callable[[], None]) -> None:
        """Follow the local copy until cancelled."""
        loop = asyncio.get_running_loop()
        stamp: object = None
        while True:
            now = self.local_copy.stamp()
            if now != stamp or self._is_waiting:
                if await loop.run_in_executor(self._loader(), self.refresh):
                    on_change()
                stamp = now
            await asyncio.sleep(look_s)

    def _unknown(self, name: str) -> Problem:
        return Problem("model_not_found", f"no model {name!r}; served are: {', '.join(sorted(self.models)) or 'none'}")


def _by_number(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdigit() else (0, version)


def yield_to_requests() -> None:
    """Let requests go first: on Linux niceness belongs to the thread."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
