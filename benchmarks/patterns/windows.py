"""What columns over windows of events are worth: flights of the frozen test days, with them and without.

::

    python benchmarks/patterns/windows.py               # about a minute; writes docs/patterns/figures.json

The boosted trees of `flight_delay_live` learn from the days of its train part, with the columns over windows and
without, and are asked about the days of its test part, an hour before each flight is to depart. Intervals (95 %) are
bootstrapped over days; that of the gain draws the same days for both.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from threadpoolctl import threadpool_limits

from aforo.contracts.run import PARTS
from aforo.data.ingestion import ingest
from aforo.data.snapshots import Snapshots
from aforo.evaluation.answers import Answers
from aforo.evaluation.evaluate import compare
from aforo.models.estimators import CandidateSpec
from aforo.models.training import fit_candidate
from aforo.settings import Settings
from aforo.storage import LocalStore
from aforo.use_case import UseCase, load_use_case

OUTPUT = Path(__file__).parents[2] / "docs" / "patterns" / "figures.json"
YAML = "windows: [{stream: departures, known_at: departed_at, asked_at: asked_at, by: [origin], columns: {...}}]"


@dataclass(frozen=True)
class Measured:
    """One comparison, each figure with its 95 % interval."""

    data: str
    metric: str
    yaml: str
    before: dict[str, float]
    after: dict[str, float]
    gain: dict[str, float]


def measure(use_case: UseCase) -> Measured:
    """Compare the use case's boosted trees with themselves, without the columns over windows."""
    table = _table(use_case)
    parts = use_case.split.build(use_case.data.key).assign(table)
    of = {part: table.filter(parts == PARTS.index(part)) for part in ("train", "validation", "test")}
    windowed = {name for window in use_case.data.windows for name in window.columns}
    (trees,) = (candidate for candidate in use_case.candidates if candidate.kind == "boosted_trees")
    answers = {
        name: _answers(use_case, candidate, of)
        for name, candidate in {"before": _without(trees, windowed), "after": trees}.items()
    }
    days = of["test"].get_column("date").cast(pl.String).to_numpy()
    compared = compare(answers, use_case.evaluation, groups=days, seed=0)
    return Measured(
        data=f"flights of 2013; {len(set(days))} days that training does not see",
        metric="ROC AUC",
        yaml=YAML,
        before=compared.interval("before", "roc_auc").model_dump(),
        after=compared.interval("after", "roc_auc").model_dump(),
        gain=compared.improvement("after", "before", "roc_auc").model_dump(),
    )


def _table(use_case: UseCase) -> pl.DataFrame:
    with tempfile.TemporaryDirectory(prefix="aforo-bench-") as folder:
        settings, store = Settings.from_environment({"AFORO_HOME": folder}), LocalStore(Path(folder) / "store")
        taken = ingest(
            use_case.data, folder=use_case.folder, store=store, settings=settings, progress=lambda _rows: None
        )
        return Snapshots(store).load(taken.snapshot_id)


def _without(candidate: CandidateSpec, names: set[str]) -> CandidateSpec:
    features = [
        feature.model_copy(update={"columns": tuple(name for name in feature.columns if name not in names)})
        for feature in candidate.own_features() or ()
    ]
    return candidate.model_copy(update={"features": tuple(features)})


def _answers(use_case: UseCase, candidate: CandidateSpec, of: dict[Any, pl.DataFrame]) -> Answers:
    fitted = fit_candidate(
        candidate,
        features=use_case.features,
        task=use_case.task.kind,
        classes=use_case.classes,
        train=of["train"],
        validation=of["validation"],
        target=use_case.data.target.name,
        seed=use_case.seed,
        budget=use_case.budget,
    )
    return Answers("binary", use_case.targets(of["test"]), probabilities=fitted.outputs(of["test"]))


def main() -> None:
    found = json.loads(OUTPUT.read_text(encoding="utf-8"))
    use_cases = Settings.from_environment().use_cases
    with threadpool_limits(1):
        found["windowed_inference"] = asdict(measure(load_use_case(use_cases, "flight_delay_live")))
    print(found["windowed_inference"])
    OUTPUT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
