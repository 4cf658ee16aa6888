"""What two phases cost and save, beside the full model alone.

::

    python benchmarks/patterns/two_phase.py               # some minutes; writes its part of docs/patterns/figures.json
    python benchmarks/patterns/two_phase.py digits        # half a minute

The full model is the boosted trees of the use case, calibrated. Before it stands, in turn, a small network in bytes
that the trees have taught, the same in floating point, and the same in bytes taught by the labels alone. The confidence
is chosen on the validation part; all figures are of the test part, with intervals (95 %) bootstrapped over its groups.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from aforo.contracts.prediction import PHASES
from aforo.contracts.run import RunKey
from aforo.evaluation.answers import Answers
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.evaluate import compare
from aforo.evaluation.rules import CANDIDATE
from aforo.evaluation.two_phase import FULL, SMALL, TwoPhases, TwoPhaseSpec, find
from aforo.export.compile import compile_small
from aforo.export.inference import GraphPredictor
from aforo.export.packing import Columns
from aforo.export.tables import columns_from
from aforo.export.two_phase import open_predictor
from aforo.settings import Settings
from aforo.use_case import UseCase, load_use_case
from aforo.workflows import ingest, split, validate
from aforo.workflows.fitting import calibrate, choose_phases, contract_of, fit, fit_small, groups_of, run_in_pieces
from aforo.workflows.parts import Parts
from aforo.workflows.wiring import Platform

OUTPUT = Path(__file__).parents[2] / "docs" / "patterns" / "figures.json"
YAML = "two_phase: {max_loss: 0.002}"
DATA = {"flight_delay": "flights of 2013", "digits": "1,797 written digits"}
IN_BYTES = "in bytes, taught by the trees"
SMALLS: dict[str, dict[str, Any]] = {
    IN_BYTES: {},
    "in floating point": {"small": {"kind": "neural_network", "hidden": [16], "learning_rate": 0.003}},
    "in bytes, taught by the labels": {"taught_share": 0},
}
REPEATS = 5


def measure(name_of_use_case: str) -> dict[str, Any]:
    """Return the figures of every small model, those of the first also as the table of patterns has them."""
    with tempfile.TemporaryDirectory() as folder:
        platform = Platform.of(Settings.from_environment({"AFORO_HOME": folder}))
        use_case = load_use_case(platform.settings.use_cases, name_of_use_case)
        key = RunKey("benchmark")
        ingest.run(use_case, key, platform)
        validate.run(use_case, key, platform)
        parts = Parts.load(split.run(use_case, key, platform), use_case, platform)
    trees = next(candidate for candidate in use_case.candidates if candidate.kind == "boosted_trees")
    fitted = fit(use_case, trees, parts, use_case.seed)
    full = calibrate(use_case, parts, fitted.scores, fitted.reference, use_case.seed).predictor
    found: dict[str, dict[str, Any]] = {}
    shipped = (use_case.two_phase or TwoPhaseSpec(max_loss=0.002)).model_dump()
    for name, more in SMALLS.items():
        small = {"features": shipped["small"]["features"], **more.get("small", shipped["small"])}
        spec = TwoPhaseSpec.model_validate({**shipped, **more, "small": small})
        found[name] = two_phases(use_case, spec, fitted.scores, full, parts)
    accuracy = {name: found[IN_BYTES]["accuracy"].pop(name) for name in (FULL, CANDIDATE)}
    return {
        "data": f"{DATA[name_of_use_case]}, test part",
        "metric": "Accuracy",
        "yaml": YAML,
        "before": accuracy[FULL],
        "after": accuracy[CANDIDATE],
        "what_else": what_else(found[IN_BYTES]),
        "small_models": found,
    }


def what_else(found: dict[str, Any]) -> str:
    """Return what the table says beside the figure."""
    share, lost, size = found["share"], found["lost"], found["small_bytes"] / found["full_bytes"]
    return (
        f"{share['value']:.0%} of the rows are answered by {size:.0%} of the bytes; "
        f"lost: {lost['value']:.2g} [{lost['lower']:.2g}, {lost['upper']:.2g}]"
    )


def two_phases(use_case: UseCase, spec: TwoPhaseSpec, scores: bytes, full: bytes, parts: Parts) -> dict[str, Any]:
    """Make a small model before the full one as the steps of a run do, and measure both on the test part."""
    taught = fit_small(use_case, spec, scores, parts, use_case.seed)
    small = calibrate(use_case, parts, taught.scores, taught.reference, use_case.seed).predictor
    choice = choose_phases(use_case, spec, full, small, parts)
    table, contract = parts.of("test"), contract_of(use_case, choice)
    small = compile_small(small, contract)
    y, groups = use_case.targets(table), groups_of(use_case, table)
    graphs = {
        FULL: GraphPredictor(full, use_case.contract),
        SMALL: GraphPredictor(small, use_case.contract),
        CANDIDATE: open_predictor(full, contract, small),
    }
    outputs = {name: run_in_pieces(predictor, table) for name, predictor in graphs.items()}
    answers = {name: Answers.of(contract, y, given) for name, given in outputs.items()}
    measured = compare(answers, use_case.evaluation, groups=groups, seed=use_case.seed)
    found = find(
        TwoPhases(
            spec=spec,
            choice=choice,
            by_small=outputs[CANDIDATE]["phase"][:, 0] == PHASES.index("small"),
            full=answers[FULL],
            small=answers[SMALL],
            full_bytes=len(full),
            small_bytes=len(small),
        ),
        measured,
        Clusters.single_rows(len(y)) if groups is None else Clusters.of(groups),
    )
    rows = table.sample(2_000, with_replacement=True, seed=0)
    return {
        **found.model_dump(mode="json"),
        "lost_roc_auc": 0.0 - measured.improvement(CANDIDATE, FULL, "roc_auc").value,
        "accuracy": {name: measured.interval(name, "accuracy").model_dump() for name in answers},
        "microseconds_a_row": {name: timed(predictor, rows) for name, predictor in graphs.items()},
    }


def timed(predictor: GraphPredictor, rows: pl.DataFrame) -> dict[str, float]:
    """Return the microseconds that a row takes, asked alone and a thousand at a time: the best of a few."""
    single = [columns_from(rows.slice(place, 1), predictor.contract) for place in range(1_000)]
    many = [columns_from(rows.slice(place, 1_000), predictor.contract) for place in (0, 1_000)]
    return {"alone": best(predictor.run, single) / 1_000, "of_1000": best(predictor.run, many) / 2_000}


def best(predict: Callable[[Columns], object], batches: list[Columns]) -> float:
    spent = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        for batch in batches:
            predict(batch)
        spent.append((time.perf_counter() - started) * 1e6)
    return round(min(spent), 1)


if __name__ == "__main__":
    found = measure(sys.argv[1] if len(sys.argv) > 1 else "flight_delay")
    print(json.dumps(found, indent=2))
    for small in found["small_models"].values():
        del small["microseconds_a_row"]  # of this machine, now
    figures = json.loads(OUTPUT.read_text(encoding="utf-8")) | {"two_phase_prediction": found}
    OUTPUT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
