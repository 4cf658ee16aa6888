"""Bulk prediction: tables of any size through a registered version, in constant memory.

Every row of the input is one row of the output, in order; nothing is dropped. A row that breaks the contract has no
answer, and a ``problem`` that says why. Answers are those of the prediction API bit for bit: the same graph runs.

The output is a folder of Parquet parts with a fixed number of rows each. ``job.json`` comes first and says what is
being computed; a part is complete or absent; ``manifest.json`` comes last. A job that broke off goes on at the
first missing part when it is asked for again.
"""

from __future__ import annotations

import hashlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from aforo.contracts.explanation import ExplanationMethod
from aforo.contracts.prediction import PredictionContract
from aforo.contracts.specification import Specification
from aforo.data.casting import cast
from aforo.data.sources.csv import CsvReader
from aforo.data.sources.locations import Location, locate
from aforo.data.sources.parquet import ParquetReader
from aforo.data.sources.reader import Batch, require_columns
from aforo.errors import DataError, SourceError
from aforo.export.answering import answer_columns
from aforo.export.explanations import Explainer
from aforo.export.inference import GraphPredictor, output_widths
from aforo.registry.bundle import Bundle, read_bundle
from aforo.workflows.answering import PROBLEM, ROW, Explaining, answer
from aforo.workflows.batch_windows import BatchWindows, files_of_events
from aforo.workflows.destination import Destination, destination_at
from aforo.workflows.wiring import Platform

logger = logging.getLogger(__name__)

JOB, MANIFEST = "job.json", "manifest.json"
_ROWS_PER_PART = 100_000
# To explain a row takes as long as to answer thousands; what is lost when a job breaks off is a part.
_EXPLAINED_ROWS_PER_PART = 1_000
_SHOWN = 5


class BulkJob(Specification):
    """What is being computed; a folder holds the output of one.

    Attributes
    ----------
    asked
        The number or alias by which the version was named.
    inputs, events
        Path of each file to its stamp, which changes when the file does.
    """

    model: str
    asked: str
    version: str
    model_digest: str
    inputs: dict[str, str]
    events: Annotated[dict[str, str], Field(default_factory=dict)]
    keep: tuple[str, ...]
    explain: ExplanationMethod | None = None
    rows_per_part: int


class BulkPart(Specification):
    """One Parquet file of the output, and the file of the input that its rows are from."""

    name: str
    file: str
    rows: int
    without_answer: int
    sha256: str


class BulkManifest(Specification):
    """What was computed.

    Attributes
    ----------
    without_answer
        Rows that break the contract; their ``problem`` says how.
    """

    format: int = 1
    job: BulkJob
    rows: int
    without_answer: int
    parts: tuple[BulkPart, ...]


@dataclass(frozen=True)
class _Input:
    """One open file."""

    place: str
    reader: CsvReader | ParquetReader


def predict(
    model: str,
    version: str,
    source: str,
    output: str,
    platform: Platform,
    *,
    events: Sequence[str] = (),
    keep: Sequence[str] = (),
    max_bad_rows: int = 0,
    explain: ExplanationMethod | None = None,
    rows_per_part: int | None = None,
) -> BulkManifest:
    """Predict every row of the files that ``source`` names.

    Parameters
    ----------
    version
        Number or alias. A job that goes on keeps the version that it began with, wherever the alias points by now.
    source
        Path, glob or ``s3://`` URL of ``.parquet``, ``.csv``, ``.csv.gz`` or ``.csv.zip`` files.
    output
        A folder, or an ``s3://`` prefix: empty, absent, or begun by the same job.
    events
        Files of the events that the model's windows are computed from; see
        :func:`~aforo.workflows.batch_windows.files_of_events`. Without them window columns are as the input has them.
    keep
        Columns of the input that are copied to the output.
    max_bad_rows
        How many rows may break the contract before the job stops. What was computed before stays.
    explain
        How each answer is explained; by default not at all. See :class:`~aforo.workflows.answering.Explaining`.
    rows_per_part
        By default 100,000, and 1,000 with explanations.

    Returns
    -------
    BulkManifest
        The one that is there already, if the job was finished before.

    Raises
    ------
    SourceError
        A file is missing or damaged, or lacks a column. All files' columns are looked at before the first row.
    DataError
        A column is of a type that never fits, too many rows are bad, or ``output`` holds something else.
    ModelNotFound
        There is no such version.
    """
    destination = destination_at(output, platform.settings)
    registered = platform.versions.resolve(model, _begun_with(model, version, destination) or version)
    files = locate(source, Path.cwd(), platform.settings)
    with tempfile.TemporaryDirectory(prefix="aforo-bulk-") as temporary:
        folder = platform.versions.download(model, registered.version, Path(temporary) / "bundle")
        bundle = read_bundle(folder, platform.signing_key)
        told = files_of_events(events, bundle.contract, platform.settings)
        job = BulkJob(
            model=model,
            asked=version,
            version=registered.version,
            model_digest=bundle.model_digest,
            inputs={file.path: file.stamp for file in files},
            events={file.path: file.stamp for files_told in told.values() for file in files_told},
            keep=tuple(keep),
            explain=explain,
            rows_per_part=rows_per_part or (_ROWS_PER_PART if explain is None else _EXPLAINED_ROWS_PER_PART),
        )
        explaining = None if explain is None else Explaining(_explainer(bundle, model), explain)
        _begin(job, destination)
        if (finished := destination.read(MANIFEST)) is not None:
            logger.info("finished before", extra={"output": output})
            return BulkManifest.model_validate_json(finished)
        inputs = [_open(file) for file in files]
        windows = BatchWindows.of(told, bundle.contract, lambda file: _open(file).reader, Path(temporary) / "events")
        for each in inputs:
            _refuse_unfit(each, bundle.contract, (*job.keep, *windows.asked), filled=windows.columns)
        _refuse_taken(job.keep, bundle.contract, explaining)
        with platform.progress("predict", unit="rows") as advance:
            parts = tuple(
                _parts(inputs, bundle.predictor, windows, explaining, job, destination, max_bad_rows, advance)
            )
    manifest = BulkManifest(
        job=job,
        rows=sum(part.rows for part in parts),
        without_answer=sum(part.without_answer for part in parts),
        parts=parts,
    )
    destination.write(MANIFEST, manifest.model_dump_json(indent=1).encode())
    return manifest


def _begun_with(model: str, asked: str, destination: Destination) -> str | None:
    """Return the version of the job that was begun there for the same name, ``None`` if there is none."""
    begun = destination.read(JOB)
    job = None if begun is None else BulkJob.model_validate_json(begun)
    return job.version if job is not None and (job.model, job.asked) == (model, asked) else None


def _begin(job: BulkJob, destination: Destination) -> None:
    """Claim the folder for this job, or go on with the one that this job began."""
    begun = destination.read(JOB)
    if begun is None:
        if found := destination.names():
            raise DataError(
                f"{destination.address} holds {found[0]!r} and no {JOB}; expected an empty place, or this job's own",
                hint="choose another --output",
            )
        destination.write(JOB, job.model_dump_json(indent=1).encode())
        return
    then, now = BulkJob.model_validate_json(begun).model_dump(), job.model_dump()
    if changed := [f"{name} was {then[name]!r}, and is {now[name]!r}" for name in now if then[name] != now[name]]:
        raise DataError(
            f"{destination.address} holds the output of another job: {changed[0]}",
            hint="choose another --output, or ask for what was asked then",
        )


def _open(file: Location) -> _Input:
    if file.name.endswith(".parquet"):
        return _Input(file.path, ParquetReader([file]))
    if file.name.endswith((".csv", ".csv.gz", ".csv.zip")):
        return _Input(file.path, CsvReader([file], null_values=()))
    raise SourceError(f"{file.path} is of no known kind; expected .parquet, .csv, .csv.gz or .csv.zip")


def _refuse_unfit(each: _Input, contract: PredictionContract, more: Sequence[str], *, filled: Sequence[str]) -> None:
    """Refuse a file whose columns cannot be predicted, before anything is."""
    needed = [column.name for column in contract.inputs if not column.nullable]
    require_columns(each.place, list(dict.fromkeys([*needed, *more])), each.reader.columns)
    schema = each.reader.schema if isinstance(each.reader, ParquetReader) else {}
    for column in contract.inputs:
        if column.name in schema:
            try:
                cast(pl.Series(column.name, [], dtype=schema[column.name]), column.type)
            except DataError as error:
                raise DataError(f"{each.place}: {error.message}", hint=error.hint) from error
    absent = [c.name for c in contract.inputs if c.name not in (*each.reader.columns, *filled)]
    if absent:
        logger.warning("columns are absent, and count as missing", extra={"file": each.place, "columns": absent})


def _explainer(bundle: Bundle, model: str) -> Explainer:
    if bundle.background is None:
        raise DataError(
            f"this version of {model} has no background to compare a row with",
            hint="it was made before there were explanations: evaluate and promote a new one",
        )
    return Explainer(bundle.predictor.run, bundle.contract, bundle.background)


def _refuse_taken(keep: Sequence[str], contract: PredictionContract, explaining: Explaining | None) -> None:
    """Refuse to keep a column under a name that the output has itself."""
    no_rows = {name: np.empty((0, width)) for name, width in output_widths(contract).items()}
    taken = {"row", "problem", *answer_columns(no_rows, contract)}
    if explaining is not None:
        taken |= set(Explaining.schema(contract.inputs))
    if both := [name for name in keep if name in taken]:
        raise DataError(
            f"--keep {both[0]} cannot be: the output has a column of that name", hint="rename it in the input"
        )


def _parts(
    inputs: Sequence[_Input],
    predictor: GraphPredictor,
    windows: BatchWindows,
    explaining: Explaining | None,
    job: BulkJob,
    destination: Destination,
    max_bad_rows: int,
    advance: Callable[[int], None],
) -> Iterator[BulkPart]:
    """Write the parts that are missing, and yield all of them."""
    bad = 0
    for number, each in enumerate(inputs):
        names = [column.name for column in predictor.contract.inputs if column.name in each.reader.columns]
        wanted = list(dict.fromkeys([*names, *windows.asked, *job.keep]))
        for place, batch in enumerate(_evenly(each.reader.batches(wanted), job.rows_per_part)):
            name = f"part-{number:05d}-{place:05d}.parquet"
            data = destination.read(name)
            if data is None:
                table = answer(windows.fill(batch), predictor, job.keep, explaining)
                _refuse_too_many(table, bad, max_bad_rows, each.place)
                data = _parquet(table)
                destination.write(name, data)
            else:
                table = pl.read_parquet(io.BytesIO(data), columns=["problem"])
            without_answer = table.get_column("problem").count()
            bad += without_answer
            sha256 = hashlib.sha256(data).hexdigest()
            yield BulkPart(name=name, file=each.place, rows=table.height, without_answer=without_answer, sha256=sha256)
            advance(table.height)


def _evenly(batches: Iterator[Batch], rows: int) -> Iterator[pl.DataFrame]:
    """Yield tables of ``rows`` rows each, and the rest; with each row's number, and the ``problem`` of a broken one."""
    waiting: list[pl.DataFrame] = []
    for batch in batches:
        numbers = pl.Series(ROW, batch.numbers, dtype=pl.Int64)
        table = batch.table.with_columns(numbers, pl.lit(None, pl.String).alias(PROBLEM))
        if batch.broken:
            records = [(each.number, each.reason) for each in batch.broken]
            broken = pl.DataFrame(records, schema={ROW: pl.Int64, PROBLEM: pl.String}, orient="row")
            table = pl.concat([table, broken], how="diagonal").sort(ROW)
        waiting.append(table)
        if sum(each.height for each in waiting) >= rows:
            whole = pl.concat(waiting)
            while whole.height >= rows:
                yield whole.head(rows)
                whole = whole.slice(rows)
            waiting = [whole]
    rest = pl.concat(waiting) if waiting else pl.DataFrame()
    if rest.height:
        yield rest


def _refuse_too_many(table: pl.DataFrame, before: int, limit: int, place: str) -> None:
    bad = table.filter(pl.col("problem").is_not_null()).select("row", "problem")
    if before + bad.height > limit:
        shown = "\n".join(f"  row {row}: {problem}" for row, problem in bad.head(_SHOWN).iter_rows())
        raise DataError(
            f"{place}: {before + bad.height} row(s) so far break the model's contract; allowed are {limit}\n{shown}",
            hint="mend the rows, or raise --max-bad-rows to keep them without an answer",
        )


def _parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()
