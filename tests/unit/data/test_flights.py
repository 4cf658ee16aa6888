"""336,776 real flights, their weather and planes: the contract holds, and every row is accounted for."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import yaml

from aforo.contracts.run import RowAccount
from aforo.contracts.table import Role
from aforo.data.ingestion import DataSpec, Ingested, ingest
from aforo.data.snapshots import Snapshots
from aforo.data.splits import FingerprintSplitSpec, split_digest
from aforo.settings import Settings
from aforo.storage import LocalStore


@pytest.fixture(scope="module")
def spec() -> DataSpec:
    text = Path(__file__).with_name("flights.yaml").read_text(encoding="utf-8")
    return DataSpec.model_validate(yaml.safe_load(text)["data"])


@pytest.fixture(scope="module")
def flights(spec: DataSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ingested, pl.DataFrame]:
    return _ingest(spec, tmp_path_factory.mktemp("here"))


def _ingest(spec: DataSpec, folder: Path) -> tuple[Ingested, pl.DataFrame]:
    store = LocalStore(folder / "store")
    settings = Settings.from_environment({"AFORO_HOME": str(folder)})
    ingested = ingest(spec, folder=folder, store=store, settings=settings, progress=lambda _: None)
    return ingested, Snapshots(store).load(ingested.snapshot_id)


def test_every_flight_is_accounted_for(flights: tuple[Ingested, pl.DataFrame]) -> None:
    # Counted in R's nycflights13: 8,255 flights without departure time, 9,430 without arrival delay.
    assert flights[0].rows == RowAccount(
        read=336_776,
        kept=327_346,
        quarantined=0,
        duplicates=0,
        set_aside={"cancelled": 8_255, "diverted": 9_430 - 8_255},
    )


def test_a_known_flight_has_its_weather_plane_and_label(flights: tuple[Ingested, pl.DataFrame]) -> None:
    first = flights[1].row(0, named=True)

    # First line of flights.csv; weather.csv at EWR, 2013-01-01T10:00:00Z; planes.csv, N14228.
    assert (first["carrier"], first["flight"], first["origin"], first["dest"]) == ("UA", 1545, "EWR", "IAH")
    assert (first["temperature"], first["humidity"], first["wind_speed"]) == (39.02, 64.43, 12.658579999999999)
    assert (first["plane_year"], first["plane_age"], first["seats"]) == (1999, 14, 149)
    assert (first["weekday"], first["arr_delay"], first["late"]) == (2, 11.0, False)
    assert first["date"].isoformat() == "2013-01-01"


def test_late_means_fifteen_minutes_or_more(flights: tuple[Ingested, pl.DataFrame]) -> None:
    table = flights[1]

    assert (table["late"] == (table["arr_delay"] >= 15)).all()
    assert table.filter(arr_delay=15)["late"].all()


def test_what_is_known_only_after_departure_is_marked(spec: DataSpec) -> None:
    leaks = {column.name for column in spec.with_role(Role.LEAK)}

    assert leaks == {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"}


def test_another_folder_gives_the_same_snapshot_and_the_same_split(
    spec: DataSpec, flights: tuple[Ingested, pl.DataFrame], tmp_path: Path
) -> None:
    ingested, table = _ingest(spec, tmp_path)
    split = FingerprintSplitSpec(key=("date",)).build()
    digests = {split_digest(rows.select(spec.key), split.assign(rows)) for rows in (table, flights[1])}

    assert ingested.snapshot_id == flights[0].snapshot_id
    assert len(digests) == 1


def test_the_days_of_the_year_fall_into_four_parts(flights: tuple[Ingested, pl.DataFrame]) -> None:
    table = flights[1]
    parts = FingerprintSplitSpec(key=("date",)).build().assign(table)

    days = table.with_columns(parts).group_by("date").agg(pl.col("part").unique())

    assert days["part"].list.len().max() == 1
    assert days.height == 365
    assert set(parts) == {0, 1, 2, 3}
