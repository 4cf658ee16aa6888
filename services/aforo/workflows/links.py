"""The links of a certificate: how each kind of thing is compared, then and now."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl

from aforo.contracts.certificate import Link, LinkName
from aforo.contracts.run import PARTS
from aforo.export.parity import largest_difference
from aforo.workflows.fitting import Matrix

_SHOWN = 5


def compare_digests(name: LinkName, recorded: str, found: str, differences: Sequence[str] = ()) -> Link:
    """Return the link of two digests or ids, with what is known of how they differ."""
    status: Literal["same", "differs"] = "same" if recorded == found else "differs"
    return Link(name=name, status=status, recorded=recorded, found=found, differences=_first(differences))


def compare_documents(
    name: LinkName,
    digests: tuple[str, str, str],
    then: Mapping[str, object],
    now: Mapping[str, object],
    *,
    show_values: bool = True,
) -> Link:
    """Return the link of something that was recorded in full.

    Parameters
    ----------
    digests
        The signed one, that of ``then``, and that of ``now``.
    show_values
        ``False`` says only that an entry is new, gone or changed.
    """
    signed, recorded, found = digests
    differences = []
    if recorded != signed:
        differences.append(f"provenance.json was changed: it has {recorded[:12]}, the signed bundle {signed[:12]}")
    for place in sorted({*then, *now}):
        if place not in then or place not in now or then[place] != now[place]:
            shown = f": {_said(then, place)} -> {_said(now, place)}" if show_values else f" {_fate(then, now, place)}"
            differences.append(f"{place}{shown}")
    return compare_digests(name, signed, found, differences)


def compare_outputs(
    name: LinkName, recorded: Mapping[str, Matrix], found: Mapping[str, Matrix], tolerance: float
) -> Link:
    """Return the link of a graph's outputs, (N, K) each; the same bits, or close enough."""
    difference = largest_difference(found, recorded)
    status: Literal["same", "close", "differs"] = "differs"
    if difference <= tolerance:
        status = "close" if difference else "same"
    rows = len(next(iter(recorded.values())))
    said = (f"largest difference {difference:.3g} over {rows} rows",) if difference else ()
    return Link(name=name, status=status, recorded=_digest(recorded), found=_digest(found), differences=said)


def moved_rows(recorded: pl.Series, found: pl.Series) -> list[str]:
    """Return how many rows are in another part now, (N,) codes each."""
    pairs = pl.DataFrame({"then": recorded, "now": found})
    moves = pairs.filter(pl.col("then") != pl.col("now")).group_by("then", "now").len().sort("then", "now")
    return [f"{count} rows moved from {PARTS[then]} to {PARTS[now]}" for then, now, count in moves.iter_rows()]


def leaves(value: object, place: str = "") -> dict[str, object]:
    """Return the leaves of a document, each under its path; in a list an entry goes by its name, if it has one."""
    inner: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        inner = [(f"{place}.{name}" if place else str(name), item) for name, item in value.items()]
    elif isinstance(value, list | tuple):
        inner = [(f"{place}[{_label(item, position)}]", item) for position, item in enumerate(value)]
    if not inner:
        return {place: value}
    return {path: leaf for name, item in inner for path, leaf in leaves(item, name).items()}


def _label(item: object, position: int) -> str:
    return str(item["name"]) if isinstance(item, Mapping) and item.get("name") else str(position)


def _digest(outputs: Mapping[str, Matrix]) -> str:
    total = hashlib.sha256()
    for name in sorted(outputs):
        total.update(name.encode() + b"\0" + np.ascontiguousarray(outputs[name], dtype="<f8").tobytes())
    return total.hexdigest()


def _first(differences: Sequence[str]) -> tuple[str, ...]:
    left = len(differences) - _SHOWN
    return (*differences[:_SHOWN], *([f"and {left} more"] if left > 0 else []))


def _said(document: Mapping[str, object], place: str) -> str:
    return repr(document[place]) if place in document else "(absent)"


def _fate(then: Mapping[str, object], now: Mapping[str, object], place: str) -> str:
    return "is new" if place not in then else "is gone" if place not in now else "changed"
