from __future__ import annotations

import doctest
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from aforo.contracts.windows import WindowSpec
from aforo.data import hiding
from aforo.data.hiding import hide_windows
from aforo.data.ingestion import DataSpec

ROWS = pl.DataFrame({"id": range(20_000)}).with_columns(delays=pl.col("id") * 2.0, departures=pl.lit(7))
COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "integer", "role": "key"},
    {"name": "asked", "type": "timestamp", "role": "info"},
    {"name": "left", "type": "timestamp", "role": "leak", "nullable": True},
    {"name": "delay", "type": "number", "role": "leak", "known_at": "left"},
    {"name": "departures", "type": "integer", "role": "feature", "nullable": True},
    {"name": "delays", "type": "number", "role": "feature", "nullable": True},
    {"name": "late", "type": "boolean", "role": "target"},
]


def window(hidden: float, stream: str = "departures", *columns: str) -> WindowSpec:
    known = {
        "departures": {"kind": "count", "minutes": 60},
        "delays": {"kind": "mean", "of": "delay", "minutes": 60},
    }
    return WindowSpec.model_validate(
        {
            "stream": stream,
            "known_at": "left",
            "asked_at": "asked",
            "by": ["id"],
            "hidden": hidden,
            "columns": {name: known[name] for name in columns or known},
        }
    )


def hidden_from(table: pl.DataFrame, column: str = "delays") -> set[int]:
    return set(table.filter(pl.col(column).is_null()).get_column("id"))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_the_share_is_that_of_the_rows(share: float) -> None:
    found = hide_windows(ROWS, [window(share)], ["id"])

    # Four standard deviations of so many coins.
    spread = 4 * (share * (1 - share) / ROWS.height) ** 0.5
    assert abs(found["delays"].null_count() / ROWS.height - share) < spread


def test_all_columns_of_a_window_are_hidden_together_and_no_other_value_changes() -> None:
    found = hide_windows(ROWS, [window(0.3)], ["id"])

    assert found.schema == ROWS.schema
    assert found.get_column("departures").is_null().equals(found.get_column("delays").is_null())
    seen = found.drop_nulls()
    assert seen.equals(ROWS.filter(pl.col("id").is_in(seen.get_column("id").implode())))


def test_a_row_is_hidden_from_by_its_key_whatever_comes_before_or_after_it() -> None:
    whole = hidden_from(hide_windows(ROWS, [window(0.2)], ["id"]))
    shuffled = hide_windows(ROWS.sample(fraction=1, shuffle=True, seed=1), [window(0.2)], ["id"])
    some = hide_windows(ROWS.slice(500, 3000), [window(0.2)], ["id"])

    assert hidden_from(shuffled) == whole
    assert hidden_from(some) == {row for row in whole if 500 <= row < 3500}


def test_with_a_larger_share_the_same_rows_and_more_are_hidden_from() -> None:
    assert hidden_from(hide_windows(ROWS, [window(0.1)], ["id"])) < hidden_from(
        hide_windows(ROWS, [window(0.2)], ["id"])
    )


def test_two_streams_are_hidden_independently_of_each_other() -> None:
    windows = [window(0.5, "departures", "departures"), window(0.5, "arrivals", "delays")]

    found = hide_windows(ROWS, windows, ["id"])

    both = len(hidden_from(found, "departures") & hidden_from(found, "delays"))
    assert both == pytest.approx(ROWS.height / 4, rel=0.05)


def test_nothing_is_hidden_unless_it_is_asked_for() -> None:
    assert hide_windows(ROWS, [window(0)], ["id"]) is ROWS


@pytest.mark.parametrize(
    ("hidden", "key", "message"),
    [
        (0.6, {}, "less than or equal to 0.5"),
        (-0.1, {}, "greater than or equal to 0"),
        (0.2, {"role": "info"}, r"windows\[0\]\.hidden chooses rows .* no column has the role 'key'"),
        (0.2, {"type": "number"}, r"'id' is a number"),
    ],
)
def test_what_cannot_be_hidden_is_refused(hidden: float, key: dict[str, str], message: str) -> None:
    declared = {**window(0).model_dump(), "hidden": hidden, "by": ["city"]}
    city = {"name": "city", "type": "string", "role": "info"}
    columns = [{**COLUMNS[0], **key}, city, *COLUMNS[1:]]
    source = {"kind": "csv", "path": "table.csv"}

    with pytest.raises(ValidationError, match=message):
        DataSpec.model_validate({"source": source, "columns": columns, "windows": [declared]})


def test_what_is_served_knows_nothing_of_what_training_hid() -> None:
    source = {"kind": "csv", "path": "table.csv"}
    documents = [
        {"source": source, "columns": COLUMNS, "windows": [window(share).model_dump()]} for share in (0.0, 0.2)
    ]

    plain, hiding = (DataSpec.model_validate(document).streams[0] for document in documents)

    assert hiding == plain
    assert "hidden" not in hiding.model_dump()


def test_the_example_of_the_docstring_is_true() -> None:
    assert doctest.testmod(hiding) == (0, 4)
