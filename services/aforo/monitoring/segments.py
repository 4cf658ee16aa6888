"""The form of a segment: what its header and its lines say, and the table that they become.

::

    {"format": 1, "model": "flight_delay", "version": "7", "contract": {...}}
    {"request_id": "...", "at": 1795243368696849, "caller": "web shop", "entities": null, "role": "answer",
     "phase": "full", "rows": [{"origin": "JFK", ...}], "predictions": [{"label": "late", ...}]}

The table has one row a predicted row:

=============== ===================== ===================================================================
column          type                  what it holds
=============== ===================== ===================================================================
``request_id``  string                as in the answer
``row``         int32                 place of the row in the request, from 0
``at``          timestamp, UTC, µs    when it was answered
``caller``      string                name of the caller's key; "" where keys are off
``entity``      string                keyed hash of what the caller named the row by, or null
``model``       string
``version``     string                which version predicted
``role``        string                ``answer``, or ``shadow`` for a copy that nobody was answered with
``phase``       string                which phase of a two-phase prediction spoke; ``full`` otherwise
``features``    struct                one field a column of the contract; a private one holds keyed hashes
``outputs``     struct                the row's prediction, as in the answer
=============== ===================== ===================================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.specification import Specification
from aforo.contracts.table import ColumnContract
from aforo.errors import DataError

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile(r"[0-9]{1,18}")


class SegmentHeader(Specification):
    """First line of a segment; all of its lines are predictions of this version."""

    format: int = 1
    model: str
    version: str
    contract: PredictionContract


@dataclass(frozen=True)
class Segment:
    """A segment that was read.

    Attributes
    ----------
    name
        Unique for ever; the objects made from the segment are named after it.
    table
        See the top of this module.
    """

    name: str
    header: SegmentHeader
    table: pl.DataFrame


def read_segment(path: Path, data: bytes) -> Segment:
    """Return the segment in ``data``, the bytes of the file at ``path``.

    A last line that is cut off was never acknowledged, and is left out.

    Raises
    ------
    DataError
        It is not a segment.
    """
    head, _, body = data.partition(b"\n")
    try:
        header = SegmentHeader.model_validate_json(head)
        if header.format != 1 or not _MODEL.fullmatch(header.model) or not _VERSION.fullmatch(header.version):
            raise DataError(f"{path.name}: its header is not one that this version of aforo writes")
        lines = body[: body.rfind(b"\n") + 1]
        table = _table(lines, header) if lines else empty_table(header.contract)
    except ValidationError as error:
        raise DataError(f"{path.name}: its header is not that of a segment: {error.errors()[0]['msg']}") from error
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path.name}: its lines are not those of its contract: {error}") from error
    return Segment(path.name.removesuffix(path.suffix), header, table)


def empty_table(contract: PredictionContract) -> pl.DataFrame:
    """Return the table without rows."""
    return pl.DataFrame(schema=table_schema(contract))


def table_schema(contract: PredictionContract) -> dict[str, pl.DataType]:
    """Return the columns of the table with their types."""
    return {
        "request_id": pl.String(),
        "row": pl.Int32(),
        "at": pl.Datetime("us", "UTC"),
        "caller": pl.String(),
        "entity": pl.String(),
        "model": pl.String(),
        "version": pl.String(),
        "role": pl.String(),
        "phase": pl.String(),
        "features": pl.Struct({column.name: _type(column, stored=True) for column in contract.inputs}),
        "outputs": pl.Struct(_outputs(contract)),
    }


def _table(lines: bytes, header: SegmentHeader) -> pl.DataFrame:
    contract = header.contract
    features = pl.Struct({column.name: _type(column, stored=False) for column in contract.inputs})
    table = pl.read_ndjson(
        lines,
        schema={
            "request_id": pl.String(),
            "at": pl.Int64(),
            "caller": pl.String(),
            "entities": pl.List(pl.String()),
            "role": pl.String(),
            "phase": pl.String(),
            "rows": pl.List(features),
            "predictions": pl.List(pl.Struct(_outputs(contract))),
        },
    )
    needed = ("request_id", "at", "caller", "role", "phase", "rows", "predictions")
    absent = [name for name in needed if table[name].null_count()]
    if absent:
        raise DataError(f"a line has no {', '.join(absent)}")
    rows = table.with_columns(row=pl.int_ranges(pl.col("rows").list.len(), dtype=pl.Int32)).explode(
        "row", "rows", "predictions"
    )
    schema = table_schema(contract)
    return rows.select(
        "request_id",
        "row",
        pl.from_epoch("at", time_unit="us").dt.replace_time_zone("UTC"),
        "caller",
        pl.col("entities").list.get(pl.col("row"), null_on_oob=True).alias("entity"),
        pl.lit(header.model).alias("model"),
        pl.lit(header.version).alias("version"),
        "role",
        _phase(contract),
        pl.struct(_feature(column) for column in contract.inputs).alias("features"),
        pl.col("predictions").alias("outputs"),
    ).cast(pl.Schema(schema))


def _phase(contract: PredictionContract) -> pl.Expr:
    """Return which phase spoke: for two phases each prediction says so, else the line does for all of its rows."""
    return pl.col("predictions").struct.field("phase") if contract.two_phase else pl.col("phase")


def _feature(column: ColumnContract) -> pl.Expr:
    """Return the values of a column, with null for a missing one."""
    value = pl.col("rows").struct.field(column.name)
    return value.replace({"": None}) if _type(column, stored=True) == pl.String() else value


def _type(column: ColumnContract, *, stored: bool) -> pl.DataType:
    """Return the column's type in a line, or as stored: protocols give whole numbers as 10 or 10.0."""
    if column.type == "string" or column.private:
        return pl.String()
    if column.type == "boolean":
        return pl.Boolean()
    return pl.Int64() if stored and column.type == "integer" else pl.Float64()


def _outputs(contract: PredictionContract) -> dict[str, Any]:
    abstention = {"abstained": pl.Boolean(), "abstain_reason": pl.String()}
    if contract.task == "regression":
        return {
            "value": pl.Float64(),
            "interval": pl.Struct({"lower": pl.Float64(), "upper": pl.Float64()}),
            **abstention,
        }
    return {
        "probabilities": pl.Struct(dict.fromkeys(contract.classes, pl.Float64())),
        "label": pl.String(),
        "confidence": pl.Float64(),
        **abstention,
        **({"phase": pl.String()} if contract.two_phase else {}),
    }
