"""The prediction contract: what a served model takes and gives, derived from the table contract."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from aforo.contracts.specification import Specification
from aforo.contracts.table import ColumnContract
from aforo.contracts.windows import EventStream

TaskKind = Literal["binary", "multiclass", "regression"]

Scalar = str | int | float | bool | None
"""One value of a raw row, as JSON carries it."""


Phase = Literal["small", "full"]
PHASES: tuple[Phase, ...] = ("small", "full")


class TwoPhase(Specification):
    """How a small model and the full one share the rows.

    Attributes
    ----------
    confidence
        The small model's answer stands where its highest probability is this or more; other rows go on to the full one.
    """

    confidence: Annotated[float, Field(ge=0, le=1)]


class PredictionContract(Specification):
    """What one version of a model takes and gives.

    The graph has one input a column, named as the column, of shape (N, 1): ``string`` columns are
    string tensors with "" for a missing value, every other column is float64 with NaN for a missing
    value (booleans as 0 and 1). Its outputs are float64:

    ========== ============================== =======
    task       output                         shape
    ========== ============================== =======
    binary     ``probabilities`` (no, yes)    (N, 2)
    multiclass ``probabilities``              (N, K)
    regression ``value``                      (N, 1)
    regression ``interval`` (lower, upper)    (N, 2)
    ========== ============================== =======

    Two phases have two such graphs, and together a further output, ``phase`` (N, 1): a place in `PHASES`.

    Attributes
    ----------
    inputs
        The feature columns, in the table's order.
    classes
        Class labels in the order of the probabilities; for a binary task (negative, positive).
    threshold
        Binary: the positive class is answered from this probability on.
    abstain_below
        Classes: abstain where the highest probability is below this confidence; ``None`` for never.
    abstain_above
        Regression: abstain where the interval is wider than this, in the target's unit; ``None`` for never.
    coverage
        Regression: the share (0-1) of true values that the interval is meant to hold.
    windows
        The event streams that inputs are computed from where a request leaves them out.
    two_phase
        Classes: who answers which rows; ``None`` if there is one model only.
    """

    use_case: str
    task: TaskKind
    target: str
    target_unit: str | None = None
    inputs: Annotated[tuple[ColumnContract, ...], Field(min_length=1)]
    classes: tuple[str, ...] = ()
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    abstain_below: Annotated[float, Field(ge=0, le=1)] | None = None
    abstain_above: Annotated[float, Field(gt=0)] | None = None
    coverage: Annotated[float, Field(gt=0, lt=1)] | None = None
    windows: tuple[EventStream, ...] = ()
    two_phase: TwoPhase | None = None

    @property
    def may_abstain(self) -> bool:
        """Whether the use case asks for abstention; a row whose outputs are not finite abstains in any case."""
        return self.abstain_below is not None or self.abstain_above is not None

    @model_validator(mode="after")
    def _classes_fit_the_task(self) -> Self:
        if self.task == "binary" and len(self.classes) != 2:
            raise ValueError(f"a binary task has two classes, got {len(self.classes)}")
        if self.task == "multiclass" and len(self.classes) < 3:
            raise ValueError(f"a multiclass task has three classes or more, got {len(self.classes)}")
        if self.task == "regression" and self.classes:
            raise ValueError("a regression task has no classes")
        if self.task == "regression" and self.two_phase is not None:
            raise ValueError("a regression has no confidence by which two phases could share the rows")
        return self

    @property
    def request_columns(self) -> tuple[ColumnContract, ...]:
        """What a request may hold: the inputs, then the times and keys that windows are computed for."""
        asked = {column.name: column for stream in self.windows for column in stream.request_columns}
        inputs = {column.name for column in self.inputs}
        return (*self.inputs, *(column for name, column in asked.items() if name not in inputs))


class LabelSets(Specification):
    """Which labels are in the set of a row: those whose uncalibrated probability is ``threshold`` or more.

    Attributes
    ----------
    coverage
        Share (0-1) of the rows whose set is meant to hold the true label.
    calibration_rows
        How many rows the threshold was chosen on.
    """

    coverage: Annotated[float, Field(gt=0, lt=1)]
    threshold: Annotated[float, Field(ge=0, le=1)]
    calibration_rows: Annotated[int, Field(ge=1)]


class GoldenRows(Specification):
    """Raw rows with the outputs they must give, replayed whenever a bundle is loaded.

    Attributes
    ----------
    rows
        Raw rows, one mapping from column to value each.
    outputs
        Per graph output, one list of floats a row.
    tolerance
        Largest allowed absolute difference of any output.
    """

    rows: tuple[dict[str, Scalar], ...]
    outputs: dict[str, tuple[tuple[float, ...], ...]]
    tolerance: float = 1e-6


class Lineage(Specification):
    """What a model was made from; enough to make it again.

    Attributes
    ----------
    snapshot_id, split_digest, code_digest, lock_digest
        SHA-256, in hex, of the content of each.
    code_commit
        Git commit of the working tree, or ``None`` outside one.
    """

    run_key: str
    snapshot_id: str
    split_digest: str
    code_digest: str
    code_commit: str | None
    lock_digest: str
    use_case_digest: str
    seed: int


class BundleManifest(Specification):
    """``bundle.json``: what is in a bundle, with the SHA-256 of each file. Signed as a whole with HMAC-SHA-256."""

    format: Literal[1] = 1
    contract: PredictionContract
    lineage: Lineage
    candidate: str
    metrics: dict[str, float]
    files: dict[str, str]
