"""What is measured: one registered version of a model, rows for it, and the answers that are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from pipeline import Pipeline

from aforo.contracts.prediction import PredictionContract
from aforo.export.inference import GraphPredictor, columns_of
from aforo.registry.bundle import read_bundle
from aforo.registry.signing import signing_key


class Subject:
    """The champion of a model in the local copy of ``home``.

    Parameters
    ----------
    folder
        For what the servers need besides it; gone after the benchmark.
    """

    def __init__(self, home: Path, model: str, folder: Path) -> None:
        self.home = home.absolute()
        self.model = model
        self.folder = folder
        copy = self.home / "mirror" / model
        self.version: str = json.loads((copy / "aliases.json").read_text())["champion"]
        self.bundle = read_bundle(copy / self.version, signing_key(self.home / "signing.key"))
        self.contract: PredictionContract = self.bundle.contract
        self.names = [column.name for column in self.contract.inputs]
        self.texts = frozenset(column.name for column in self.contract.inputs if column.type == "string")
        self.positive = self.contract.classes[1]
        self.rows = mixed_rows(self.bundle.golden.rows, count=4_000)
        self._pipeline: Pipeline | None = None

    def by_graph(self, rows: list[dict[str, Any]]) -> list[float]:
        """Return the probability of the positive class, row by row."""
        graph: GraphPredictor = self.bundle.predictor
        return graph.run(columns_of(rows, self.contract))["probabilities"][:, 1].tolist()

    def by_pipeline(self, rows: list[dict[str, Any]]) -> list[float]:
        return self.pipeline.probabilities(rows)

    @property
    def pipeline(self) -> Pipeline:
        """A scikit-learn pipeline of the same kind, fitted to labels drawn from the graph's probabilities."""
        if self._pipeline is None:
            rows = mixed_rows(self.bundle.golden.rows, count=20_000, seed=1)
            labels = np.random.default_rng(2).random(len(rows)) < np.array(self.by_graph(rows))
            self._pipeline = Pipeline([(name, name in self.texts) for name in self.names], rows, labels)
            self._pipeline.save(self.folder)
        return self._pipeline


def mixed_rows(golden: tuple[dict[str, Any], ...], *, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return rows that take each value from another golden row, so that they differ and are all allowed.

    No value is missing: MLflow's server refuses some rows with one.
    """
    rng = np.random.default_rng(seed)
    columns = {name: [row[name] for row in golden if row[name] is not None] for name in golden[0]}
    drawn = {name: rng.integers(0, len(values), size=count).tolist() for name, values in columns.items()}
    return [{name: columns[name][drawn[name][row]] for name in columns} for row in range(count)]
