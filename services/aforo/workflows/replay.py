"""Replay: recorded requests through a registered version, and what it would have answered otherwise.

Before a promotion it says what changes for real callers; in a hunt for a fault it says whether a version still answers
as it did. The version is run here, from its bundle: it is a pure function, and gives what the service gives.
"""

from __future__ import annotations

import tempfile
from datetime import date
from heapq import nlargest
from pathlib import Path

import polars as pl
import polars.selectors as cs

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.specification import Specification
from aforo.errors import DataError
from aforo.monitoring.prediction_log import WHEN_NOTHING_IS_RECORDED, PredictionLog
from aforo.registry.bundle import read_bundle
from aforo.workflows.answering import PROBLEM, ROW, answer
from aforo.workflows.wiring import Platform


class Difference(Specification):
    """One recorded row that the version answers differently.

    Attributes
    ----------
    difference
        Largest absolute difference of a probability, or of the value or a bound of its interval.
    """

    request_id: str
    row: int
    recorded_version: str
    recorded: str | None
    replayed: str | None
    difference: float


class ReplayReport(Specification):
    """What a version makes of recorded requests.

    Attributes
    ----------
    rows
        Recorded rows that were answered, or that it would have refused.
    identical
        Those it answers with the same numbers, to the bit.
    changed
        Those it answers with another label; for a regression, with a value outside the recorded interval.
    refused
        Those that its contract does not allow, with an example of why in ``refusal``.
    largest
        The rows that differ most, the most different first.
    """

    use_case: str
    version: str
    rows: int
    identical: int
    changed: int
    refused: int
    refusal: str | None
    mean_difference: float
    largest_difference: float
    largest: tuple[Difference, ...]


def replay(
    use_case: str,
    asked: str,
    platform: Platform,
    *,
    since: date | None = None,
    until: date | None = None,
    recorded_by: str | None = None,
    show: int = 10,
) -> ReplayReport:
    """Send the recorded requests of a use case through a version; memory does not grow with the log.

    Parameters
    ----------
    asked
        Number or alias.
    since, until
        First and last day of the log, in UTC.
    recorded_by
        Only what this version answered.
    show
        How many of the most different rows to list.

    Raises
    ------
    ModelNotFound
        There is no such version.
    DataError
        The version takes a private column, of which the log has hashes; or nothing is recorded.
    """
    version = platform.versions.resolve(use_case, asked).version
    with tempfile.TemporaryDirectory(prefix="aforo-replay-") as temporary:
        folder = platform.versions.download(use_case, version, Path(temporary) / "bundle")
        predictor = read_bundle(folder, platform.signing_key).predictor
        refuse_private(predictor.contract)
        totals = _Totals(show)
        for table in PredictionLog(platform.store).tables(use_case, since=since, until=until):
            answered = table.filter(pl.col("role") == "answer")
            if recorded_by is not None:
                answered = answered.filter(pl.col("version") == recorded_by)
            if answered.height:
                totals.add(compare(answered, answer(recorded_rows(answered), predictor, ()), predictor.contract))
    if not totals.rows:
        raise DataError(
            f"no answer of {use_case} is recorded that could be replayed",
            hint=WHEN_NOTHING_IS_RECORDED,
        )
    return totals.report(use_case, version)


class _Totals:
    def __init__(self, show: int) -> None:
        self._show = show
        self.rows = self._identical = self._changed = self._refused = 0
        self._refusal: str | None = None
        self._sum = 0.0
        self._largest: list[Difference] = []

    def add(self, compared: pl.DataFrame) -> None:
        self.rows += compared.height
        refused = compared.filter(pl.col("problem").is_not_null())
        self._refused += refused.height
        if refused.height and self._refusal is None:
            self._refusal = refused["problem"][0]
        good = compared.filter(pl.col("problem").is_null())
        self._identical += int(good["identical"].sum())
        self._changed += int(good["changed"].sum())
        self._sum += float(good["difference"].sum())
        top = good.filter(pl.col("identical").not_()).top_k(self._show, by="difference")
        fields = list(Difference.model_fields)
        found = [Difference(**row) for row in top.select(fields).to_dicts()]
        self._largest = nlargest(self._show, [*self._largest, *found], key=lambda each: each.difference)

    def report(self, use_case: str, version: str) -> ReplayReport:
        replayed = self.rows - self._refused
        return ReplayReport(
            use_case=use_case,
            version=version,
            rows=self.rows,
            identical=self._identical,
            changed=self._changed,
            refused=self._refused,
            refusal=self._refusal,
            mean_difference=self._sum / replayed if replayed else 0.0,
            largest_difference=max((each.difference for each in self._largest), default=0.0),
            largest=tuple(self._largest),
        )


def recorded_rows(table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a table of the log, as `answer` takes them."""
    rows = table["features"].struct.unnest()
    return rows.with_row_index(ROW).with_columns(pl.lit(None, pl.String).alias(PROBLEM))


def compare(table: pl.DataFrame, replayed: pl.DataFrame, contract: PredictionContract) -> pl.DataFrame:
    """Return one row a recorded row: its names, how it differs, and why it was refused.

    Parameters
    ----------
    table
        Of the log.
    replayed
        The answers to the same rows, as `answer` gives them.
    """
    recorded = _recorded(table, contract)
    numbers = [name for name in recorded.columns if name != "label" and name in replayed.columns]
    both = pl.concat(
        [
            table.select("request_id", "row", recorded_version="version"),
            recorded.select(pl.all().name.prefix("recorded ")),
            replayed.with_columns(cs.float().fill_nan(None)).select(pl.all().name.prefix("replayed ")),
        ],
        how="horizontal",
    )
    ours, theirs = ([pl.col(f"{side} {name}") for name in numbers] for side in ("recorded", "replayed"))
    same_numbers = pl.all_horizontal(a.eq_missing(b) for a, b in zip(ours, theirs, strict=True))
    if contract.task == "regression":
        told = "value"
        outside = ~pl.col("replayed value").is_between(pl.col("recorded lower"), pl.col("recorded upper"))
        changed = ~same_numbers & outside.fill_null(value=True)
    else:
        told = "label"
        changed = pl.col("recorded label").ne_missing(pl.col("replayed label"))
    return both.select(
        "request_id",
        "row",
        "recorded_version",
        pl.col(f"recorded {told}").cast(pl.String).alias("recorded"),
        pl.col(f"replayed {told}").cast(pl.String).alias("replayed"),
        pl.max_horizontal((a - b).abs() for a, b in zip(ours, theirs, strict=True)).fill_null(0.0).alias("difference"),
        changed.alias("changed"),
        identical=same_numbers & ~changed,
        problem="replayed problem",
    )


def _recorded(table: pl.DataFrame, contract: PredictionContract) -> pl.DataFrame:
    """Return what was answered, with the names that `answer_columns` gives."""
    outputs = table["outputs"].struct.unnest()
    if contract.task == "regression":
        return outputs.select("value", "interval").unnest("interval")
    probabilities = outputs["probabilities"].struct.unnest()
    return probabilities.select(pl.all().name.prefix("probability_")).with_columns(outputs["label"])


def refuse_private(contract: PredictionContract) -> None:
    """Refuse a contract with private columns: the log does not have what was asked."""
    private = [column.name for column in contract.inputs if column.private]
    if private:
        raise DataError(
            f"{contract.use_case} cannot be replayed: the log has keyed hashes of its private columns, "
            f"and not their values: {', '.join(private)}"
        )
