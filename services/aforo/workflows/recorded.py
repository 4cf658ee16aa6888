"""What was recorded of a registered version, so that it can be made again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from aforo.contracts.certificate import Provenance
from aforo.contracts.run import EvaluateManifest, IngestManifest, RunKey, SplitManifest, TrainManifest
from aforo.errors import UseCaseError
from aforo.registry.bundle import Bundle, read_bundle
from aforo.use_case import UseCase
from aforo.workflows.wiring import Platform


@dataclass(frozen=True, eq=False)
class Recorded:
    """What a run and the version it registered are known to be made of.

    Attributes
    ----------
    use_case
        As it was then.
    """

    use_case: UseCase
    ingested: IngestManifest
    split: SplitManifest
    trained: TrainManifest
    made_with: Provenance
    version: str
    bundle: Bundle

    @classmethod
    def of(cls, now: UseCase, run_key: RunKey, folder: Path, platform: Platform) -> Recorded:
        runs, name = platform.runs, now.name
        trained = runs.read(name, run_key, TrainManifest)
        version = runs.read(name, run_key, EvaluateManifest).model_version
        made_with = Provenance.model_validate_json(runs.read_bytes(trained.provenance))
        try:
            then = UseCase.model_validate(made_with.use_case).at(now.folder)
        except ValidationError as error:
            raise UseCaseError(
                f"{name}: this version of aforo does not understand the use case of run {run_key!r}: {error}",
                hint="check out the commit that the run's tag code_commit names, and reproduce there",
            ) from error
        return cls(
            use_case=then,
            ingested=runs.read(name, run_key, IngestManifest),
            split=runs.read(name, run_key, SplitManifest),
            trained=trained,
            made_with=made_with,
            version=version,
            bundle=read_bundle(platform.versions.download(name, version, folder / "bundle"), platform.signing_key),
        )
