"""What is asked of a model beside what it learnt from: a planted skew is named, and nothing else is."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import ks_2samp

from aforo.contracts.table import ColumnContract
from aforo.data.profiles import ColumnProfile
from aforo.data.skew import Skew, SkewSpec, skew
from aforo.data.skew_report import skew_report
from aforo.data.snapshots import Snapshots
from aforo.errors import DataError
from aforo.storage import LocalStore

INPUTS = (
    ColumnContract(name="delay", type="number", role="feature", nullable=True, unit="min"),
    ColumnContract(name="departures", type="integer", role="feature"),
    ColumnContract(name="origin", type="string", role="feature"),
    ColumnContract(name="holiday", type="boolean", role="feature"),
    ColumnContract(name="name", type="string", role="feature", private=True, nullable=True),
)
Sides = tuple[Skew, tuple[tuple[ColumnProfile, ColumnProfile], ...]]


def flights(rows: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    known = pl.Series(rng.random(rows) < 0.9)
    return pl.DataFrame(
        {
            "id": range(rows),
            "delay": rng.normal(12, 9, rows).round(1),
            "departures": rng.integers(0, 40, rows),
            "origin": rng.choice(["EWR", "JFK", "LGA"], rows, p=[0.4, 0.35, 0.25]),
            "holiday": rng.random(rows) < 0.1,
            "name": [f"passenger {number}" for number in range(rows)],
        }
    ).with_columns(pl.when(known).then("delay").alias("delay"))


@pytest.fixture
def beside(store: LocalStore) -> Any:
    """Compare requests with a snapshot of 5,000 flights."""
    snapshots = Snapshots(store)
    manifest = snapshots.take([flights(5_000, seed=1)], source="flights", private=frozenset({"name"}))

    def compare(asked: pl.DataFrame, spec: SkewSpec | None = None) -> Sides:
        parts = snapshots.parts(manifest.snapshot_id)
        return skew(manifest, parts, asked.iter_slices(313), INPUTS, spec or SkewSpec())

    return compare


def skewed(found: Sides) -> dict[str, tuple[str, ...]]:
    return {column.column: column.faults for column in found[0].skewed}


def test_requests_like_the_rows_of_training_are_not_skewed(beside: Any) -> None:
    found = beside(flights(2_000, seed=2))

    assert skewed(found) == {}
    assert (found[0].trained_rows, found[0].asked_rows) == (5_000, 2_000)


def test_a_unit_that_changed_on_the_way_is_named_and_nothing_else(beside: Any) -> None:
    asked = flights(2_000, seed=2)

    found = skewed(beside(asked.with_columns(pl.col("delay") / 60)))

    assert list(found) == ["delay"]
    (said,) = found["delay"]
    assert said.startswith("the distributions are 0.")
    # Smirnov: sqrt(ln(2 / 0.001) / 2 * (1/4,500 + 1/1,800)), of about so many that are not missing.
    assert said.endswith("apart; 0.1 is allowed, and chance gives 0.054")


def test_the_distance_is_that_of_kolmogorov_and_smirnov_also_beyond_the_extremes_of_training(beside: Any) -> None:
    asked = flights(2_000, seed=2).with_columns(pl.col("delay") * 2)

    (delay,) = (column for column in beside(asked)[0].columns if column.column == "delay")

    trained = flights(5_000, seed=1)["delay"].drop_nulls()
    exact = ks_2samp(trained, asked["delay"].drop_nulls()).statistic
    assert exact - 0.005 < delay.difference.distance <= exact + 1e-12
    beyond = (asked["delay"] > trained.max()) | (asked["delay"] < trained.min())
    assert delay.unseen == pytest.approx(beyond.drop_nulls().mean(), abs=1e-12)
    assert any(said.startswith(f"{delay.unseen:.1%} of the values are beyond ") for said in delay.faults)


def test_a_feed_that_fell_silent_is_named(beside: Any) -> None:
    silent = flights(2_000, seed=2).with_columns(pl.lit(None, pl.Float64).alias("delay"))

    found = skewed(beside(silent))

    assert list(found) == ["delay"]
    assert found["delay"][0].startswith("100.0% are missing, ")
    assert found["delay"][0].endswith(" in training; 5.0% more or less are allowed")


def test_a_text_that_training_never_saw_is_named(beside: Any) -> None:
    asked = flights(2_000, seed=2)
    few = asked.with_columns(pl.when(pl.col("id") < 5).then(pl.lit("TEB")).otherwise("origin").alias("origin"))
    many = asked.with_columns(pl.when(pl.col("id") < 80).then(pl.lit("TEB")).otherwise("origin").alias("origin"))

    assert skewed(beside(few)) == {}
    assert skewed(beside(many)) == {"origin": ("4.0% of the values are new, as 'TEB'; 1.0% may be",)}


def test_a_share_that_moved_is_named_with_its_value(beside: Any) -> None:
    asked = flights(2_000, seed=2).with_columns(holiday=pl.col("id") % 2 == 0)

    (said,) = skewed(beside(asked))["holiday"]

    assert "most of all in the share of 'true'" in said or "most of all in the share of 'false'" in said


def test_a_few_rows_prove_nothing(beside: Any) -> None:
    assert skewed(beside(flights(3, seed=2).with_columns(delay=pl.lit(None, pl.Float64), origin=pl.lit("JFK")))) == {}


@pytest.mark.parametrize(
    "bounds",
    [
        {"max_distance": 1, "max_unseen": 1},
        {"columns": {"delay": {"max_distance": 1, "max_unseen": 1}}},
    ],
)
def test_what_may_differ_is_no_skew(beside: Any, bounds: dict[str, Any]) -> None:
    asked = flights(2_000, seed=2).with_columns(pl.col("delay") * 3)

    assert skewed(beside(asked, SkewSpec.model_validate(bounds))) == {}
    assert set(skewed(beside(asked))) == {"delay"}


def test_a_column_takes_over_the_bounds_that_are_not_its_own() -> None:
    spec = SkewSpec.model_validate({"max_missing": 0.3, "columns": {"month": {"max_distance": 1}}})

    assert spec.of("month") == SkewSpec(max_distance=1, max_missing=0.3)
    assert spec.of("day") == SkewSpec(max_missing=0.3)


def test_of_a_private_column_only_what_is_missing_is_compared(beside: Any) -> None:
    asked = flights(2_000, seed=2).with_columns(name=pl.lit("8a5f" * 8))
    gone = asked.with_columns(name=pl.lit(None, pl.String))

    found, profiles = beside(asked)

    (name,) = (column for column in found.columns if column.column == "name")
    assert (name.difference.distance, name.unseen, name.faults) == (None, None, ())
    page = skew_report("flights", "all", found, profiles)
    for hidden in ("passenger", "8a5f"):
        assert hidden not in page
        assert hidden not in found.model_dump_json()
    assert list(skewed(beside(gone))) == ["name"]


def test_the_page_shows_the_skewed_columns_first_and_loads_nothing(beside: Any) -> None:
    asked = flights(2_000, seed=2).with_columns(pl.lit("<TEB>").alias("origin"), pl.col("departures") + 60)
    found, profiles = beside(asked)

    page = skew_report("flights", "all of it", found, profiles)

    titles = [line.removeprefix("<h2>").removesuffix("</h2>") for line in page.splitlines() if line.startswith("<h2>")]
    assert titles[:2] == ["departures", "origin"]
    assert sorted(titles) == sorted(column.name for column in INPUTS)
    assert page.count('<p class="bad">') == sum(len(column.faults) for column in found.columns)
    assert "&lt;TEB&gt;" in page
    assert "<TEB>" not in page
    for outside in ("http://", "https://", "<script", " src="):
        assert outside not in page


@settings(max_examples=50)
@given(st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), min_size=1), st.integers(1, 9))
def test_a_table_is_not_skewed_beside_itself(
    tmp_path_factory: pytest.TempPathFactory, values: list[float | None], size: int
) -> None:
    snapshots = Snapshots(LocalStore(tmp_path_factory.mktemp("store")))
    frame = pl.DataFrame({"delay": values}, schema={"delay": pl.Float64})
    manifest = snapshots.take([frame], source="values")

    found, _ = skew(manifest, [frame], frame.iter_slices(size), INPUTS[:1], SkewSpec())

    (column,) = found.columns
    assert column.difference.distance in (0.0, None)
    assert column.unseen in (0.0, None)


def test_requests_without_an_input_or_no_requests_are_refused(beside: Any) -> None:
    with pytest.raises(DataError, match="the table of requests has no origin, holiday; expected every input"):
        beside(flights(10, seed=2).drop("origin", "holiday"))
    with pytest.raises(DataError, match="there are no requests to compare"):
        beside(flights(0, seed=2))


@pytest.mark.parametrize("share", [-0.1, 1.1, "many"])
def test_a_bound_is_a_share(share: object) -> None:
    with pytest.raises(ValidationError, match=r"columns\.delay\.max_distance"):
        SkewSpec.model_validate({"columns": {"delay": {"max_distance": share}}})


def test_a_bound_of_a_column_that_nobody_reads_is_refused() -> None:
    spec = SkewSpec.model_validate({"columns": {"month": {"max_distance": 1}}})

    with pytest.raises(ValueError, match=r"skew\.columns names 'month', which no candidate reads; they read day, hour"):
        spec.refuse_unknown(["hour", "day"])
