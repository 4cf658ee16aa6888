"""The schema of ``use_case.yaml``: one file that says what is predicted, from what, and how it is judged.

It composes the specifications of the layers below. Everything that only shows when two of them meet is checked here:
a feature that leaks, a split over a column that does not exist, classes that do not fit the target.
"""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path
from typing import Annotated, Self

import polars as pl
import yaml
from pydantic import Field, PrivateAttr, ValidationError, model_validator

from aforo.contracts.catalog import Header
from aforo.contracts.prediction import PredictionContract, TaskKind
from aforo.contracts.specification import Specification
from aforo.contracts.table import ColumnContract, Role
from aforo.data.bridging import Bridge, BridgeSpec
from aforo.data.ingestion import DataSpec
from aforo.data.skew import SkewSpec
from aforo.data.splits import SplitSpec, SplitStrategy
from aforo.errors import UseCaseError
from aforo.evaluation.abstention import Abstain
from aforo.evaluation.costs import Costs
from aforo.evaluation.evaluate import EvaluationSpec
from aforo.evaluation.fairness import FairnessSpec
from aforo.evaluation.gate_spec import GateSpec
from aforo.evaluation.metrics import metrics_for
from aforo.evaluation.two_phase import FULL, SMALL, TwoPhaseSpec
from aforo.features import FeatureSpec
from aforo.models.calibration import CalibrationSpec
from aforo.models.estimators import CandidateSpec, Target
from aforo.models.estimators import Task as EstimatorTask
from aforo.models.targets import encode_target
from aforo.models.training import Budget


class Task(Specification):
    """What kind of question it is.

    Attributes
    ----------
    kind
        ``binary``, ``multiclass`` or ``regression``.
    classes
        Names of the classes in the order of the probabilities, the positive one last for a binary task. By default
        ``no`` and ``yes`` for a boolean target, a string target's categories, or the whole numbers between an
        integer target's bounds; only a boolean's may be called something else, the others can be put in another order.
    threshold
        Binary: the positive class is answered from this calibrated probability on.
    abstain_below
        Abstain where the highest probability is below this confidence.
    abstain
        Or: what abstaining is to achieve; the bound is then chosen on the validation part when a candidate is judged.
    """

    kind: TaskKind
    classes: tuple[str, ...] = ()
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    abstain_below: Annotated[float, Field(ge=0, le=1)] | None = None
    abstain: Abstain | None = None

    @model_validator(mode="after")
    def _abstention_fits(self) -> Self:
        if self.abstain is not None:
            self.abstain.refuse_unfit(self.kind)
            if self.abstain_below is not None:
                raise ValueError("abstain_below states what abstain would choose; leave one of them out")
        if self.abstain_below is not None and self.kind == "regression":
            raise ValueError("abstain_below is a probability, and a regression has none; see abstain.max_width")
        return self


class UseCase(Header):
    """One use case, complete and consistent.

    Attributes
    ----------
    description
        What the data is and where it is from.
    limits
        What the model must not be used for, a sentence each; they are in its report.
    fairness
        The sensitive columns, whose groups are looked at before and after training.
    costs
        What each mistake costs: true class to answered class to cost.
    bridge
        How rows from before a change of schema are used.
    skew
        From where on what a model is asked differs from what it learnt.
    """

    description: str = ""
    limits: tuple[str, ...] = ()
    task: Task
    data: DataSpec
    split: SplitSpec
    bridge: BridgeSpec | None = None
    features: Annotated[tuple[FeatureSpec, ...], Field(min_length=1)]
    candidates: Annotated[tuple[CandidateSpec, ...], Field(min_length=1)]
    baseline: str = "historical_rate"
    budget: Budget = Budget()
    calibration: CalibrationSpec = CalibrationSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    fairness: FairnessSpec | None = None
    costs: Costs | None = None
    gate: GateSpec = GateSpec()
    two_phase: TwoPhaseSpec | None = None
    skew: SkewSpec = SkewSpec()

    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """Where ``use_case.yaml`` lies; relative source paths start here."""
        return self._folder

    def at(self, folder: Path) -> Self:
        """Return the same use case, in another folder."""
        moved = self.model_copy()
        moved._folder = folder
        return moved

    @property
    def digest(self) -> str:
        """SHA-256 of what the file means: comments and key order do not change it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities; empty for a regression."""
        if self.task.kind == "regression":
            return ()
        if self.task.classes:
            return self.task.classes
        if self.data.target.type == "boolean":
            return ("no", "yes")
        return tuple(str(value) for value in self._class_values())

    @property
    def inputs(self) -> tuple[ColumnContract, ...]:
        """The columns that the features and candidates read, in the table's order: what an application must send."""
        used = self._used_columns()
        return tuple(column for column in self.data.columns if column.name in used)

    @property
    def contract(self) -> PredictionContract:
        target = self.data.target
        return PredictionContract(
            use_case=self.name,
            task=self.task.kind,
            target=target.name,
            target_unit=target.unit,
            inputs=self.inputs,
            classes=self.classes,
            threshold=self.task.threshold,
            abstain_below=self.task.abstain_below,
            coverage=self.calibration.coverage if self.task.kind == "regression" else None,
            windows=tuple(s for s in self.data.streams if any(name in self._used_columns() for name in s.columns)),
        )

    def build_bridge(self) -> Bridge | None:
        """Return what carries rows of an older schema over; ``None`` if there are none."""
        return None if self.bridge is None else self.bridge.build(self.data)

    def build_split(self) -> SplitStrategy:
        """Return the split, which leaves rows of an older schema out of every part but train."""
        strategy, bridge = self.split.build(self.data.key), self.build_bridge()
        return strategy if bridge is None else bridge.over(strategy)

    @property
    def most_fits(self) -> int:
        """How many fits training makes at most."""
        tries = 1 if self.bridge is None else len(self.bridge.old_rows)
        return (len(self.candidates) + (self.two_phase is not None)) * (self.budget.fits + tries - 1)

    def targets(self, table: pl.DataFrame) -> Target:
        """Return the target of each row: index into ``classes`` (N,) int64, or value (N,) float64.

        Raises
        ------
        TrainingError
            A value is missing, or none of the classes.
        """
        task = EstimatorTask(self.task.kind, self.classes)
        return encode_target(table.get_column(self.data.target.name), task)

    def _class_values(self) -> tuple[str | int | bool, ...]:
        """The target's values in the order of the classes."""
        target = self.data.target
        if target.type == "boolean":
            return (False, True)
        if target.type == "string" and target.categories:
            return target.categories
        if target.type == "integer" and target.minimum is not None and target.maximum is not None:
            return tuple(range(int(target.minimum), int(target.maximum) + 1))
        raise ValueError(
            f"target {target.name!r} does not say which classes there are: "
            "expected a boolean, a string with categories, or an integer with minimum and maximum"
        )

    @model_validator(mode="after")
    def _target_fits_the_task(self) -> Self:
        target = self.data.target
        if self.task.kind == "regression":
            if target.type not in ("integer", "number"):
                raise ValueError(f"a regression needs a number to predict; target {target.name!r} is a {target.type}")
            return self
        values = self._class_values()
        if self.task.classes and len(self.task.classes) != len(values):
            raise ValueError(f"task.classes names {len(self.task.classes)} classes; the target has {len(values)}")
        if self.task.classes and target.type != "boolean" and set(self.task.classes) != {str(v) for v in values}:
            raise ValueError(f"task.classes are {list(self.task.classes)}; the target's values are {list(values)}")
        if self.task.kind == "binary" and len(values) != 2:
            raise ValueError(f"a binary task has two classes; target {target.name!r} has {len(values)}")
        return self

    @model_validator(mode="after")
    def _two_phases_fit_the_task(self) -> Self:
        if self.two_phase is None:
            return self
        if self.task.kind == "regression":
            raise ValueError("two_phase needs a confidence to go by, and a regression gives none; leave it out")
        if taken := [candidate.name for candidate in self.candidates if candidate.name in (FULL, SMALL)]:
            raise ValueError(f"a candidate is called {taken[0]!r}, which two_phase uses itself; give it another `name`")
        return self

    @model_validator(mode="after")
    def _metrics_can_decide_the_task(self) -> Self:
        baseline, champion = self.gate.beats_baseline, self.gate.not_worse_than_champion
        slices = self.gate.not_worse_on_slices
        asked = {
            "evaluation.primary": self.evaluation.primary,
            "gate.beats_baseline.metric": baseline and baseline.metric,
            "gate.not_worse_than_champion.metric": champion and champion.metric,
            "gate.not_worse_on_slices.metric": slices and slices.metric,
            "two_phase.metric": self.two_phase and self.two_phase.metric,
        }
        directed = [m.name for m in metrics_for(self.task.kind).values() if m.higher_is_better is not None]
        for place, metric in asked.items():
            if metric is not None and metric not in directed:
                raise ValueError(
                    f"{place} is {metric!r}, which cannot decide a {self.task.kind} task; "
                    f"choose one of {', '.join(directed)}"
                )
        return self

    @model_validator(mode="after")
    def _features_are_known_at_prediction(self) -> Self:
        for name in sorted(self._used_columns()):
            self._refuse_unless_feature(name)
        return self

    @model_validator(mode="after")
    def _bridge_fits(self) -> Self:
        if self.bridge is not None:
            self.bridge.refuse_unfit(self.data)
            unread = sorted({*self.bridge.groups, *self.bridge.added} - self._used_columns())
            if unread:
                raise ValueError(f"bridge names {', '.join(map(repr, unread))}, which no feature reads")
        return self

    def _used_columns(self) -> set[str]:
        return {
            column
            for candidate in (*self.candidates, *([self.two_phase.small] if self.two_phase else []))
            for feature in candidate.own_features() or self.features
            for column in feature.columns
        }

    def _refuse_unless_feature(self, name: str) -> None:
        known = [column.name for column in self.data.with_role(Role.FEATURE)]
        if name not in self.data.names:
            close = difflib.get_close_matches(name, known, n=1)
            raise ValueError(
                f"feature column {name!r} is not in data.columns"
                + (f"; did you mean {close[0]!r}?" if close else f"; the features are: {', '.join(known)}")
            )
        if Role.LEAK in self.data[name].role:
            raise ValueError(
                f"column {name!r} leaks: it is known only after the moment of prediction, so it cannot be a feature"
            )
        if name not in known:
            raise ValueError(f"column {name!r} has no role 'feature'; the features are: {', '.join(known)}")

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        names = [candidate.name for candidate in self.candidates]
        if len(set(names)) < len(names):
            raise ValueError(f"two candidates share a name: {', '.join(names)}; give one of them a `name`")
        if self.baseline not in names:
            raise ValueError(f"baseline {self.baseline!r} is no candidate; the candidates are: {', '.join(names)}")
        self.split.refuse_unfit(self.data)
        asked = {}
        if self.evaluation.bootstrap.by is not None:
            asked["evaluation.bootstrap.by"] = (self.evaluation.bootstrap.by,)
        for place, columns in asked.items():
            for column in columns:
                if column not in self.data.names:
                    raise ValueError(f"{place} names {column!r}, which is not in data.columns")
        return self

    @model_validator(mode="after")
    def _skew_is_of_inputs(self) -> Self:
        self.skew.refuse_unknown(self._used_columns())
        return self

    @model_validator(mode="after")
    def _sets_are_of_labels(self) -> Self:
        if self.calibration.sets and self.task.kind == "regression":
            raise ValueError("calibration.sets makes sets of labels, and a regression has none; leave it out")
        return self

    @model_validator(mode="after")
    def _gate_can_be_asked(self) -> Self:
        if self.fairness is not None:
            self.fairness.check(self.data)
        if self.costs is not None:
            self.costs.check(self.contract)
        self.gate.check(self.data, self.contract, self.fairness, self.costs)
        return self


def load_use_case(use_cases: Path, name: str) -> UseCase:
    """Read and check one use case.

    Parameters
    ----------
    use_cases
        The folder with one folder per use case.

    Raises
    ------
    UseCaseError
        There is no such use case, or its file is wrong; all that is wrong is listed, each with its path.
    """
    path = use_cases / name / "use_case.yaml"
    if not path.is_file():
        valid = sorted(p.parent.name for p in use_cases.glob("*/use_case.yaml"))
        raise UseCaseError(
            f"no use case {name!r} in {use_cases}; there are: {', '.join(valid) or 'none'}",
            hint=f"make one with `aforo new {name}`",
        )
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UseCaseError(f"{path} is not YAML: {error}", hint="check the indentation there") from error
    if not isinstance(document, dict):
        raise UseCaseError(f"{path}: expected a mapping at the top", hint="begin with `name: " + name + "`")
    if document.get("name") != name:
        raise UseCaseError(
            f"{path}: name is {document.get('name')!r} in a folder called {name!r}", hint="make the two the same"
        )
    try:
        return UseCase.model_validate(document).at(path.parent)
    except ValidationError as error:
        raise UseCaseError(
            f"{path}: {error.error_count()} thing(s) wrong\n" + "\n".join(_sentences(error)),
            hint=f"mend them and run `aforo check {name}`",
        ) from error


def _sentences(error: ValidationError) -> list[str]:
    """One line a mistake: where, what, and what would be valid."""
    lines = []
    for mistake in error.errors(include_url=False):
        place = ".".join(str(part) for part in mistake["loc"]) or "(whole file)"
        context = mistake.get("ctx", {})
        message = mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "union_tag_invalid":
            valid = [tag.strip().strip("'") for tag in str(context["expected_tags"]).split(",")]
            close = difflib.get_close_matches(str(context["tag"]), valid, n=1)
            message = f"kind {context['tag']!r} does not exist; valid kinds: {', '.join(valid)}" + (
                f"; did you mean {close[0]!r}?" if close else ""
            )
        elif mistake["type"] == "union_tag_not_found":
            message = "has no `kind`"
        elif mistake["type"] == "extra_forbidden":
            message = "no such field"
        lines.append(f"  {place}: {message}")
    return lines
