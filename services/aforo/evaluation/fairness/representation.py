"""Before training: who is in the data, who is missing, and what the labels say about each group.

A model can only be as fair as the rows it learns from. *Distribution bias* is a group that the rows hold too little of;
*representation bias* is a label that one group carries more often than another, rightly or because of how labels
came to be. Neither is judged here: they are shown before a model exists that could be blamed for them.

References
----------
Suresh and Guttag, A Framework for Understanding Sources of Harm throughout the Machine Learning Life Cycle, 2021.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.specification import Specification
from aforo.contracts.table import TableContract
from aforo.evaluation.answers import Floats
from aforo.evaluation.bootstrap import Interval
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.fairness.lens import FairnessSpec, values_of
from aforo.evaluation.fairness.proxies import Proxies, find_proxies
from aforo.evaluation.slices.cutting import Cut, cut
from aforo.evaluation.slices.means import slice_means
from aforo.evaluation.slices.search import said


class RepresentedGroup(Specification):
    """One group in the data.

    Attributes
    ----------
    share
        Of all rows (0-1).
    expected
        The share it should have: the reference, or that of equal groups.
    missing
        Share (0-1) of its values that are missing, over the columns that candidates read.
    most_missing
        The column that it lacks most often, with that share; ``None`` if nothing is missing.
    labels
        Share of each label among its rows (of the positive one only, where there are two), or the mean of the target.
    """

    where: dict[str, str]
    rows: int
    share: Interval
    expected: float
    missing: float
    most_missing: tuple[str, float] | None
    labels: dict[str, Interval]


class Representation(Specification):
    """The groups by one column, or by several at once.

    Attributes
    ----------
    has_reference
        Whether the expected shares were given, and not only equal.
    proxies
        What stands for the column in the rest of the data; ``None`` for groups by several columns.
    """

    by: tuple[str, ...]
    groups: tuple[RepresentedGroup, ...]
    has_reference: bool
    proxies: Proxies | None


def represent(
    table: pl.DataFrame,
    columns: TableContract,
    contract: PredictionContract,
    y: NDArray[Any],
    spec: FairnessSpec,
    *,
    groups: NDArray[Any] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[Representation, ...]:
    """Return who is in the rows, cut by cut.

    Parameters
    ----------
    table
        All rows (N); the sensitive columns and those that candidates read.
    y
        Class indices or values, shape (N,).
    groups
        Which rows belong together, shape (N,); ``None`` if they are independent.
    """
    clusters = Clusters.of_rows(len(y), groups)
    labels = _labels(contract, y)
    missing = {column.name: table.get_column(column.name).is_null().to_numpy() for column in contract.inputs}
    found = []
    for names in spec.by:
        slices = cut(table, columns, names)
        reference = spec.reference.get(names[0], {}) if len(names) == 1 else {}
        absent = _absent(slices, columns, reference)
        equal = 1 / (len(slices.labels) + len(absent))

        def expected(label: str, reference: dict[str, float] = reference, equal: float = equal) -> float:
            return reference.get(label, 0.0) if reference else equal

        by_label = {label: _intervals(values, slices, clusters, confidence) for label, values in labels.items()}
        shares = [_share(slices.codes == code, clusters, confidence) for code in range(len(slices.labels))]
        there = [
            RepresentedGroup(
                where=slices.named(code),
                rows=int((slices.codes == code).sum()),
                share=share,
                expected=expected(slices.labels[code][0]),
                labels={label: intervals[code] for label, intervals in by_label.items()},
                **_lacking(missing, slices.codes == code),
            )
            for code, share in enumerate(shares)
        ]
        nobody = Interval(value=0, lower=0, upper=0)
        there += [
            RepresentedGroup(
                where={names[0]: label}, rows=0, share=nobody, expected=expected(label), missing=0,
                most_missing=None, labels={},
            )
            for label in absent
        ]  # fmt: skip
        alone = len(names) == 1 and len(slices.labels) > 1
        found.append(
            Representation(
                by=names,
                groups=tuple(there),
                has_reference=bool(reference),
                proxies=find_proxies(table, contract, slices, clusters, spec.proxy_rows, seed) if alone else None,
            )
        )
    return tuple(found)


def concerns(found: Sequence[Representation]) -> list[str]:
    """Return what deserves a person's look before anything is trained, a sentence each."""
    return [sentence for one in found for sentence in (*_of_shares(one), *_of_proxies(one))]


def _of_shares(one: Representation) -> Iterator[str]:
    for group in one.groups:
        if not group.rows:
            yield f"fairness: no row has {said(group.where)}"
        elif one.has_reference and group.share.upper < group.expected:
            yield (
                f"fairness: {said(group.where)} in {group.share.value:.1%} of the rows "
                f"[{group.share.lower:.1%}, {group.share.upper:.1%}], and in {group.expected:.1%} of the reference"
            )


def _of_proxies(one: Representation) -> Iterator[str]:
    if one.proxies is not None and one.proxies.is_told and not one.proxies.is_read:
        first = one.proxies.columns[0]
        yield (
            f"fairness: no candidate reads {one.by[0]}, and what they read tells it (AUC {one.proxies.auc:.2f}), "
            f"most of all {first.column} ({first.auc:.2f})"
        )


def _labels(contract: PredictionContract, y: NDArray[Any]) -> dict[str, Floats]:
    if contract.task == "regression":
        return {f"mean of {contract.target}": np.asarray(y, dtype=np.float64)}
    classes = list(enumerate(contract.classes))
    shown = classes[1:] if contract.task == "binary" else classes
    return {label: (y == index).astype(np.float64) for index, label in shown}


def _absent(slices: Cut, columns: TableContract, reference: dict[str, float]) -> list[str]:
    """Return the values that ought to be there, and that no row has."""
    if len(slices.columns) > 1:
        return []
    there = {label for (label,) in slices.labels}
    return [
        value for value in dict.fromkeys((*values_of(columns[slices.columns[0]]), *reference)) if value not in there
    ]


def _lacking(missing: dict[str, NDArray[np.bool_]], rows: NDArray[np.bool_]) -> dict[str, Any]:
    shares = {name: float(is_missing[rows].mean()) for name, is_missing in missing.items()}
    name = max(shares, key=lambda column: shares[column])
    most = (name, shares[name]) if shares[name] else None
    return {"missing": float(np.mean(list(shares.values()))), "most_missing": most}


def _share(inside: NDArray[np.bool_], clusters: Clusters, confidence: float) -> Interval:
    whole = Cut(("all",), np.zeros(len(inside), dtype=np.int64), (("rows",),))
    return _intervals(inside.astype(np.float64), whole, clusters, confidence)[0]


def _intervals(values: Floats, slices: Cut, clusters: Clusters, confidence: float) -> list[Interval]:
    """Return the mean of each slice; where its rows are of one group, nothing is known of chance but the range."""
    means = slice_means(values, slices, clusters)
    lower, upper = means.bounds(confidence)
    unknown = np.isnan(lower)
    lower, upper = np.where(unknown, values.min(), lower), np.where(unknown, values.max(), upper)
    # What lies between the extremes of the values has its mean there, too.
    lower, upper = np.maximum(lower, values.min()), np.minimum(upper, values.max())
    return [
        Interval(value=float(m), lower=float(low), upper=float(high))
        for m, low, high in zip(means.mean, lower, upper, strict=True)
    ]
