"""What the tests of the data layer share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from aforo.data.ingestion import DataSpec, Ingested, ingest
from aforo.settings import Settings
from aforo.storage import LocalStore

COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "integer", "role": "key"},
    {"name": "city", "type": "string", "role": "feature", "categories": ["Oslo", "Lima"]},
    {
        "name": "amount",
        "type": "number",
        "role": "feature",
        "minimum": 0,
        "maximum": 100,
        "unit": "EUR",
        "nullable": True,
    },
    {"name": "late", "type": "boolean", "role": "target"},
]


@pytest.fixture
def columns() -> list[dict[str, Any]]:
    """A small table contract: id, city, amount, late."""
    return [dict(column) for column in COLUMNS]


@pytest.fixture
def run_ingest(tmp_path: Path, store: LocalStore, settings: Settings) -> Callable[..., Ingested]:
    """Ingest a source, given as `kind: csv` at `table.csv` unless said otherwise, under the small contract."""

    def run(**document: Any) -> Ingested:
        document = {"source": {"kind": "csv", "path": "table.csv"}, "columns": COLUMNS, **document}
        spec = DataSpec.model_validate(document)
        return ingest(spec, folder=tmp_path, store=store, settings=settings, progress=lambda _: None)

    return run


@pytest.fixture
def quarantined(store: LocalStore) -> Callable[[Ingested], list[dict[str, Any]]]:
    """The lines of an ingest's quarantine table."""

    def read(ingested: Ingested) -> list[dict[str, Any]]:
        assert ingested.quarantine is not None
        return pl.read_parquet(store.url(ingested.quarantine)).to_dicts()

    return read
