"""What columns over windows of events are worth, and what is left where no event has come: flights of the test days.

::

    python benchmarks/patterns/windows.py               # about a minute; writes docs/patterns/figures.json

The boosted trees of `flight_delay` learn from the days of its train part, with the columns over windows and without,
and are asked about the days of its test part, an hour before each flight is to depart. They are asked about the same
flights as a service that was told of no departure has them, and so are trees from which no window was hidden.
Intervals (95 %) are bootstrapped over days; those of differences draw the same days for both.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from threadpoolctl import threadpool_limits

from aforo.data.ingestion import ingest
from aforo.data.snapshots import Snapshots
from aforo.evaluation.answers import Answers
from aforo.evaluation.evaluate import compare
from aforo.models.calibration import fit_calibrator
from aforo.models.estimators import CandidateSpec, Task
from aforo.models.training import fit_candidate
from aforo.settings import Settings
from aforo.storage import LocalStore
from aforo.use_case import UseCase, load_use_case
from aforo.workflows.fitting import groups_of
from aforo.workflows.parts import Parts

OUTPUT = Path(__file__).parents[2] / "docs" / "patterns" / "figures.json"
YAML = "windows: [{stream: departures, known_at: departed_at, asked_at: asked_at, by: [origin], columns: {...}}]"


@dataclass(frozen=True)
class Measured:
    """One comparison, each figure with its 95 % interval.

    Attributes
    ----------
    before, after
        Of a model that never had windows, and of the shipped one.
    without
        Predictor that was told of no departure to its figures: the shipped one, and one that always had its windows in
        training. ``claimed`` is its mean probability, ``late`` the share of late flights, and ``gain`` what it gains
        over the model that never had windows.
    """

    data: str
    metric: str
    yaml: str
    before: dict[str, float]
    after: dict[str, float]
    gain: dict[str, float]
    without: dict[str, dict[str, Any]]


def measure(use_case: UseCase) -> Measured:
    """Compare the use case's boosted trees with themselves, without the columns over windows."""
    table = _table(use_case)
    codes = use_case.split.build(use_case.data.key).assign(table)
    (trees,) = (candidate for candidate in use_case.candidates if candidate.kind == "boosted_trees")
    windowed = [name for window in use_case.data.windows for name in window.columns]
    hiding = Parts.placed(table, codes, use_case)
    test = hiding.of("test")
    untold = test.with_columns(pl.lit(None, test.schema[name]).alias(name) for name in windowed)
    before, shipped, always = (
        _fitted(use_case, candidate, parts)
        for candidate, parts in (
            (_without(trees, windowed), hiding),
            (trees, hiding),
            (trees, Parts(table, codes)),
        )
    )
    answers = {
        "before": before(test),
        "after": shipped(test),
        "hidden in training": shipped(untold),
        "always there in training": always(untold),
    }
    days = test.get_column("date").cast(pl.String).to_numpy()
    compared = compare(answers, use_case.evaluation, groups=days, seed=0)
    return Measured(
        data=f"flights of 2013; {len(set(days))} days that training does not see",
        metric="ROC AUC",
        yaml=YAML,
        before=compared.interval("before", "roc_auc").model_dump(),
        after=compared.interval("after", "roc_auc").model_dump(),
        gain=compared.improvement("after", "before", "roc_auc").model_dump(),
        without={
            name: {
                "late": float(answers[name].y.mean()),
                "claimed": float(answers[name].probabilities[:, 1].mean()),
                **{metric: compared.interval(name, metric).model_dump() for metric in ("roc_auc", "brier", "ece")},
                "gain": compared.improvement(name, "before", "roc_auc").model_dump(),
            }
            for name in list(answers)[2:]
        },
    )


def _table(use_case: UseCase) -> pl.DataFrame:
    with tempfile.TemporaryDirectory(prefix="aforo-bench-") as folder:
        settings, store = Settings.from_environment({"AFORO_HOME": folder}), LocalStore(Path(folder) / "store")
        taken = ingest(
            use_case.data, folder=use_case.folder, store=store, settings=settings, progress=lambda _rows: None
        )
        return Snapshots(store).load(taken.snapshot_id)


def _without(candidate: CandidateSpec, names: Sequence[str]) -> CandidateSpec:
    features = [
        feature.model_copy(update={"columns": tuple(name for name in feature.columns if name not in names)})
        for feature in candidate.own_features() or ()
    ]
    return candidate.model_copy(update={"features": tuple(features)})


def _fitted(use_case: UseCase, candidate: CandidateSpec, parts: Parts) -> Callable[[pl.DataFrame], Answers]:
    """Train and calibrate as the use case does, and return what answers rows."""
    fitted = fit_candidate(
        candidate,
        features=use_case.features,
        task=use_case.task.kind,
        classes=use_case.classes,
        train=parts.of("train"),
        validation=parts.of("validation"),
        target=use_case.data.target.name,
        seed=use_case.seed,
        budget=use_case.budget,
    )
    held_out = parts.of("calibration")
    calibrator = fit_calibrator(
        fitted.outputs(held_out),
        use_case.targets(held_out),
        Task(use_case.task.kind, use_case.classes),
        use_case.calibration,
        seed=use_case.seed,
        groups=groups_of(use_case, held_out),
    )
    return lambda rows: Answers.of(use_case.contract, use_case.targets(rows), calibrator.apply(fitted.outputs(rows)))


def main() -> None:
    found = json.loads(OUTPUT.read_text(encoding="utf-8"))
    use_cases = Settings.from_environment().use_cases
    with threadpool_limits(1):
        found["windowed_inference"] = asdict(measure(load_use_case(use_cases, "flight_delay")))
    print(found["windowed_inference"])
    OUTPUT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
