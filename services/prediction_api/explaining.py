"""What exactly is wrong with a request: every bad value of every row, each with its JSON pointer.

This is the slow reader behind :mod:`prediction_api.decoding`. It has the last word: a request in which it
finds nothing wrong is answered.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Annotated, Any, get_args

import msgspec
import orjson

from aforo.contracts.explanation import ExplanationMethod
from aforo.contracts.table import LARGEST_EXACT_INTEGER, ColumnContract
from prediction_api.problems import Fault, Problem, pointer

Value = str | float | bool | datetime | date | None
Row = tuple[Value, ...]
"""The values of one row in the order of the contract's columns; ``None`` is missing."""

# A body of the largest size can hold a million bad values; nobody reads that many.
MAX_FAULTS = 1_000
MOMENT = Annotated[datetime, msgspec.Meta(tz=True)]
_SHAPES = 'expected {"rows": [{...}, ...]} or {"columns": [...], "data": [[...], ...]}'


class Faults:
    """The faults found so far: the first :data:`MAX_FAULTS` of them, and how many there are."""

    def __init__(self) -> None:
        self.listed: list[Fault] = []
        self.count = 0

    def add(self, place: str, code: str, message: str) -> None:
        self.count += 1
        if len(self.listed) < MAX_FAULTS:
            self.listed.append(Fault(place, code, message))

    def raise_if_any(self, code: str = "invalid_rows") -> None:
        """Raise the problem of this code if a fault was found."""
        if self.count:
            first = self.listed[0]
            more = f", and {self.count - 1:,} more" if self.count > 1 else ""
            raise Problem(
                code,
                f"{first.pointer or 'the body'}: {first.message}{more}",
                faults=tuple(self.listed),
                fault_count=self.count,
            )


def explain(body: bytes, columns: Sequence[ColumnContract]) -> tuple[list[Row], ExplanationMethod | None]:
    """Return what :meth:`RowDecoder.decode` does, or raise the problem that lists all that is wrong with ``body``."""
    document = parse(body)
    faults = Faults()
    rows: list[Row] = []
    method: ExplanationMethod | None = None
    if isinstance(document, dict):
        method = _method(document.get("explain", False), faults)
    if not isinstance(document, dict):
        faults.add("", "wrong_type", f"expected an object, got {kind_of(document)}; {_SHAPES}")
    elif "rows" in document and "columns" not in document and "data" not in document:
        for key in document.keys() - {"rows", "explain"}:
            faults.add(pointer(key), "unknown_field", f"unknown field; {_SHAPES}")
        rows = list(_keyed_rows(document["rows"], columns, faults))
    elif "columns" in document and "data" in document and "rows" not in document:
        for key in document.keys() - {"columns", "data", "explain"}:
            faults.add(pointer(key), "unknown_field", f"unknown field; {_SHAPES}")
        rows = list(_ordered_rows(document["columns"], document["data"], columns, faults))
    else:
        faults.add("", "wrong_shape", _SHAPES)
    faults.raise_if_any()
    return rows, method


def _method(wanted: object, faults: Faults) -> ExplanationMethod | None:
    """Return how rows are to be explained; what is wrong with ``wanted`` is added to ``faults``."""
    if isinstance(wanted, bool):
        return "shapley" if wanted else None
    if not isinstance(wanted, dict):
        faults.add(
            pointer("explain"), "wrong_type", f'expected true, false or {{"method": ...}}, got {kind_of(wanted)}'
        )
        return None
    for key in wanted.keys() - {"method"}:
        faults.add(pointer("explain", key), "unknown_field", "unknown field; expected method")
    method = wanted.get("method", "shapley")
    for known in get_args(ExplanationMethod):
        if method == known:
            return known  # type: ignore[no-any-return]
    faults.add(
        pointer("explain", "method"),
        "category_not_allowed",
        f"expected one of {', '.join(get_args(ExplanationMethod))}, got {_shown(method)}",
    )
    return None


def parse(body: bytes, *, nan_is_missing: bool = False) -> Any:
    """Return ``body`` as JSON, with ``NaN`` and ``Infinity`` let through for :func:`check_value` to name.

    Parameters
    ----------
    nan_is_missing
        Whether ``NaN`` stands for ``null``.

    Raises
    ------
    Problem
        ``malformed_json``.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in body and b"Infinity" not in body and b"number is infinity" not in str(error).encode():
            raise Problem("malformed_json", f"the body is not JSON: {error}") from error
        return _parse_with_constants(body, nan_is_missing)


def _parse_with_constants(body: bytes, nan_is_missing: bool) -> Any:
    try:
        # Digits beyond what float64 can hold are infinity, not a thousand-digit integer.
        document = json.loads(
            body,
            parse_int=lambda digits: int(digits) if len(digits) < 310 else math.inf,
            parse_constant=lambda name: None if nan_is_missing and name == "NaN" else float(name),
        )
        json.dumps(document, ensure_ascii=False).encode()  # refuses half a surrogate pair, which json.loads lets pass
        return document
    except (ValueError, RecursionError) as error:
        raise Problem("malformed_json", f"the body is not JSON: {error}") from error


def _keyed_rows(rows: object, columns: Sequence[ColumnContract], faults: Faults) -> Iterator[Row]:
    if not isinstance(rows, list):
        faults.add(pointer("rows"), "wrong_type", f"expected an array of objects, got {kind_of(rows)}")
        return
    names = {column.name for column in columns}
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            faults.add(pointer("rows", number), "wrong_type", f"expected an object, got {kind_of(row)}")
            continue
        for key in row:
            if key not in names:
                faults.add(pointer("rows", number, key), "unknown_field", f"the model takes {', '.join(sorted(names))}")
        values: list[Value] = []
        for column in columns:
            place = pointer("rows", number, column.name)
            if column.name in row:
                values.append(check_value(row[column.name], column, place, faults))
            else:
                values.append(None)
                if not column.nullable:
                    faults.add(place, "missing_field", f"expected {expected(column)}")
        yield tuple(values)


def _ordered_rows(order: object, data: object, columns: Sequence[ColumnContract], faults: Faults) -> Iterator[Row]:
    if not isinstance(order, list) or not all(isinstance(name, str) for name in order):
        faults.add(pointer("columns"), "wrong_type", "expected an array of column names")
        return
    if not isinstance(data, list):
        faults.add(pointer("data"), "wrong_type", f"expected an array of arrays, got {kind_of(data)}")
        return
    by_name = {column.name: column for column in columns}
    for place, name in enumerate(order):
        if name not in by_name:
            faults.add(pointer("columns", place), "unknown_field", f"the model takes {', '.join(sorted(by_name))}")
        elif name in order[:place]:
            faults.add(pointer("columns", place), "repeated_field", f"{name} is there already")
    for column in columns:
        if column.name not in order and not column.nullable:
            faults.add(pointer("columns"), "missing_field", f"{column.name} is missing: expected {expected(column)}")
    if faults.count:
        return
    for number, row in enumerate(data):
        if not isinstance(row, list):
            faults.add(pointer("data", number), "wrong_type", f"expected an array, got {kind_of(row)}")
            continue
        if len(row) != len(order):
            faults.add(
                pointer("data", number), "wrong_length", f"expected {len(order)} values as in columns, got {len(row)}"
            )
            continue
        values: dict[str, Value] = {
            name: check_value(value, by_name[name], pointer("data", number, place), faults)
            for place, (name, value) in enumerate(zip(order, row, strict=True))
        }
        yield tuple(values.get(column.name) for column in columns)


def check_value(value: object, column: ColumnContract, place: str, faults: Faults) -> Value:
    """Return ``value`` as the contract's type; what is wrong with it is added to ``faults``.

    Parameters
    ----------
    value
        A value as JSON gives it.
    place
        JSON pointer of the value.
    """
    if value is None or (column.type == "string" and value == ""):
        if not column.nullable:
            faults.add(place, "null_not_allowed", f"expected {expected(column)}, got {_shown(value)}")
        return None
    if column.type == "string":
        if not isinstance(value, str):
            _wrong_type(value, column, place, faults)
        elif column.categories is not None and value not in column.categories:
            faults.add(place, "category_not_allowed", f"expected {expected(column)}, got {_shown(value)}")
        else:
            return value
        return None
    if column.type == "boolean":
        if isinstance(value, bool):
            return value
        _wrong_type(value, column, place, faults)
        return None
    if column.type in ("timestamp", "date"):
        try:
            return msgspec.convert(value, MOMENT if column.type == "timestamp" else date)
        except msgspec.ValidationError:
            _wrong_type(value, column, place, faults)
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        _wrong_type(value, column, place, faults)
        return None
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        faults.add(place, "not_finite", f"expected {expected(column)}, got {_shown(value)}")
        return None
    if column.type == "integer" and not number.is_integer():
        _wrong_type(value, column, place, faults)
        return None
    if (
        (column.minimum is not None and number < column.minimum)
        or (column.maximum is not None and number > column.maximum)
        or (column.type == "integer" and abs(value) > LARGEST_EXACT_INTEGER)
    ):
        faults.add(place, "out_of_range", f"expected {expected(column)}, got {_shown(value)}")
        return None
    return number


def expected(column: ColumnContract) -> str:
    """Return what ``column`` allows, as the end of a sentence."""
    if column.type == "string":
        if column.categories is None:
            text = "a string"
        elif len(column.categories) <= 20:
            text = f"one of {', '.join(column.categories)}"
        else:
            text = f"one of {', '.join(column.categories[:20])} and {len(column.categories) - 20} more"
    elif column.type == "boolean":
        text = "true or false"
    elif column.type == "timestamp":
        text = "a time in ISO 8601 with its offset, such as 2013-07-04T21:30:00Z"
    elif column.type == "date":
        text = "a date (YYYY-MM-DD)"
    else:
        text = "an integer" if column.type == "integer" else "a number"
        if column.minimum is not None and column.maximum is not None:
            text += f" from {column.minimum:g} to {column.maximum:g}"
        elif column.minimum is not None:
            text += f" of at least {column.minimum:g}"
        elif column.maximum is not None:
            text += f" of at most {column.maximum:g}"
        elif column.type == "integer":
            text += " of at most 2^53 in magnitude"
        if column.unit:
            text += f" ({column.unit})"
    return f"{text} or null" if column.nullable else text


def kind_of(value: object) -> str:
    """Return what JSON calls ``value``'s type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


def _wrong_type(value: object, column: ColumnContract, place: str, faults: Faults) -> None:
    faults.add(place, "wrong_type", f"expected {expected(column)}, got {_shown(value)}")


def _shown(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, list | dict):
        return kind_of(value)
    text = orjson.dumps(value).decode() if not isinstance(value, int) or abs(value) < 2**63 else "a larger number"
    return text if len(text) <= 60 else f"{text[:57]}..."
