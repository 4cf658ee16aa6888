"""Split: each row of the snapshot into one of four parts, the same for ever."""

from __future__ import annotations

import logging
import time

import numpy as np
import polars as pl

from aforo.contracts.run import PARTS, PartSummary, RunKey, SplitManifest, ValidateManifest
from aforo.data.splits import LEFT_OUT, missing_slices, spanning_keys, split_digest
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
    table = platform.snapshots.load(validated.snapshot_id)
    codes = use_case.split.build(use_case.data.key).assign(table)
    counts = np.bincount(codes.to_numpy(), minlength=LEFT_OUT + 1)
    empty = [part for part, count in zip(PARTS, counts, strict=False) if count == 0]
    if empty:
        raise DataError(
            f"{use_case.name}: the split leaves no row for {', '.join(empty)} out of {table.height} rows",
            hint="give the part a larger share or another period, or split by a key with more values",
        )
    _refuse_torn_keys(use_case, table, codes)
    warnings = _warnings(use_case, table, codes)
    for warning in warnings:
        logger.warning(warning, extra={"use_case": use_case.name})
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
        left_out=int(counts[LEFT_OUT]),
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


def _refuse_torn_keys(use_case: UseCase, table: pl.DataFrame, codes: pl.Series) -> None:
    for name in use_case.split.together:
        torn = spanning_keys(table.get_column(name), codes)
        if torn is not None:
            raise DataError(
                f"{use_case.name}: split.together: {torn}",
                hint=f"split by a key that keeps {name!r} in one part, such as `kind: grouped, by: [{name}]`",
            )


def _warnings(use_case: UseCase, table: pl.DataFrame, codes: pl.Series) -> list[str]:
    """What is allowed, and still deserves a look: clusters torn apart, and slices that a part knows nothing of."""
    warnings = []
    cluster = use_case.evaluation.bootstrap.by
    torn = None if cluster is None else spanning_keys(table.get_column(cluster), codes)
    if torn is not None:
        warnings.append(f"{torn}; rows of one {cluster!r} are not independent, so figures may flatter")
    classes = () if use_case.task.kind == "regression" else (use_case.data.target.name,)
    for name in dict.fromkeys((*classes, *use_case.split.slices)):
        warnings += missing_slices(table.get_column(name), codes)
    return warnings


def _summary(use_case: UseCase, part: pl.DataFrame, total: int) -> PartSummary:
    targets = use_case.targets(part)
    return PartSummary(
        rows=part.height,
        share=part.height / total,
        target_mean=None if use_case.task.kind == "multiclass" else float(targets.mean()),
    )
