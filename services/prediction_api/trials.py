"""A challenger on trial: what an operator asks for, where that is kept, and whether it can be done.

A trial is one file a model, beside the local copy of the registry, so that it outlives a restart and every worker sees
it within its look interval; ``PUT /models/{name}/trial`` writes it. A trial that was stopped stays in its file with the
reason, and nothing starts it again but another ``PUT``.

::

    <folder>/<model>.json    {"trial": {"alias": "challenger", "canary_percent": 10, ...}, "since": ..., "stopped": ...}
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field, ValidationError

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.specification import Specification
from prediction_api.problems import Problem


class Trial(Specification):
    """What a challenger is to do.

    Attributes
    ----------
    alias
        Who the challenger is: the version that this alias points at.
    canary_percent
        How many callers of a hundred it answers, of those who name neither version nor alias. A caller is the name of
        its key and what it sends as ``X-Caller-ID``, and is always on the same side; a larger share keeps those who
        were in a smaller one.
    shadow
        Whether it predicts copies of the other requests, which nobody is answered with.
    max_error_share
        It is stopped when more than this share (0-1) of its last 1,000 requests failed, and three at least. Requests
        that it fails at are answered by the champion.
    max_slowdown
        It is stopped when it takes this many times as long as the champion for the same rows.
    """

    alias: str = Field(default="challenger", min_length=1, max_length=100)
    canary_percent: float = Field(default=0.0, ge=0, le=100)
    shadow: bool = False
    max_error_share: float = Field(default=0.01, ge=0, le=1)
    max_slowdown: float = Field(default=2.0, ge=1)


class Stop(Specification):
    """Why a trial has ended by itself.

    Attributes
    ----------
    at
        In seconds since the epoch.
    """

    at: float
    version: str
    reason: str


class TrialFile(Specification):
    """A trial as it is kept."""

    trial: Trial
    since: float
    stopped: Stop | None = None


class TrialFiles:
    """The folder of trials, which all workers and later services share.

    Parameters
    ----------
    folder
        Made when the first trial begins.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Return something that is another as soon as a trial has begun, changed or ended."""
        stamps = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            stamps.append((path.stem, status.st_mtime_ns, status.st_ino))
        return tuple(stamps)

    def read(self, model: str) -> TrialFile | None:
        """Return the model's trial, ``None`` if there is none.

        Raises
        ------
        Problem
            ``invalid_trial``: the file was damaged by hand.
        """
        try:
            return TrialFile.model_validate_json((self._folder / f"{model}.json").read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise Problem(
                "invalid_trial", f"the trial of {model} is kept in a file that is damaged: {error}"
            ) from error

    def begin(self, model: str, trial: Trial) -> TrialFile:
        """Begin a trial, in the place of any other of this model."""
        begun = TrialFile(trial=trial, since=time.time())
        with self._locked():
            self._write(model, begun)
        return begun

    def end(self, model: str) -> None:
        with self._locked():
            (self._folder / f"{model}.json").unlink(missing_ok=True)

    def stop(self, model: str, since: float, version: str, reason: str) -> bool:
        """Stop the trial that began at ``since``; return whether it was this call that stopped it."""
        with self._locked():
            found = self.read(model)
            if found is None or found.since != since or found.stopped is not None:
                return False
            stopped = Stop(at=time.time(), version=version, reason=reason)
            self._write(model, found.model_copy(update={"stopped": stopped}))
            return True

    def _write(self, model: str, content: TrialFile) -> None:
        partial = self._folder / f".{model}.{secrets.token_hex(4)}"
        partial.write_text(content.model_dump_json(), encoding="utf-8")
        partial.replace(self._folder / f"{model}.json")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def place_of(model: str, caller: str, caller_id: bytes) -> float:
    """Return the caller's place (0-100) among all callers of a model: the same in every process, for ever.

    Callers are spread evenly, and apart for each model, so that it is not always the same ones who try what is new.
    """
    message = b"\0".join((model.encode(), caller.encode(), caller_id))
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "big") / 2**64 * 100


def misfit(champion: PredictionContract, challenger: PredictionContract) -> str | None:
    """Return why the challenger cannot answer in the champion's place, ``None`` if it can.

    A caller does not know who answers: both must take and give the same.
    """
    if (champion.task, champion.classes) != (challenger.task, challenger.classes):
        return "its task or its classes are others than the champion's"
    ours, theirs = ({column.name: column for column in contract.inputs} for contract in (champion, challenger))
    if list(ours) != list(theirs):
        differing = sorted(ours.keys() ^ theirs.keys()) or ["their order"]
        return f"its columns are others than the champion's: {', '.join(differing)}"
    for name, column in ours.items():
        for field in ("type", "categories", "minimum", "maximum", "nullable"):
            if getattr(column, field) != getattr(theirs[name], field):
                return f"its column {name!r} has another {field} than the champion's"
    if champion.windows != challenger.windows:
        return "its windows are others than the champion's"
    return None
