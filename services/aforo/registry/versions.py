"""Registered versions and their aliases: found by number, alias or run key, and fetched as bundles."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aforo.errors import BundleRefused, ModelNotFound
from aforo.registry.connection import connect, not_found, page_of, translated, unknown
from aforo.settings import Settings

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"

BUNDLE_PATH = "data/bundle"
"""Where the bundle lies within an MLflow model."""


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a use case's model.

    Attributes
    ----------
    tags
        ``run_key``, ``snapshot_id``, ``split_digest``, ``model_digest`` (SHA-256 of the graph), ``bundle_digest``,
        ``verdict``.
    url
        Its page in MLflow, ``None`` where no server is known.
    """

    use_case: str
    version: str
    run_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    created_at: float = 0.0
    url: str | None = None


class Versions:
    """The model registry.

    Needs ``mlflow-skinny`` only, so that the prediction API's downloader can use it.

    Parameters
    ----------
    settings
        Their tracking URI and credentials become MLflow's own in this process.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        with translated(settings):
            self.client = connect(settings)

    def models(self) -> list[str]:
        """Return the names of all registered models, sorted."""
        with translated(self.settings):
            names, token = [], None
            while True:
                page = self.client.search_registered_models(max_results=1000, page_token=token)
                names += [model.name for model in page]
                token = page.token
                if not token:
                    return sorted(names)

    def all(self, use_case: str) -> list[RegisteredVersion]:
        """Return every version, the oldest first; empty for a model that does not exist."""
        return sorted(self._search(f"name = '{use_case}'"), key=lambda version: int(version.version))

    def find(self, use_case: str, *, run_key: str) -> RegisteredVersion | None:
        """Return the newest version that a run registered, ``None`` if it registered none."""
        found = self._search(f"name = '{use_case}' and tags.run_key = '{run_key}'")
        return max(found, key=lambda version: int(version.version), default=None)

    def aliases(self, use_case: str) -> dict[str, str]:
        """Return alias to version; empty for a model that does not exist."""
        from mlflow.exceptions import MlflowException

        with translated(self.settings):
            try:
                aliases = self.client.get_registered_model(use_case).aliases
            except MlflowException as error:
                if not_found(error):
                    return {}
                raise
        return {str(alias): str(version) for alias, version in aliases.items()}

    def resolve(self, use_case: str, asked: str) -> RegisteredVersion:
        """Return the version that ``asked`` means: a number or an alias.

        Raises
        ------
        ModelNotFound
            There is no such version, alias or model; the message lists what there is.
        """
        from mlflow.exceptions import MlflowException

        aliases = self.aliases(use_case)
        number = aliases.get(asked, asked)
        if re.fullmatch(r"[0-9]{1,9}", number):
            with translated(self.settings):
                try:
                    return self._registered(self.client.get_model_version(use_case, number))
                except MlflowException as error:
                    if not not_found(error):
                        raise
        versions = self.all(use_case)
        if not versions:
            raise ModelNotFound(
                f"no model {use_case!r} is registered; there are: {', '.join(self.models()) or 'none'}",
                hint=f"train one with `aforo run {use_case}`",
            )
        raise unknown(use_case, asked, ", ".join([*(v.version for v in versions), *sorted(aliases)]))

    def champion(self, use_case: str) -> RegisteredVersion | None:
        """Return the version that the alias ``champion`` names, ``None`` if there is none."""
        version = self.aliases(use_case).get(CHAMPION)
        return None if version is None else self.resolve(use_case, version)

    def set_alias(self, use_case: str, alias: str, version: str) -> None:
        """Let ``alias`` name ``version``, in one call: there is no moment at which it names nothing."""
        with translated(self.settings):
            self.client.set_registered_model_alias(use_case, alias, version)

    def set_tags(self, use_case: str, version: str, tags: Mapping[str, str]) -> None:
        with translated(self.settings):
            for name, value in tags.items():
                self.client.set_model_version_tag(use_case, version, name, value)

    def download(self, use_case: str, version: str, folder: Path) -> Path:
        """Fetch the version's bundle into ``folder``, which appears complete or not at all; nothing is checked yet.

        Raises
        ------
        ModelNotFound
            There is no such version.
        BundleRefused
            The version is registered, and holds no bundle.
        """
        import mlflow
        from mlflow.exceptions import MlflowException

        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            uri = f"models:/{use_case}/{version}/{BUNDLE_PATH}"
            with translated(self.settings):
                try:
                    fetched = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=temporary))
                except MlflowException as error:
                    if not not_found(error):
                        raise
                    self.resolve(use_case, version)  # says what there is, if the version is not
                    raise BundleRefused(f"{use_case} version {version} holds no bundle: {error.message}") from error
                except OSError as error:
                    raise BundleRefused(f"{use_case} version {version} holds no bundle: {error}") from error
            if not any(fetched.iterdir()):
                raise BundleRefused(f"{use_case} version {version} holds no bundle at {BUNDLE_PATH}")
            if folder.exists():
                shutil.rmtree(folder)
            fetched.rename(folder)
        return folder

    def _search(self, condition: str) -> list[RegisteredVersion]:
        with translated(self.settings):
            found: list[ModelVersion] = []
            token = None
            while True:
                page = self.client.search_model_versions(condition, max_results=1000, page_token=token)
                found += page
                token = page.token
                if not token:
                    return self._each(found)

    def _each(self, found: Iterable[ModelVersion]) -> list[RegisteredVersion]:
        return [self._registered(version) for version in found]

    def _registered(self, found: ModelVersion) -> RegisteredVersion:
        return RegisteredVersion(
            use_case=found.name,
            version=str(found.version),
            run_id=found.run_id or "",
            tags=dict(found.tags),
            description=found.description or "",
            created_at=found.creation_timestamp / 1000,
            url=page_of(self.settings, "models", found.name, "versions", str(found.version)),
        )
