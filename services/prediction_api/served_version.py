"""One version of one model, in memory and proven to answer as it did when it was made."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aforo.contracts.explanation import Explanation, ExplanationMethod
from aforo.contracts.prediction import PredictionContract
from aforo.errors import BundleRefused
from aforo.export.explanations import Explainer
from aforo.registry.bundle import GRAPH, Bundle, TakeGraph, read_bundle, read_graph
from prediction_api.answers import Answers, Prediction
from prediction_api.batching import Batcher, RowBudget
from prediction_api.decoding import ColumnFiller, RowDecoder
from prediction_api.explaining import Row
from prediction_api.metrics import Metrics
from prediction_api.windows import WindowFiller, WindowPanes

_TRIAL_ROWS = 32
# How long a short request may have to wait for one slice of a long one.
_SLICE_S = 0.002
# From here on a call's own cost is a few percent, and a longer slice gains nothing.
_MOST_SLICE_ROWS = 256
_LEAST_SIZE_BYTES = 2**20


class ServedVersion:
    """Decodes, scores and answers for one version.

    Made by :func:`load_version`, which checks it first.

    Attributes
    ----------
    size_bytes
        Estimate of what it holds in memory.
    last_used
        In seconds of ``time.monotonic``.
    explainer
        ``None`` for a version that has no background.
    outputs
        From rows to the graph's outputs, one row of each array a row.
    score
        From rows to one prediction each.
    """

    outputs: Callable[[Sequence[Row]], dict[str, NDArray[np.float64]]]
    score: Callable[[Sequence[Row]], list[Prediction]]

    def __init__(
        self,
        *,
        model: str,
        version: str,
        bundle: Bundle,
        max_rows: int,
        budget: RowBudget,
        observe: Callable[[int], None],
        on_told: Callable[[], None],
        windows: WindowFiller | None = None,
    ) -> None:
        self.model = model
        self.version = version
        self.bundle = bundle
        self.contract: PredictionContract = bundle.contract
        # A graph that is not mapped is held as bytes and as what the runtime made of them.
        copies = 1 if bundle.predictor.is_mapped else 2
        self.size_bytes = copies * (bundle.folder / GRAPH).stat().st_size + _LEAST_SIZE_BYTES
        self.loaded_at = time.time()
        self.last_used = time.monotonic()
        self.decoder = RowDecoder(self.contract, max_rows=max_rows, windows=windows)
        self.answers = Answers(self.contract, model=model, version=version)
        background = bundle.background
        self.explainer = None if background is None else Explainer(bundle.predictor.run, self.contract, background)
        fill = ColumnFiller(self.contract, bundle.predictor.packing).fill
        run, predictions = bundle.predictor.run, self.answers.predictions
        # Made of the parts and not of this object, which the batcher would otherwise refer back to: a version that is
        # let go has to leave memory with its last request, not when the collector comes round.
        self.outputs = lambda rows: run(fill(rows))
        self.score = lambda rows: predictions(run(fill(rows)))
        self.batcher = Batcher(self.score, budget, slice_rows=self._warm_up(), observe=observe, on_told=on_told)

    def explain(self, row: Row, method: ExplanationMethod, soft_deadline: float, deadline: float) -> Explanation | None:
        """Return why a row is answered as it is; see :meth:`aforo.export.explanations.Explainer.explain`."""
        if self.explainer is None:
            raise AssertionError(f"{self.model} {self.version} was asked for explanations without being looked at")
        named: dict[str, Any] = dict(zip((column.name for column in self.contract.inputs), row, strict=True))
        return self.explainer.explain(named, method, soft_deadline=soft_deadline, deadline=deadline)

    def golden_rows(self, count: int) -> list[Row]:
        """Return the first ``count`` golden rows of the bundle."""
        return [
            tuple(row.get(column.name) for column in self.contract.inputs) for row in self.bundle.golden.rows[:count]
        ]

    def _warm_up(self) -> int:
        """Score golden rows alone and together, so that the first request is as fast as the rest.

        Returns
        -------
        int
            How many rows one call may take without others waiting too long for it.
        """
        rows = self.golden_rows(len(self.bundle.golden.rows))
        batch = (rows * (_TRIAL_ROWS // len(rows) + 1))[:_TRIAL_ROWS]
        self.answers.encode(self.score(rows[:1]), "")
        self.score(batch)
        started = time.perf_counter()
        self.score(batch)
        row_s = (time.perf_counter() - started) / _TRIAL_ROWS
        return max(1, min(_MOST_SLICE_ROWS, int(_SLICE_S / row_s)))


def count_phases(metrics: Metrics, served: ServedVersion, predictions: Sequence[Prediction]) -> None:
    """Count the rows that each phase has answered."""
    for phase, rows in Counter(prediction.phase for prediction in predictions).items():
        metrics.count("aforo_phase_rows_total", served.model, served.version, phase, by=rows)


def load_version(
    model: str,
    version: str,
    folder: Path,
    *,
    key: bytes,
    max_rows: int,
    budget: RowBudget,
    observe: Callable[[int], None],
    on_told: Callable[[], None] = lambda: None,
    take_graph: TakeGraph = read_graph,
    windows: WindowPanes | None = None,
) -> ServedVersion:
    """Load a bundle, after its signature, digests, contract and golden rows were found good.

    Parameters
    ----------
    key
        HMAC key of the bundle's signature.
    budget, observe, on_told
        See :class:`~prediction_api.batching.Batcher`.
    take_graph
        See :func:`~aforo.registry.bundle.read_bundle`.
    windows
        Where the panes of its windows are held; ``None`` where there are none, as in a test of the graph alone.

    Raises
    ------
    BundleRefused
        A check failed; the message says which.
    """
    bundle = read_bundle(folder, key, take_graph=take_graph)
    if not bundle.golden.rows:
        raise BundleRefused(f"{folder}: there are no golden rows, so nothing shows that the graph works here")
    if bundle.contract.use_case != model:
        raise BundleRefused(f"{folder}: the bundle is of {bundle.contract.use_case!r}; expected one of {model!r}")
    return ServedVersion(
        model=model,
        version=version,
        bundle=bundle,
        max_rows=max_rows,
        budget=budget,
        observe=observe,
        on_told=on_told,
        windows=None if windows is None else windows.filler(bundle.contract),
    )
