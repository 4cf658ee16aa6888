"""Run keys and the manifests of the steps.

Only the run key crosses a task boundary. Each step reads the manifest of the step before it under
``runs/<use case>/<run key>/<step>/manifest.json`` and writes its own last, when all it describes is in place:
a step without a manifest did not happen.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, ClassVar, Literal, NewType

from pydantic import Field

from aforo.contracts.prediction import LabelSets
from aforo.contracts.specification import Specification
from aforo.errors import UseCaseError

RunKey = NewType("RunKey", str)
Step = Literal["ingest", "validate", "split", "train", "calibrate", "evaluate", "promote"]
Part = Literal["train", "validation", "calibration", "test"]
Verdict = Literal["promote", "ask", "refuse"]
"""Of the gate: ``ask`` leaves it to a person."""
PARTS: tuple[Part, ...] = ("train", "validation", "calibration", "test")

_RUN_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")


def parse_run_key(text: str) -> RunKey:
    """Return ``text`` as a run key.

    Airflow's run ids (``manual__2026-01-01T00:00:00+00:00``) become run keys: ``:`` turns into ``-``.

    Raises
    ------
    UseCaseError
        It holds anything but letters, digits, ``_ . + -``, or is longer than 100 signs.
    """
    key = text.replace(":", "-")
    if not _RUN_KEY.fullmatch(key):
        raise UseCaseError(
            f"run key {text!r} is not usable in a path: expected 1-100 letters, digits and _ . + -",
            hint="use a date or a short name, for example 2026-01-31",
        )
    return RunKey(key)


class Manifest(Specification):
    """What a step hands to the next.

    Attributes
    ----------
    inputs
        SHA-256 of all that the step's result follows from: a step that is asked again with the same
        inputs answers with its manifest.
    seconds
        How long the step took.
    """

    step: ClassVar[Step]
    use_case: str
    run_key: str
    inputs: str
    seconds: float

    @property
    def identity(self) -> str:
        """SHA-256 of what the manifest says, whenever and however fast it came to be."""
        said = self.model_dump_json(exclude={"seconds", "reused"})
        return hashlib.sha256(f"{self.step} {said}".encode()).hexdigest()


class RowAccount(Specification):
    """Where every row went: ``read = kept + quarantined + duplicates + sum(set_aside)``."""

    read: Annotated[int, Field(ge=0)]
    kept: Annotated[int, Field(ge=0)]
    quarantined: Annotated[int, Field(ge=0)]
    duplicates: Annotated[int, Field(ge=0)]
    set_aside: dict[str, int]

    @property
    def balances(self) -> bool:
        return self.read == self.kept + self.quarantined + self.duplicates + sum(self.set_aside.values())


class IngestManifest(Manifest):
    step: ClassVar[Step] = "ingest"
    snapshot_id: str
    rows: RowAccount
    quarantine: str | None
    """Object key of the quarantine table (Parquet), ``None`` if every row was good."""
    reused: bool = False
    """Whether the snapshot was there already."""
    given: bool = False
    """Whether the run was given its snapshot instead of reading the sources."""
    limit: int | None = None
    """How many rows were read at most; ``None`` for all."""


class ValidateManifest(Manifest):
    step: ClassVar[Step] = "validate"
    snapshot_id: str
    rows: RowAccount
    warnings: tuple[str, ...] = ()
    report: str
    """Object key of the snapshot's report (HTML), with a histogram of each column."""
    fairness: str | None = None
    """Object key of who is in the data (JSON), ``None`` if no sensitive column is declared."""


class PartSummary(Specification):
    rows: int
    share: float
    target_mean: float | None
    """Share of the positive class (binary) or mean of the target (regression); ``None`` for several classes."""


class SplitManifest(Manifest):
    step: ClassVar[Step] = "split"
    snapshot_id: str
    split_digest: str
    membership: str
    """Object key of a Parquet file with one column, ``part`` (0-3 in the order of PARTS, 4 for none), a row a row."""
    parts: dict[Part, PartSummary]
    left_out: int = 0
    """Rows (code 4) that a gap, or an older schema, keeps out of every part."""
    warnings: tuple[str, ...] = ()


class CandidateSummary(Specification):
    """One fitted candidate.

    Attributes
    ----------
    scores
        Object key of its graph from raw columns to uncalibrated outputs.
    reference
        Object key of an ``.npy`` file with what the Python objects said about the rows of calibration and test, (N, K).
    integrated_gradients
        Of a network: mean absolute integrated gradient of each raw column over validation rows, of its own score.
    """

    name: str
    kind: str
    is_baseline: bool
    hyperparameters: dict[str, str | int | float | bool | None]
    validation_loss: float
    fits: int
    seconds: float
    scores: str
    reference: str
    mlflow_run_id: str
    integrated_gradients: dict[str, float] | None = None


class TrainManifest(Manifest):
    step: ClassVar[Step] = "train"
    snapshot_id: str
    split_digest: str
    seed: int
    mlflow_run_id: str
    mlflow_url: str | None
    candidates: tuple[CandidateSummary, ...]
    chosen: str
    """Name of the candidate with the lowest loss on the validation part."""
    provenance: str
    """Object key of the run's `Provenance` (JSON)."""
    small: CandidateSummary | None = None
    """The small model that the chosen candidate has taught, for a prediction in two phases."""


class CalibratedCandidate(Specification):
    name: str
    method: str
    predictor: str
    """Object key of the graph from raw columns to calibrated outputs."""
    cross_validated: dict[str, float]
    """Per method, its Brier score (classes) or interval width (regression), cross-validated within the part."""
    sets: LabelSets | None = None
    """How sets of labels are made, ``None`` if the use case asks for none."""
    largest_graph_difference: float
    """Largest absolute difference between graph and Python objects, over the rows of calibration and test."""


class PhaseChoice(Specification):
    """The confidence from which the small model of two phases answers.

    Attributes
    ----------
    validation_share, validation_loss
        Share (0-1) of the validation rows that it answers then, and what they lose against the full model alone.
    sets
        How sets of labels are made of the answers of both, ``None`` if the use case asks for none.
    """

    confidence: float
    validation_share: float
    validation_loss: float
    sets: LabelSets | None = None


class CalibrateManifest(Manifest):
    step: ClassVar[Step] = "calibrate"
    candidates: tuple[CalibratedCandidate, ...]
    small: CalibratedCandidate | None = None
    two_phase: PhaseChoice | None = None


class EvaluateManifest(Manifest):
    step: ClassVar[Step] = "evaluate"
    report: str
    """Object key of the gate report (JSON)."""
    verdict: Verdict
    reasons: tuple[str, ...]
    metrics: dict[str, dict[str, float]]
    """Per predictor (candidates, baseline, champion), its figures on the test part."""
    report_digest: str
    champion: str | None
    """Version of the champion it was compared with, ``None`` if there was none."""
    model_version: str
    model_digest: str
    """SHA-256 of the graph."""
    mlflow_url: str | None


class PromoteManifest(Manifest):
    step: ClassVar[Step] = "promote"
    model_version: str
    previous_version: str | None
    model_digest: str
    changed: bool
    """Whether this run made the version the champion; ``False`` if it was held, or is the champion by a rollback."""
