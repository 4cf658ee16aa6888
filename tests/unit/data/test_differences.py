from __future__ import annotations

import polars as pl

from aforo.data.differences import row_differences

THEN = pl.DataFrame({"id": [1, 2, 3], "name": ["a", "b", None], "size": [1.0, None, 3.0]})


def test_the_same_rows_in_another_order_do_not_differ() -> None:
    assert row_differences(THEN, THEN.reverse(), ["id"]) == []
    assert row_differences(THEN, THEN.reverse(), []) == []


def test_rows_that_went_and_came_are_shown_by_their_key() -> None:
    now = pl.DataFrame({"id": [1, 2, 4], "name": ["a", "b", None], "size": [1.0, None, 3.0]})

    assert row_differences(THEN, now, ["id"]) == ["1 row(s) gone: id=3", "1 row(s) new: id=4"]


def test_changed_values_are_shown_with_their_row_and_null_is_a_value() -> None:
    now = pl.DataFrame({"id": [1, 2, 3], "name": ["a", "c", None], "size": [None, None, 3.5]})

    assert row_differences(THEN, now, ["id"]) == [
        "name changed in 1 row(s): id=2: 'b' -> 'c'",
        "size changed in 2 row(s): id=1: 1.0 -> None; id=3: 3.0 -> 3.5",
    ]


def test_without_a_key_a_changed_value_is_one_row_gone_and_one_new() -> None:
    now = THEN.with_columns(size=pl.Series([1.0, None, 9.0]))

    assert row_differences(THEN, now, []) == [
        "1 row(s) gone: id=3, name=None, size=3.0",
        "1 row(s) new: id=3, name=None, size=9.0",
    ]


def test_without_a_key_a_repeated_row_is_counted() -> None:
    assert row_differences(THEN, pl.concat([THEN, THEN.head(1)]), []) == ["3 rows then, 4 now"]


def test_private_values_are_not_shown() -> None:
    now = THEN.with_columns(name=pl.Series(["z", "b", None]))

    assert row_differences(THEN, now, ["id"], private=frozenset({"name", "id"})) == [
        "name changed in 1 row(s): id=(private): (private)"
    ]


def test_only_the_first_rows_are_shown() -> None:
    now = pl.DataFrame(schema=THEN.schema)

    assert row_differences(THEN, now, ["id"], examples=2) == ["3 row(s) gone: id=1; id=2"]


def test_other_columns_are_all_there_is_to_say() -> None:
    assert row_differences(THEN, THEN.drop("size"), ["id"]) == [
        "columns were id Int64, name String, size Float64, and are id Int64, name String"
    ]
