"""The bridge: what old rows become, and what is refused. Shares of `card` are those of the book: 0.1, 0.3 and 0.6."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from aforo.contracts.table import TableContract
from aforo.data.bridging import BridgeSpec
from aforo.errors import DataError

CHANGE = dt.date(2020, 3, 1)
GROUPS = {"payment": {"card": ["gift", "debit", "credit"]}}
COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "integer", "role": "key"},
    {"name": "day", "type": "date", "role": "time"},
    {"name": "payment", "type": "string", "role": "feature", "nullable": True},
    {"name": "tip", "type": "number", "role": "feature", "nullable": True},
    {"name": "app", "type": "string", "role": "feature", "nullable": True},
    {"name": "size", "type": "number", "role": "target"},
]
CONTRACT = TableContract.model_validate({"columns": COLUMNS})
NEW_PAYMENTS = ["gift", *["debit"] * 3, *["credit"] * 6, "cash", "cash"]


def spec(**changes: Any) -> BridgeSpec:
    return BridgeSpec.model_validate({"since": CHANGE, "groups": GROUPS, **changes})


def rows(payments: list[str | None], first: dt.date, *, first_id: int = 0, **columns: Any) -> pl.DataFrame:
    """One row a day, from ``first`` on."""
    count = len(payments)
    return pl.DataFrame(
        {
            "id": range(first_id, first_id + count),
            "day": [first + dt.timedelta(days=day) for day in range(count)],
            "payment": payments,
            "tip": columns.get("tip", [1.0] * count),
            "app": columns.get("app", ["web"] * count),
            "size": [0.0] * count,
        },
        schema_overrides={"payment": pl.String, "tip": pl.Float64, "app": pl.String},
    )


NEW = rows(NEW_PAYMENTS, CHANGE, first_id=100)


def old(payments: list[str | None], **columns: Any) -> pl.DataFrame:
    return rows(payments, dt.date(2020, 1, 1), **columns)


def test_an_old_value_stands_for_the_shares_of_its_new_values_among_new_rows() -> None:
    bridged = spec().build(CONTRACT).learn(pl.concat([old(["card", "cash", "credit", None]), NEW]))

    assert bridged.mixtures == {"payment": {"card": {"credit": 0.6, "debit": 0.3, "gift": 0.1}}}
    assert bridged.table.equals(pl.concat([old(["card", "cash", "credit", None]), NEW]))


def test_the_probabilistic_method_draws_new_values_in_those_shares() -> None:
    many = old(["card"] * 20 + ["cash", None], first_id=0)
    many = pl.concat([many.with_columns(pl.col("id") + 1000 * n) for n in range(1, 1001)])
    bridged = spec(method="probabilistic").build(CONTRACT).learn(pl.concat([many, NEW]))
    drawn = bridged.table.head(many.height).get_column("payment")

    shares = drawn.filter(many.get_column("payment") == "card").value_counts(normalize=True)
    found = dict(shares.iter_rows())
    # Three standard errors of 20,000 draws.
    assert found == pytest.approx({"credit": 0.6, "debit": 0.3, "gift": 0.1}, abs=3 * np.sqrt(0.6 * 0.4 / 20_000))
    assert drawn.filter(many.get_column("payment") != "card").unique().to_list() == ["cash"]
    assert drawn.null_count() == 1_000


@pytest.mark.parametrize("method", ["static", "probabilistic"])
def test_neither_the_order_nor_other_old_rows_change_what_becomes_of_a_row(method: str) -> None:
    bridge = spec(method=method, added=["tip", "app"]).build(CONTRACT)
    lacking: dict[str, Any] = {"tip": [None] * 30, "app": [None] * 30}
    new = NEW.with_columns(tip=pl.col("id") / 7, app=pl.lit("web"))
    table = pl.concat([old(["card"] * 30, **lacking), new])
    alone = {row[0]: row for row in bridge.learn(table).table.iter_rows()}
    more = pl.concat([table, old(["card"] * 30, first_id=500, **lacking)]).sample(fraction=1.0, shuffle=True, seed=3)

    among_others = {row[0]: row for row in bridge.learn(more).table.iter_rows()}

    assert {key: among_others[key] for key in alone} == alone
    assert bridge.learn(more).table.get_column("id").equals(more.get_column("id"))


def test_a_number_that_was_added_is_the_median_or_the_mean_of_the_new_rows() -> None:
    new = NEW.head(4).with_columns(tip=pl.Series([1.0, 2.0, 9.0, None]))
    table = pl.concat([old(["cash", "cash"], tip=[None, 5.0]), new])
    payments = {"groups": {}, "added": ["tip"]}

    median = spec(**payments).build(CONTRACT).learn(table)
    mean = spec(**payments, fill="mean").build(CONTRACT).learn(table)

    assert median.table.get_column("tip").to_list() == [2.0, 5.0, 1.0, 2.0, 9.0, None]
    assert mean.table.get_column("tip").to_list() == [4.0, 5.0, 1.0, 2.0, 9.0, None]


def test_a_number_that_was_added_is_drawn_from_the_new_rows() -> None:
    new = NEW.with_columns(tip=pl.Series([1.0] * 9 + [7.0] * 3))
    lacking = old(["cash"] * 2000, tip=[None] * 2000).with_columns(day=dt.date(2020, 2, 1))
    table = pl.concat([lacking, new])

    tips = spec(groups={}, added=["tip"], method="probabilistic").build(CONTRACT).learn(table).table.head(2000)["tip"]

    assert set(tips) == {1.0, 7.0}
    assert (tips == 7.0).mean() == pytest.approx(0.25, abs=3 * np.sqrt(0.25 * 0.75 / 2000))


def test_a_text_that_was_added_stands_for_all_the_new_values() -> None:
    new = NEW.with_columns(app=pl.Series(["web"] * 3 + ["shop"] * 9))
    bridged = spec(groups={}, added=["app"]).build(CONTRACT).learn(pl.concat([old(["cash"], app=[None]), new]))

    assert bridged.mixtures == {"app": {"": {"shop": 0.75, "web": 0.25}}}


def test_the_newest_old_rows_come_first() -> None:
    table = pl.concat([NEW.head(5), old(["cash"] * 10)]).sample(fraction=1.0, shuffle=True, seed=1)
    bridged = spec(groups={}, added=["tip"], old_rows=[0, 0.3, 0.31, 1]).build(CONTRACT).learn(table)

    assert bridged.old_rows == (0, 3, 10)
    assert bridged.with_old_rows(0).get_column("day").min() == CHANGE
    assert bridged.with_old_rows(3).get_column("id").sort().to_list() == [7, 8, 9, 100, 101, 102, 103, 104]
    assert bridged.with_old_rows(10).equals(table)


def test_rows_of_one_moment_are_chosen_by_their_keys_and_not_by_their_order() -> None:
    one_day = old(["cash"] * 40).with_columns(day=dt.date(2020, 2, 1))
    bridge = spec(groups={}, added=["tip"], old_rows=[0.5]).build(CONTRACT)
    table = pl.concat([one_day, NEW])
    turned = table.reverse()

    chosen = bridge.learn(table).with_old_rows(20).get_column("id")

    assert set(chosen) == set(bridge.learn(turned).with_old_rows(20).get_column("id"))
    assert sorted(chosen)[:20] != list(range(20))


def test_without_old_rows_there_is_one_number_to_try() -> None:
    bridged = spec().build(CONTRACT).learn(NEW)

    assert bridged.old_rows == (0,)
    assert bridged.with_old_rows(0).equals(NEW)


def test_the_day_of_a_timestamp_is_that_of_utc() -> None:
    columns = [{**column, "type": "timestamp"} if column["name"] == "day" else column for column in COLUMNS]
    contract = TableContract.model_validate({"columns": columns})
    last, first = (dt.datetime(2020, 2, 29, 23, 59, tzinfo=dt.UTC), dt.datetime(2020, 3, 1, tzinfo=dt.UTC))
    local = pl.Series("day", [last, first]).dt.convert_time_zone("America/New_York")
    table = rows(["card", "gift"], CHANGE).with_columns(day=local)

    assert spec().build(contract).learn(table).age.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"groups": {}}, "bridge names no column; expected `groups`, `added` or both"),
        (
            {"groups": {"payment": {"card": ["gift", "debit"], "voucher": ["gift"]}}},
            r"bridge\.groups\.payment: 'gift' is listed 2 times, under 'card', 'voucher'; expected each new value once",
        ),
        ({"groups": {"payment": {"card": ["gift", "gift"]}}}, "'gift' is listed 2 times, under 'card'"),
        (
            {"groups": {"payment": {"card": ["gift", "card"]}}},
            "'card' is an old value and a new one; give the new one another name",
        ),
        ({"groups": {"payment": {"card": []}}}, "at least 1 item"),
        ({"added": ["payment"]}, "column 'payment' is in groups and in added"),
        ({"old_rows": [0, 1.5]}, "less than or equal to 1"),
        ({"old_rows": []}, "at least 1 item"),
        ({"method": "magic"}, "'static' or 'probabilistic'"),
    ],
)
def test_a_bridge_that_cannot_be_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        spec(**changes)


def changed(name: str, **changes: Any) -> TableContract:
    columns = [{**column, **changes} if column["name"] == name else column for column in COLUMNS]
    return TableContract.model_validate({"columns": columns})


@pytest.mark.parametrize(
    ("contract", "changes", "complaint"),
    [
        (changed("day", role="info"), {}, "nothing says which rows are old; give a column the role `time`"),
        (changed("day", nullable=True), {}, "time column 'day' is nullable"),
        (changed("id", role="info"), {}, "old rows are told apart by the key"),
        (changed("id", type="number"), {}, "key column 'id' is a number, which has no one text"),
        (changed("payment", type="integer"), {}, "column 'payment' is a integer; expected a string"),
        (changed("payment", role="info"), {}, "names 'payment', which is no feature; the features are: tip, app"),
        (CONTRACT, {"groups": {"paid": {"card": ["gift"]}}}, r"bridge\.groups names 'paid', which is no feature"),
        (
            changed("payment", categories=["cash", "gift", "debit", "credit"]),
            {},
            r"bridge\.groups\.payment: 'card' is not among the column's categories; list the old values and the new",
        ),
        (changed("tip", nullable=False), {"added": ["tip"]}, r"bridge\.added: column 'tip' is not nullable"),
    ],
)
def test_a_table_that_it_does_not_fit_is_refused(
    contract: TableContract, changes: dict[str, Any], complaint: str
) -> None:
    spec().refuse_unfit(CONTRACT)

    with pytest.raises(ValueError, match=complaint):
        spec(**changes).refuse_unfit(contract)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (
            old(["card"] * 3),
            "none of 3 training rows is of 2020-03-01 or later, so nothing says what old values stand for",
        ),
        (
            pl.concat([old(["card"]), NEW, rows(["card", "card"], CHANGE, first_id=900)]),
            "2 rows of 2020-03-01 or later have 'payment' = 'card'; expected one of gift, debit, credit",
        ),
        (
            pl.concat([old(["card", "cheque", "cheque"]), NEW]),
            r"2 rows before 2020-03-01 have 'payment' = 'cheque', which bridge\.groups\.payment does not list and no",
        ),
        (
            pl.concat([old(["card"]), NEW.tail(2)]),
            "no new training row has 'payment' = 'gift' or 'debit' or 'credit', so nothing says how 'card' is shared",
        ),
    ],
)
def test_training_rows_that_do_not_fit_are_refused(table: pl.DataFrame, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        spec().build(CONTRACT).learn(table)


def test_a_private_value_is_not_in_the_message() -> None:
    table = pl.concat([old(["card", "sesame"]), NEW])

    with pytest.raises(DataError, match="1 rows before 2020-03-01 have 'payment' = a value, which") as caught:
        spec().build(changed("payment", private=True)).learn(table)
    assert "sesame" not in str(caught.value)


def test_a_column_that_no_new_row_has_is_refused() -> None:
    table = pl.concat([old(["cash"]), NEW.with_columns(tip=pl.lit(None, pl.Float64))])

    with pytest.raises(DataError, match="column 'tip' has no value in any new training row"):
        spec(groups={}, added=["tip"]).build(CONTRACT).learn(table)


def test_a_text_that_new_rows_lack_as_old_ones_do_is_refused() -> None:
    table = pl.concat([old(["cash"], app=[None]), NEW.with_columns(app=pl.Series([None, "", *["web"] * 10]))])

    with pytest.raises(DataError, match="2 rows of 2020-03-01 or later have no 'app', as rows had before it was added"):
        spec(groups={}, added=["app"]).build(CONTRACT).learn(table)
