"""From the bytes of a request to raw rows, checked against the contract, and how they are to be explained.

The contract becomes a typed decoder when a version is loaded, so a good request is parsed and checked in one
pass (0.3 µs a row of 14 columns). A request that does not pass is read again by
:mod:`prediction_api.explaining`, which is slow, lists everything that is wrong, and has the last word.

A row is a tuple of values in the order of the contract's columns; ``None`` is a missing value.
Numbers parse as float64 with correct rounding, so the number in a request and the one in a table are the same bits.
"""

from __future__ import annotations

import math
import struct
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from aforo.contracts.explanation import ExplanationMethod
from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import LARGEST_EXACT_INTEGER, ColumnContract
from aforo.export.packing import NUMBERS, Packing
from prediction_api.explaining import MOMENT, Row, explain
from prediction_api.problems import Fault, Problem, pointer
from prediction_api.windows import WindowFiller

# Orders of columns whose decoder is kept; a client uses one or a few.
_KEPT_ORDERS = 64
# So few that it takes longer to begin with a column than to put all columns into one.
_FEW_ROWS = 64
_LARGEST = sys.float_info.max
# Numbers of values that are made one array: those of a row, and of batches as they come.
_KEPT_PACKERS = 1_024


class _Explain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    method: ExplanationMethod = "shapley"


class RowDecoder:
    """Decodes ``{"rows": [{...}, ...]}`` and ``{"columns": [...], "data": [[...], ...]}`` for one contract.

    Both may have ``"explain": true`` or ``"explain": {"method": "baseline"}``.

    Parameters
    ----------
    contract
        What the model takes.
    max_rows
        Largest number of rows in one request.
    windows
        Fills in the contract's windows; ``None`` if it has none.

    Attributes
    ----------
    columns
        What a request may hold, in the order that :meth:`admit` takes: the contract's inputs, then the times and keys
        of its windows.
    """

    def __init__(self, contract: PredictionContract, *, max_rows: int, windows: WindowFiller | None = None) -> None:
        self.columns = contract.inputs if windows is None else contract.request_columns
        self._names = tuple(column.name for column in self.columns)
        self._max_rows = max_rows
        self._windows = windows
        aliases = [f"c{i}" for i in range(len(self.columns))]  # a column may be called `class`
        row = msgspec.defstruct(
            "Row",
            [
                (alias, value_type(column), None) if column.nullable else (alias, value_type(column))
                for alias, column in zip(aliases, self.columns, strict=True)
            ],
            rename=dict(zip(aliases, self._names, strict=True)),
            kw_only=True,
            forbid_unknown_fields=True,
            gc=False,
        )
        request = msgspec.defstruct(
            "Request",
            [
                ("rows", list[row] | msgspec.UnsetType, msgspec.UNSET),  # type: ignore[valid-type]
                ("columns", list[str] | msgspec.UnsetType, msgspec.UNSET),
                ("data", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET),
                ("explain", bool | _Explain, False),
            ],
            forbid_unknown_fields=True,
        )
        self._request = msgspec.json.Decoder(request)
        self._may_be_empty = [p for p, c in enumerate(self.columns) if c.type == "string" and c.nullable]
        self._orders: dict[tuple[str, ...], _OrderedRows] = {}
        self._read_columns = _ColumnReader(self.columns).read

    def decode(self, body: bytes) -> tuple[list[Row], ExplanationMethod | None]:
        """Return the rows of ``body``, and how they are to be explained: not at all by default.

        Raises
        ------
        Problem
            ``malformed_json``, ``invalid_rows`` with every bad value, or ``too_many_rows``.
        """
        try:
            request: Any = self._request.decode(body)
            if request.rows is not msgspec.UNSET and request.columns is msgspec.UNSET is request.data:
                rows = list(map(msgspec.structs.astuple, request.rows))
            elif request.rows is msgspec.UNSET and request.columns is not msgspec.UNSET is not request.data:
                rows = self._ordered(tuple(request.columns)).decode(request.data)
            else:
                rows, method = explain(body, self.columns)
                return self.admit(rows), method
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _NotTheColumnsError):
            rows, method = explain(body, self.columns)
            return self.admit(rows), method
        if self._may_be_empty:
            rows = [self._without_empty(row) for row in rows]
        wanted = request.explain
        if wanted is False:
            return self.admit(rows), None
        return self.admit(rows), "shapley" if wanted is True else wanted.method

    def rows_of(self, columns: Mapping[str, Sequence[object]], count: int) -> list[Row] | None:
        """Return the rows of other protocols' columns, checked in one pass.

        Parameters
        ----------
        columns
            The ``count`` values of each column as JSON gives them; one that may be missing may be left out.

        Returns
        -------
        list or None
            ``None`` if not all values pass: :func:`prediction_api.explaining.check_value` has the last word on each.
        """
        return self._read_columns(columns, count)

    def admit(self, rows: list[Row]) -> list[Row]:
        """Return ``rows`` as the model takes them, if there is at least one and not too many.

        Raises
        ------
        Problem
            ``invalid_rows`` or ``too_many_rows``.
        """
        if not rows:
            raise Problem(
                "invalid_rows",
                "there are no rows; expected one or more",
                faults=(Fault(pointer("rows"), "no_rows", "expected one row or more"),),
            )
        if len(rows) > self._max_rows:
            raise Problem("too_many_rows", f"{len(rows):,} rows in one request; expected {self._max_rows:,} or fewer")
        return rows if self._windows is None else self._windows.fill(rows)

    def _without_empty(self, row: Row) -> Row:
        """Return ``row`` with ``None`` for an empty string, which is missing too."""
        for place in self._may_be_empty:
            if row[place] == "":
                return tuple([None if value == "" else value for value in row])
        return row

    def _ordered(self, order: tuple[str, ...]) -> _OrderedRows:
        decoder = self._orders.get(order)
        if decoder is None:
            if len(self._orders) >= _KEPT_ORDERS:
                self._orders.clear()
            decoder = self._orders[order] = _OrderedRows(self.columns, order)
        return decoder


class _NotTheColumnsError(Exception):
    """The names in ``columns`` are not those of the contract."""


class _OrderedRows:
    """Decodes ``data`` whose values come in the order of ``columns``."""

    def __init__(self, columns: Sequence[ColumnContract], order: tuple[str, ...]) -> None:
        by_name = {column.name: column for column in columns}
        if (
            len(set(order)) != len(order)
            or any(name not in by_name for name in order)
            or any(column.name not in order and not column.nullable for column in columns)
        ):
            raise _NotTheColumnsError
        types = tuple(value_type(by_name[name]) for name in order)
        self._decoder: msgspec.json.Decoder[list[Row]] = msgspec.json.Decoder(list[tuple[types]])  # type: ignore[valid-type]
        self._sort: Callable[[Row], Row] | None = None
        names = tuple(by_name)
        if order != names:
            places = [order.index(name) if name in order else None for name in names]
            self._sort = lambda row: tuple([None if place is None else row[place] for place in places])

    def decode(self, data: msgspec.Raw) -> list[Row]:
        rows = self._decoder.decode(data)
        return rows if self._sort is None else [self._sort(row) for row in rows]


class _ColumnReader:
    """Checks whole columns of values that are parsed already: some 10 ns a value."""

    def __init__(self, columns: Sequence[ColumnContract]) -> None:
        aliases = [f"c{i}" for i in range(len(columns))]
        self._lists = msgspec.defstruct(
            "Columns",
            [
                (alias, list[_parsed_type(column)] | None, None)  # type: ignore[misc]
                for alias, column in zip(aliases, columns, strict=True)
            ],
            rename={alias: column.name for alias, column in zip(aliases, columns, strict=True)},
            gc=False,
        )
        self._integers = [place for place, column in enumerate(columns) if column.type == "integer"]
        self._may_be_empty = [place for place, c in enumerate(columns) if c.type == "string" and c.nullable]

    def read(self, columns: Mapping[str, Sequence[object]], count: int) -> list[Row] | None:
        try:
            found = list(msgspec.structs.astuple(msgspec.convert(columns, self._lists)))
        except msgspec.ValidationError:
            return None
        for place, values in enumerate(found):
            if values is None:
                found[place] = [None] * count
        for place in self._integers:
            if float in map(type, found[place]) and not all(v is None or v == math.floor(v) for v in found[place]):
                return None
        for place in self._may_be_empty:
            if "" in found[place]:
                found[place] = [value or None for value in found[place]]
        return list(zip(*found, strict=True))


def _parsed_type(column: ColumnContract) -> Any:
    """Return the type that admits exactly the values of a column that are certain to be allowed once they are parsed.

    Whole numbers may come as 10.0, as pandas writes those of a column with gaps; infinities and NaN may come from
    binary data. What lies at a bound of exactness is left to the slow reader.
    """
    if column.type not in ("integer", "number"):
        return value_type(column)
    low, high = (-_LARGEST, _LARGEST)
    if column.type == "integer":
        low, high = (1 - LARGEST_EXACT_INTEGER, LARGEST_EXACT_INTEGER - 1)
    low = low if column.minimum is None else max(low, column.minimum)
    high = high if column.maximum is None else min(high, column.maximum)
    number = Annotated[float, msgspec.Meta(ge=low, le=high)]
    admitted: Any = value_type(column) | number if column.type == "integer" else number
    return admitted | None if column.nullable else admitted


def value_type(column: ColumnContract) -> Any:
    """Return the type that admits exactly the values that ``column`` allows."""
    admitted: Any
    if column.type == "string":
        if column.categories is not None:
            admitted = Literal[(*column.categories, "") if column.nullable else column.categories]
        else:
            admitted = str if column.nullable else Annotated[str, msgspec.Meta(min_length=1)]
    elif column.type == "boolean":
        admitted = bool
    elif column.type == "timestamp":
        admitted = MOMENT
    elif column.type == "integer":
        low, high = integer_bounds(column)
        admitted = Annotated[int, msgspec.Meta(ge=low, le=high)]
    else:
        admitted = Annotated[float, msgspec.Meta(ge=column.minimum, le=column.maximum)]
    return admitted | None if column.nullable else admitted


def integer_bounds(column: ColumnContract) -> tuple[int, int]:
    """Return the smallest and largest integer that ``column`` allows; float64 counts exactly up to 2**53."""
    low = -LARGEST_EXACT_INTEGER if column.minimum is None else math.ceil(column.minimum)
    high = LARGEST_EXACT_INTEGER if column.maximum is None else math.floor(column.maximum)
    return max(low, -LARGEST_EXACT_INTEGER), min(high, LARGEST_EXACT_INTEGER)


class ColumnFiller:
    """Turns rows into the graph's inputs, in few calls whatever the number of columns.

    Parameters
    ----------
    packing
        What the graph takes side by side (:attr:`aforo.export.inference.GraphPredictor.packing`).
    """

    def __init__(self, contract: PredictionContract, packing: Packing | None = None) -> None:
        packing = packing or Packing()
        places = {column.name: place for place, column in enumerate(contract.inputs)}
        texts = [column for column in contract.inputs if column.type == "string" and column.name not in packing.codes]
        self._text_names = [column.name for column in texts]
        self._text_places = [(places[column.name], column.nullable) for column in texts]
        self._number_names = [name for name in packing.columns or places if name not in self._text_names]
        self._number_places = [places[name] for name in self._number_names]
        self._coded = [
            (number, packing.codes[name].number)
            for number, name in enumerate(self._number_names)
            if name in packing.codes
        ]
        self._is_packed = bool(packing.columns)
        self._own = threading.local()

    def fill(self, rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
        """Return one array of shape (N, 1) a column, and one of shape (N, k) for those that are packed.

        Parameters
        ----------
        rows
            N tuples in the order of the contract's columns.

        Returns
        -------
        dict
            Object arrays of ``str`` with "" for a missing string; float64 with NaN for a missing number. Those of a
            single row are written over by this thread's next single row.
        """
        if len(rows) == 1:
            return self._fill_one(rows[0])
        columns = list(zip(*rows, strict=True))
        texts = [
            [value or "" for value in columns[place]] if nullable else columns[place]
            for place, nullable in self._text_places
        ]
        packed = [columns[place] for place in self._number_places]
        for number, code_of in self._coded:
            packed[number] = tuple(map(code_of, packed[number]))
        if len(rows) <= _FEW_ROWS:
            numbers = np.frombuffer(_float64(tuple(chain.from_iterable(packed))))
        else:
            numbers = np.frombuffer(b"".join(map(_float64, packed)))
        return self._by_name(np.array(texts, dtype=object).reshape(-1, len(rows), 1), numbers.reshape(-1, len(rows), 1))

    def _fill_one(self, row: Row) -> dict[str, NDArray[Any]]:
        """The same for one row, without making arrays."""
        own = self._own
        if not hasattr(own, "inputs"):
            texts = np.empty((len(self._text_places), 1, 1), dtype=object)
            numbers = np.empty((len(self._number_places), 1, 1))
            own.texts, own.numbers = texts[:, 0, 0], numbers.reshape(-1).view(np.uint8).data
            own.inputs = self._by_name(texts, numbers)
        if self._text_places:
            own.texts[:] = [row[place] or "" for place, _ in self._text_places]
        values = [row[place] for place in self._number_places]
        for number, code_of in self._coded:
            values[number] = code_of(values[number])
        own.numbers[:] = _float64(values)
        inputs: dict[str, NDArray[Any]] = own.inputs
        return inputs

    def _by_name(self, texts: NDArray[np.object_], numbers: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """Return the inputs of columns (D, N, 1). Those of a single row are the given arrays, seen in another shape."""
        inputs: dict[str, NDArray[Any]] = dict(zip(self._text_names, texts, strict=True))
        if self._is_packed:
            inputs[NUMBERS] = np.ascontiguousarray(numbers[:, :, 0].T)
        else:
            inputs.update(zip(self._number_names, numbers, strict=True))
        return inputs


def _float64(values: Sequence[Any]) -> bytes:
    """Return numbers as float64, NaN for ``None``, in half the time that numpy takes."""
    pack = _packer(len(values))
    try:
        return pack(*values)
    except struct.error:  # one is None
        return pack(*[math.nan if value is None else value for value in values])


@lru_cache(_KEPT_PACKERS)
def _packer(count: int) -> Callable[..., bytes]:
    return struct.Struct(f"{count}d").pack
