"""What there is to say about a use case: its question, its newest champion and the figures behind it, its split."""

from __future__ import annotations

import json

from pydantic import TypeAdapter

from aforo.contracts.run import EvaluateManifest, RunKey
from aforo.contracts.specification import Specification
from aforo.data.casting import DTYPES
from aforo.data.splits import Dialect, StratifiedSplit, postgres_functions
from aforo.data.splits.sql import FUNCTION
from aforo.errors import UseCaseError
from aforo.evaluation.bootstrap import Interval
from aforo.use_case import UseCase
from aforo.workflows.ingest import read_sources
from aforo.workflows.wiring import Platform

# Of the gate's report only this is read: a champion may have been judged by rules that are no more.
_FIGURES = TypeAdapter(dict[str, dict[str, Interval]])


class ChampionSummary(Specification):
    """The champion as its run described it.

    Attributes
    ----------
    figures
        Predictor (candidate, baseline, champion of the time, ...) to metric to its interval, on the test part.
    """

    version: str
    candidate: str
    run_key: str
    snapshot_id: str
    model_digest: str
    reasons: tuple[str, ...]
    figures: dict[str, dict[str, Interval]]
    url: str | None


class Description(Specification):
    """One use case."""

    use_case: str
    title: str
    task: str
    inputs: tuple[str, ...]
    classes: tuple[str, ...]
    champion: ChampionSummary | None


def describe(use_case: UseCase, platform: Platform) -> Description:
    """Return what is known about a use case now."""
    return Description(
        use_case=use_case.name,
        title=use_case.title,
        task=use_case.task.kind,
        inputs=tuple(column.name for column in use_case.inputs),
        classes=use_case.classes,
        champion=_champion(use_case, platform),
    )


def split_sql(use_case: UseCase, dialect: Dialect, table: str) -> str:
    """Return a query that gives each row of a warehouse's table its part, by the name of the part.

    For PostgreSQL the functions that it needs, if any, are created above it.

    Parameters
    ----------
    table
        Name of a table that has the contract's columns, those that are joined and derived as well.
    """
    schema = {column.name: DTYPES[column.type] for column in use_case.data.columns}
    part = use_case.build_split().sql(schema, dialect)
    query = f"SELECT *, {part} AS part\nFROM {table};"
    return f"{postgres_functions()}\n{query}" if dialect == "postgres" and FUNCTION in part else query


def balanced_seeds(use_case: UseCase, platform: Platform) -> dict[str, int]:
    """Return the seeds of a stratified split under which each stratum of the rows that there are now has its shares.

    Raises
    ------
    UseCaseError
        The split is of another kind.
    """
    strategy = use_case.split.build(use_case.data.key)
    if not isinstance(strategy, StratifiedSplit):
        raise UseCaseError(
            f"{use_case.name}: the split is {use_case.split.kind!r}; only a stratified one has seeds to balance",
            hint="write `split: {kind: stratified, by: [...]}`",
        )
    return strategy.balance(platform.snapshots.scan(read_sources(use_case, platform).snapshot_id))


def _champion(use_case: UseCase, platform: Platform) -> ChampionSummary | None:
    version = platform.versions.champion(use_case.name)
    if version is None:
        return None
    run_key = version.tags["run_key"]
    evaluated = platform.runs.read(use_case.name, RunKey(run_key), EvaluateManifest)
    return ChampionSummary(
        version=version.version,
        candidate=version.tags["candidate"],
        run_key=run_key,
        snapshot_id=version.tags["snapshot_id"],
        model_digest=version.tags["model_digest"],
        reasons=evaluated.reasons,
        figures=_FIGURES.validate_python(json.loads(platform.runs.read_bytes(evaluated.report))["metrics"]),
        url=version.url,
    )
