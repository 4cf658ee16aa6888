"""The manifests of the runs, and the objects beside them."""

from __future__ import annotations

import io
import logging
from typing import TypeVar

import polars as pl
from pydantic import ValidationError

from aforo.contracts.run import Manifest, RunKey
from aforo.errors import StepNotReady
from aforo.storage import ObjectStore

M = TypeVar("M", bound=Manifest)
logger = logging.getLogger(__name__)


class Runs:
    """Everything under ``runs/<use case>/<run key>/``.

    Parameters
    ----------
    store
        Where it lies.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def key(self, use_case: str, run_key: RunKey, *path: str) -> str:
        """Return the object key of something that belongs to a run."""
        return "/".join(("runs", use_case, run_key, *path))

    def find(self, use_case: str, run_key: RunKey, kind: type[M]) -> M | None:
        """Return the manifest of a step, or ``None`` if the step has not finished.

        Raises
        ------
        StepNotReady
            The manifest cannot be read: another version of this code wrote it, or it was changed.
        """
        key = self.key(use_case, run_key, kind.step, "manifest.json")
        if not self._store.exists(key):
            return None
        try:
            return kind.model_validate_json(self._store.read(key))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise StepNotReady(
                f"{key} is no manifest of this version of aforo: {'.'.join(map(str, first['loc']))}: {first['msg']}",
                hint="start a new run with another run key",
            ) from error

    def read(self, use_case: str, run_key: RunKey, kind: type[M]) -> M:
        """Return the manifest of a step.

        Raises
        ------
        StepNotReady
            The step has not finished.
        """
        manifest = self.find(use_case, run_key, kind)
        if manifest is None:
            raise StepNotReady(
                f"{use_case}: run {run_key!r} has no finished step {kind.step!r}",
                hint=f"run `aforo {kind.step} {use_case} --run-key {run_key}` first",
            )
        return manifest

    def finished(self, use_case: str, run_key: RunKey, kind: type[M], inputs: str) -> M | None:
        """Return the manifest of a step that has finished with these very inputs, else ``None``."""
        manifest = self.find(use_case, run_key, kind)
        if manifest is None or manifest.inputs != inputs:
            return None
        logger.info("finished before", extra={"use_case": use_case, "run_key": run_key, "step": kind.step})
        return manifest

    def write(self, manifest: M) -> M:
        """Record that a step has finished."""
        key = self.key(manifest.use_case, RunKey(manifest.run_key), manifest.step, "manifest.json")
        self._store.write(key, manifest.model_dump_json(indent=2).encode())
        return manifest

    def write_bytes(self, key: str, data: bytes) -> str:
        self._store.write(key, data)
        return key

    def read_bytes(self, key: str) -> bytes:
        return self._store.read(key)

    def write_table(self, key: str, table: pl.DataFrame) -> str:
        buffer = io.BytesIO()
        table.write_parquet(buffer)
        self._store.write(key, buffer.getvalue())
        return key

    def read_table(self, key: str) -> pl.DataFrame:
        return pl.read_parquet(io.BytesIO(self._store.read(key)))
