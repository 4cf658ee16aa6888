"""Parity: what the service answered, beside the batch code and the training code on the same rows.

Three ways lead from a row to an answer: the service decodes a request and runs the graph; a batch reads a table and
runs the graph; training fitted Python objects, of which the graph is an image. Live requests hold values that no test
thought of, so they are what the three are compared on. The Python objects are not kept: they are fitted anew from the
version's snapshot, split and seed, and speak for the version if their graph is its graph, byte for byte.
"""

from __future__ import annotations

import hashlib
import tempfile
from datetime import date
from pathlib import Path

import polars as pl

from aforo.contracts.run import RunKey
from aforo.contracts.specification import Specification
from aforo.errors import DataError, NotReproduced
from aforo.export.parity import TOLERANCE
from aforo.monitoring.prediction_log import WHEN_NOTHING_IS_RECORDED, PredictionLog
from aforo.use_case import UseCase
from aforo.workflows.answering import answer, answer_table, checked
from aforo.workflows.fitting import calibrate, fit
from aforo.workflows.parts import Parts
from aforo.workflows.recorded import Recorded
from aforo.workflows.replay import compare, recorded_rows, refuse_private
from aforo.workflows.wiring import Platform


class Side(Specification):
    """How one way's answers compare with the service's.

    Attributes
    ----------
    identical
        Rows with the same numbers, to the bit.
    largest_difference
        Of a probability, or of a value or a bound of its interval.
    worst
        Request and row with that difference; ``None`` without one.
    """

    identical: int
    largest_difference: float
    worst: str | None


class ParityReport(Specification):
    """What the three ways made of the same rows.

    Attributes
    ----------
    rows
        The last recorded rows that the version answered itself; of one with two phases, those of its full model.
    batch
        Runs the same graph: has to be identical to the bit.
    training
        The Python objects: may differ by ``tolerance``, which every export is held to.
    """

    use_case: str
    version: str
    rows: int
    batch: Side
    training: Side
    tolerance: float

    @property
    def holds(self) -> bool:
        return self.batch.identical == self.rows and self.training.largest_difference <= self.tolerance


def run(
    use_case: UseCase,
    asked: str,
    platform: Platform,
    *,
    rows: int,
    since: date | None = None,
    until: date | None = None,
) -> ParityReport:
    """Compare.

    Parameters
    ----------
    asked
        Number or alias of the version.
    rows
        How many recorded rows to compare at most; the last ones.
    since, until
        First and last day of the log, in UTC.

    Raises
    ------
    DataError
        The version has no recorded answers, or takes a private column, of which the log has hashes.
    NotReproduced
        The version cannot be made again here, so there is no training code to compare with.
    """
    version = platform.versions.resolve(use_case.name, asked)
    with tempfile.TemporaryDirectory(prefix="aforo-parity-") as temporary:
        recorded = Recorded.of(use_case, RunKey(version.tags["run_key"]), Path(temporary), platform)
        contract = recorded.bundle.contract
        refuse_private(contract)
        table = _last_answers(use_case.name, version.version, platform, rows, (since, until))
        batch = recorded_rows(table)
        by_graph = answer(batch, recorded.bundle.predictor, ())
        by_objects = _answers_of_the_objects(recorded, checked(batch, contract.inputs)[0], platform)
    return ParityReport(
        use_case=use_case.name,
        version=version.version,
        rows=table.height,
        batch=_side(compare(table, by_graph, contract)),
        training=_side(compare(table, by_objects, contract)),
        tolerance=TOLERANCE,
    )


def _last_answers(
    name: str, version: str, platform: Platform, rows: int, days: tuple[date | None, date | None]
) -> pl.DataFrame:
    kept: list[pl.DataFrame] = []
    for table in PredictionLog(platform.store).tables(name, since=days[0], until=days[1]):
        ours = pl.col("role").eq("answer") & pl.col("version").eq(version) & pl.col("phase").eq("full")
        kept.append(table.filter(ours))
        while sum(one.height for one in kept[1:]) >= rows:
            del kept[0]
    answers = pl.concat(kept, how="diagonal_relaxed").tail(rows) if kept else pl.DataFrame()
    if not answers.height:
        raise DataError(
            f"no answer of {name} version {version} is recorded",
            hint=WHEN_NOTHING_IS_RECORDED,
        )
    return answers


def _answers_of_the_objects(recorded: Recorded, typed: pl.DataFrame, platform: Platform) -> pl.DataFrame:
    was, manifest = recorded.use_case, recorded.bundle.manifest
    parts = Parts.load(recorded.split, was, platform)
    seed = manifest.lineage.seed
    (spec,) = (spec for spec in was.candidates if spec.name == manifest.candidate)
    with platform.progress("train", unit="fits", total=was.budget.fits) as advance:
        fitted = fit(was, spec, parts, seed, progress=lambda _: advance(1))
    calibrated = calibrate(was, parts, fitted.scores, fitted.reference, seed)
    if hashlib.sha256(calibrated.predictor).hexdigest() != recorded.bundle.model_digest:
        raise NotReproduced(
            f"{was.name} version {recorded.version} comes out as another model here: its training code cannot be asked",
            hint=f"see `aforo reproduce {was.name}@{recorded.version}` for what changed",
        )
    outputs = calibrated.calibrator.apply(fitted.candidate.outputs(typed))
    answers = answer_table(outputs, recorded.bundle.contract)
    return answers.with_columns(pl.lit(None, pl.String).alias("problem"))


def _side(compared: pl.DataFrame) -> Side:
    worst = compared.sort("difference", descending=True).row(0, named=True)
    return Side(
        identical=int(compared["identical"].sum()),
        largest_difference=worst["difference"],
        worst=f"{worst['request_id']} row {worst['row']}" if worst["difference"] else None,
    )
