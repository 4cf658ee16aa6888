"""Split: each row of the snapshot into one of four parts, the same for ever."""

from __future__ import annotations

import logging
import time

import numpy as np
import polars as pl

from aforo.contracts.run import PARTS, PartSummary, RunKey, SplitManifest, ValidateManifest
from aforo.data.splits import LEFT_OUT, Placement, missing_slices, spanning_keys
from aforo.errors import DataError
from aforo.use_case import UseCase
from aforo.workflows.provenance import inputs_of
from aforo.workflows.wiring import Platform

logger = logging.getLogger(__name__)


def run(use_case: UseCase, run_key: RunKey, platform: Platform) -> SplitManifest:
    """Write which part each row of the snapshot belongs to.

    Raises
    ------
    DataError
        A part is empty, or the split tears apart what must stay together.
    """
    started = time.monotonic()
    validated = platform.runs.read(use_case.name, run_key, ValidateManifest)
    inputs = inputs_of(use_case, validated)
    if done := platform.runs.finished(use_case.name, run_key, SplitManifest, inputs):
        return done
    placement, means = _place(use_case, validated.snapshot_id, platform)
    total = int(placement.counts.sum())
    empty = [part for part, count in zip(PARTS, placement.counts, strict=False) if count == 0]
    if empty:
        new = "" if use_case.bridge is None else f"; before {use_case.bridge.since}, rows are for training alone"
        raise DataError(
            f"{use_case.name}: the split leaves no row for {', '.join(empty)} out of {total} rows{new}",
            hint="give the part a larger share or another period, or split by a key with more values",
        )
    _refuse_torn_keys(use_case, placement)
    warnings = _warnings(use_case, placement)
    for warning in warnings:
        logger.warning(warning, extra={"use_case": use_case.name})
    membership = platform.runs.key(use_case.name, run_key, "split", "membership.parquet")
    manifest = SplitManifest(
        use_case=use_case.name,
        run_key=run_key,
        inputs=inputs,
        seconds=time.monotonic() - started,
        snapshot_id=validated.snapshot_id,
        split_digest=placement.hexdigest(),
        membership=platform.runs.write_table(membership, pl.DataFrame({"part": placement.codes})),
        parts={
            part: PartSummary(rows=rows, share=rows / total, target_mean=mean)
            for part, rows, mean in zip(PARTS, placement.counts.tolist(), means, strict=False)
        },
        left_out=int(placement.counts[LEFT_OUT]),
        warnings=tuple(warnings),
    )
    logger.info(
        "rows split",
        extra={
            "use_case": use_case.name,
            "split_digest": manifest.split_digest,
            "left_out": manifest.left_out,
            **{part: summary.rows for part, summary in manifest.parts.items()},
        },
    )
    return platform.runs.write(manifest)


def _place(use_case: UseCase, snapshot_id: str, platform: Platform) -> tuple[Placement, list[float | None]]:
    """Place every row, with one part of the snapshot in memory; return the mean target of each part as well."""
    placement = Placement(
        use_case.build_split(),
        rows=platform.snapshots.read_manifest(snapshot_id).rows,
        key=use_case.data.key,
        watched=(*use_case.split.together, *_clusters(use_case), *_slices(use_case)),
    )
    sums = np.zeros(LEFT_OUT + 1)
    bridge = use_case.build_bridge()
    with platform.progress("split", unit="rows") as advance:
        for table in platform.snapshots.parts(snapshot_id):
            if bridge is not None:
                bridge.refuse_old_values(table)
            codes = placement.add(table)
            sums += np.bincount(codes.to_numpy(), weights=use_case.targets(table), minlength=LEFT_OUT + 1)
            advance(table.height)
    if use_case.task.kind == "multiclass":
        return placement, [None] * (LEFT_OUT + 1)
    return placement, [float(mean) for mean in sums / np.maximum(1, placement.counts)]


def _refuse_torn_keys(use_case: UseCase, placement: Placement) -> None:
    for name in use_case.split.together:
        torn = spanning_keys(*placement.where_are(name))
        if torn is not None:
            raise DataError(
                f"{use_case.name}: split.together: {torn}",
                hint=f"split by a key that keeps {name!r} in one part, such as `kind: grouped, by: [{name}]`",
            )


def _warnings(use_case: UseCase, placement: Placement) -> list[str]:
    """What is allowed, and still deserves a look: clusters torn apart, and slices that a part knows nothing of."""
    warnings = []
    for name in _clusters(use_case):
        torn = spanning_keys(*placement.where_are(name))
        if torn is not None:
            warnings.append(f"{torn}; rows of one {name!r} are not independent, so figures may flatter")
    for name in _slices(use_case):
        warnings += missing_slices(*placement.where_are(name))
    return warnings


def _clusters(use_case: UseCase) -> tuple[str, ...]:
    by = use_case.evaluation.bootstrap.by
    return () if by is None else (by,)


def _slices(use_case: UseCase) -> tuple[str, ...]:
    classes = () if use_case.task.kind == "regression" else (use_case.data.target.name,)
    return tuple(dict.fromkeys((*classes, *use_case.split.slices)))
