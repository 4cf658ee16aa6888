"""Profiles, anomalies, and the page that shows them."""

from __future__ import annotations

import datetime as dt
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from aforo.contracts.run import RowAccount
from aforo.contracts.table import TableContract
from aforo.data.anomalies import anomalies
from aforo.data.profiles import as_numbers, edges_of, profile_of, range_of, recorded_ranges
from aforo.data.report import snapshot_report
from aforo.data.snapshots import SnapshotManifest, Snapshots
from aforo.storage import LocalStore

CONTRACT = TableContract.model_validate(
    {
        "columns": [
            {"name": "id", "type": "integer", "role": "key"},
            {"name": "day", "type": "date", "role": "info", "description": "Day of <sale> & return"},
            {"name": "at", "type": "timestamp", "role": "time"},
            {"name": "name", "type": "string", "role": "info", "private": True},
            {"name": "size", "type": "number", "role": "feature", "unit": "cm", "nullable": True},
            {"name": "colour", "type": "string", "role": "feature", "categories": ["red", "<script>"]},
            {"name": "sold", "type": "boolean", "role": "target"},
        ]
    }
)
ROWS = pl.DataFrame(
    {
        "id": range(100),
        "day": [dt.date(2013, 1, 1) + dt.timedelta(days=number) for number in range(100)],
        "at": [dt.datetime(2013, 1, 1, number % 24, tzinfo=dt.UTC) for number in range(100)],
        "name": [f"customer {number}" for number in range(100)],
        "size": [None if number % 4 == 0 else float(number) for number in range(100)],
        "colour": ["red", "<script>"] * 50,
        "sold": [number % 3 == 0 for number in range(100)],
    }
)
PRIVATE = frozenset({"name"})


@pytest.fixture
def manifest(store: LocalStore) -> SnapshotManifest:
    return Snapshots(store).take([ROWS], source="sales & <co>.csv", private=PRIVATE)


def page_of(manifest: SnapshotManifest, warnings: list[str] | None = None) -> str:
    profiles = profile_of(ROWS.iter_slices(7), edges_of([recorded_ranges(manifest.columns)]), PRIVATE)
    account = RowAccount(read=110, kept=100, quarantined=3, duplicates=2, set_aside={"cancelled": 5})
    return snapshot_report("Sales", manifest, profiles, contract=CONTRACT, account=account, warnings=warnings or [])


def test_a_histogram_counts_what_numpy_counts() -> None:
    values = np.random.default_rng(1).normal(size=1_000)
    table = pl.DataFrame({"x": values})
    edges = edges_of([range_of([table])], bins=16)

    (profile,) = profile_of(table.iter_slices(33), edges)

    assert profile.histogram is not None
    assert list(profile.histogram.counts) == np.histogram(values, bins=16)[0].tolist()
    np.testing.assert_allclose(profile.histogram.edges, np.histogram(values, bins=16)[1])


def test_the_ranges_on_record_are_those_of_the_rows(manifest: SnapshotManifest) -> None:
    recorded = recorded_ranges(manifest.columns)

    assert recorded == range_of(ROWS.iter_slices(9))
    assert recorded["day"][:2] == (as_numbers(ROWS["day"]).min(), as_numbers(ROWS["day"]).max())


def test_few_whole_numbers_have_a_bin_each() -> None:
    table = pl.DataFrame({"day": [1, 1, 2, 31], "share": [0.0, 0.5, 0.5, 1.0]})

    day, share = profile_of([table], edges_of([range_of([table])]))

    assert day.histogram is not None
    assert share.histogram is not None
    assert day.histogram.counts == (2, 1, *[0] * 28, 1)
    assert len(share.histogram.counts) == 40


def test_frequencies_are_counted_over_all_parts_and_given_up_beyond_a_thousand() -> None:
    table = pl.DataFrame({"few": ["a", "b", None, "a"] * 500, "many": [f"v{number}" for number in range(2_000)]})

    few, many = profile_of(table.iter_slices(300), {})

    assert (few.frequencies, few.missing) == ({"a": 1_000, "b": 500}, 0.25)
    assert many.frequencies is None


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(manifest: SnapshotManifest) -> None:
    text = page_of(manifest)
    page = _Page(text)

    assert page.open == []
    assert page.addresses == []
    assert "script" not in page.tags
    assert not re.search(r"url\(|@import|https?://", text)
    assert page.tags.count("article") == len(CONTRACT.columns)
    assert page.tags.count("svg") == 4  # id, day, at, size


def test_the_page_reads_in_the_dark_and_on_a_phone(manifest: SnapshotManifest) -> None:
    text = page_of(manifest)

    assert "prefers-color-scheme: dark" in text
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text


def test_what_data_says_is_never_markup(manifest: SnapshotManifest) -> None:
    text = page_of(manifest, ["column '<b>' is odd"])

    assert "&lt;script&gt;" in text
    assert "sales &amp; &lt;co&gt;.csv" in text
    assert "Day of &lt;sale&gt; &amp; return" in text
    assert "column &#x27;&lt;b&gt;&#x27; is odd" in text


def test_private_values_are_not_on_the_page(manifest: SnapshotManifest) -> None:
    text = page_of(manifest)

    assert "customer" not in text
    assert "private: its values are not shown" in text


def test_the_page_accounts_for_every_row(manifest: SnapshotManifest) -> None:
    text = re.sub(r"<[^>]+>", " ", page_of(manifest))

    for fact in ("read 110", "quarantined 3", "repeated 2", "cancelled 5"):
        assert fact in " ".join(text.split())


def test_a_snapshot_within_its_contract_has_no_anomaly(manifest: SnapshotManifest) -> None:
    assert anomalies(manifest.columns, manifest.rows, CONTRACT) == []


def test_each_way_to_break_a_contract_is_named(store: LocalStore) -> None:
    rows = ROWS.with_columns(
        pl.lit(3.5).alias("size"),
        pl.when(pl.col("id") < 2).then(None).otherwise(pl.lit("green")).alias("colour"),
        pl.col("id").cast(pl.Float64),
        pl.lit(1).alias("extra"),
    ).drop("day")
    manifest = Snapshots(store).take([rows], source="x")
    narrow = CONTRACT.model_copy(
        update={
            "columns": tuple(
                column.model_copy(update={"minimum": 4, "maximum": 3}) if column.name == "size" else column
                for column in CONTRACT.columns
            )
        }
    )

    assert anomalies(manifest.columns, manifest.rows, narrow) == [
        "column 'id' is Float64; the contract says integer (Int64)",
        "column 'day' is in the contract, and not in the table",
        "column 'size' goes down to 3.5; the contract says 4",
        "column 'size' goes up to 3.5; the contract says 3",
        "feature 'size' has the one value 3.5",
        "column 'colour' is missing in 2 rows; the contract says never",
        "column 'colour' has green; the contract does not",
        "column 'extra' is in the table, and not in the contract",
    ]
