"""Split: each row of the snapshot into one of four parts, the same for ever."""

from __future__ import annotations

import logging
import time

import numpy as np
import polars as pl

from aforo.contracts.run import PARTS, PartSummary, RunKey, SplitManifest, ValidateManifest
from aforo.data.splits import split_digest
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
        A part is empty.
    """
    started = time.monotonic()
    validated = platform.runs.read(use_case.name, run_key, ValidateManifest)
    inputs = inputs_of(use_case, validated)
    if done := platform.runs.finished(use_case.name, run_key, SplitManifest, inputs):
        return done
    table = platform.snapshots.load(validated.snapshot_id)
    codes = use_case.split.build().assign(table)
    counts = np.bincount(codes.to_numpy(), minlength=len(PARTS))
    empty = [part for part, count in zip(PARTS, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            f"{use_case.name}: the split leaves no row for {', '.join(empty)} out of {table.height} rows",
            hint="give the part a larger share, or split by a key with more values",
        )
    manifest = SplitManifest(
        use_case=use_case.name,
        run_key=run_key,
        inputs=inputs,
        seconds=time.monotonic() - started,
        snapshot_id=validated.snapshot_id,
        split_digest=split_digest(table.select(use_case.data.key or table.columns), codes),
        membership=platform.runs.write_table(
            platform.runs.key(use_case.name, run_key, "split", "membership.parquet"), pl.DataFrame({"part": codes})
        ),
        parts={part: _summary(use_case, table.filter(codes == code), table.height) for code, part in enumerate(PARTS)},
    )
    logger.info(
        "rows split",
        extra={
            "use_case": use_case.name,
            "split_digest": manifest.split_digest,
            **{part: summary.rows for part, summary in manifest.parts.items()},
        },
    )
    return platform.runs.write(manifest)


def _summary(use_case: UseCase, part: pl.DataFrame, total: int) -> PartSummary:
    targets = use_case.targets(part)
    return PartSummary(
        rows=part.height,
        share=part.height / total,
        target_mean=None if use_case.task.kind == "multiclass" else float(targets.mean()),
    )
