"""The form of a segment: what its header and its records say, and the table that they become.

::

    {"format": 2, "model": "flight_delay", "version": "7", "contract": {...}}
    blocks of records, see :mod:`aforo.monitoring.records`

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
from aforo.monitoring.records import FORMAT, Record, read_blocks

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile(r"[0-9]{1,18}")


class SegmentHeader(Specification):
    """First line of a segment; all of its records are predictions of this version."""

    format: int = FORMAT
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

    A last block that is cut off was never acknowledged, and is left out.

    Raises
    ------
    DataError
        It is not a segment.
    """
    head, _, body = data.partition(b"\n")
    try:
        header = SegmentHeader.model_validate_json(head)
        if header.format != FORMAT or not _MODEL.fullmatch(header.model) or not _VERSION.fullmatch(header.version):
            raise DataError("its header is not one that this version of aforo writes")
        records = read_blocks(body)
        table = _table(records, header) if records else empty_table(header.contract)
    except ValidationError as error:
        raise DataError(f"{path.name}: its header is not that of a segment: {error.errors()[0]['msg']}") from error
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path.name}: its records are not those of its contract: {error}") from error
    except DataError as error:
        raise DataError(f"{path.name}: {error.message}") from error
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
        "features": pl.Struct({column.name: _type(column) for column in contract.inputs}),
        "outputs": pl.Struct(_outputs(contract)),
    }


def _table(records: list[Record], header: SegmentHeader) -> pl.DataFrame:
    contract = header.contract
    rows = [row for record in records for row in record.rows]
    for record in records:
        if len(record.rows) != len(record.predictions):
            raise DataError(f"request {record.request_id!r} has {len(record.predictions)} predictions for its rows")
    if any(len(row) != len(contract.inputs) for row in rows):
        raise DataError(f"its records are not those of its contract: a row has not {len(contract.inputs)} values")
    predictions = [prediction for record in records for prediction in record.predictions]
    requests = pl.DataFrame(
        {
            "request_id": [record.request_id for record in records],
            "rows": [len(record.rows) for record in records],
            "at": [record.at for record in records],
            "caller": [record.caller for record in records],
            "entities": pl.Series([record.entities for record in records], dtype=pl.List(pl.String)),
            "role": [record.role for record in records],
            "phase": [record.phase for record in records],
        }
    )
    features = pl.struct(
        _feature(column, values) for column, values in zip(contract.inputs, zip(*rows, strict=True), strict=True)
    )
    return (
        requests.with_columns(row=pl.int_ranges("rows", dtype=pl.Int32))
        .explode("row")
        .select(
            "request_id",
            "row",
            pl.from_epoch("at", time_unit="us").dt.replace_time_zone("UTC"),
            "caller",
            pl.col("entities").list.get(pl.col("row"), null_on_oob=True).alias("entity"),
            pl.lit(header.model).alias("model"),
            pl.lit(header.version).alias("version"),
            "role",
            "phase",
            features.alias("features"),
            pl.Series("outputs", predictions, dtype=pl.Struct(_outputs(contract))),
        )
        .with_columns(_phase(contract))
        .cast(pl.Schema(table_schema(contract)))
    )


def _phase(contract: PredictionContract) -> pl.Expr:
    """Return which phase spoke: for two phases each prediction says so, else the record does for all of its rows."""
    return pl.col("outputs").struct.field("phase") if contract.two_phase else pl.col("phase")


def _feature(column: ColumnContract, values: tuple[Any, ...]) -> pl.Series:
    """Return the values of a column, with null for a missing one."""
    stored = _type(column)
    if stored == pl.String():
        return pl.Series(column.name, values, dtype=stored).replace({"": None})
    if stored == pl.Boolean():
        return pl.Series(column.name, values, dtype=stored)
    # Protocols give whole numbers as 10 or 10.0.
    return pl.Series(column.name, values, dtype=pl.Float64()).fill_nan(None).cast(stored)


def _type(column: ColumnContract) -> pl.DataType:
    """Return the column's type; hashes of private values are texts."""
    if column.type == "string" or column.private:
        return pl.String()
    if column.type == "boolean":
        return pl.Boolean()
    return pl.Int64() if column.type == "integer" else pl.Float64()


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
