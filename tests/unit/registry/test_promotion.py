from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING

import pytest

from aforo.errors import GateRefused, LedgerError, ModelNotFound, StoreUnavailable
from aforo.registry.ledger import Ledger
from aforo.registry.promotion import Promoted, discrepancies, promote, reconcile, rollback
from aforo.registry.versions import RegisteredVersion, Versions

if TYPE_CHECKING:
    from conftest import World

pytestmark = pytest.mark.usefixtures("signing_key_in_place")


def accept(world: World, version: RegisteredVersion, *, once: bool = True) -> Promoted:
    return promote(
        world.ledger, world.versions, version, actor="airflow", reason="accepted", report_digest="f" * 64, once=once
    )


def back(world: World, to: str | None = None) -> Promoted:
    return rollback(world.ledger, world.versions, "flight_delay", actor="ana", reason="complaints", to=to)


def champion(world: World) -> str | None:
    return world.versions.aliases("flight_delay").get("champion")


class Unreachable(Versions):
    """A registry whose aliases cannot be moved just now."""

    def set_alias(self, *_: str) -> None:
        raise StoreUnavailable("MLflow does not answer")


def test_a_promoted_version_is_champion_in_ledger_and_registry(world: World):
    one, two = world.register("monday"), world.register("tuesday")

    first, second = accept(world, one), accept(world, two)

    assert (first.changed, first.previous_version) == (True, None)
    assert (second.changed, second.previous_version) == (True, "1")
    assert champion(world) == "2"
    assert second.row.report_digest == "f" * 64
    assert world.versions.resolve("flight_delay", "2").tags["ledger_hash"] == second.row.hash
    assert discrepancies(world.ledger, world.versions, "flight_delay") == []


def test_a_version_that_the_gate_refused_is_not_promoted(world: World):
    refused = world.register("monday", verdict="refuse")

    with pytest.raises(GateRefused, match=r"version 1 was not accepted by the gate \(verdict: refuse\)"):
        accept(world, refused)
    assert champion(world) is None
    assert world.ledger.history() == []


def test_promoting_the_champion_changes_nothing(world: World):
    one = world.register("monday")
    accept(world, one)

    again = accept(world, one, once=False)

    assert not again.changed
    assert len(world.ledger.history()) == 1


def test_an_old_step_that_is_tried_again_does_not_overtake_the_new_champion(world: World):
    one, two = world.register("monday"), world.register("tuesday")
    accept(world, one)
    accept(world, two)

    again = accept(world, one)

    assert not again.changed
    assert champion(world) == "2"


def test_a_person_may_promote_a_version_again(world: World):
    one, two = world.register("monday"), world.register("tuesday")
    accept(world, one)
    accept(world, two)

    assert accept(world, one, once=False).changed
    assert champion(world) == "1"


def test_a_crash_between_ledger_and_alias_is_mended_by_the_next_call(world: World, caplog: pytest.LogCaptureFixture):
    one, two = world.register("monday"), world.register("tuesday")
    accept(world, one)
    with pytest.raises(StoreUnavailable):
        promote(world.ledger, Unreachable(world.settings), two, actor="airflow", reason="accepted")
    assert champion(world) == "1"
    assert discrepancies(world.ledger, world.versions, "flight_delay") == [
        "flight_delay: the alias champion names version 1; the ledger says 2"
    ]

    with caplog.at_level(logging.WARNING):
        again = accept(world, two)

    assert champion(world) == "2"
    assert again.version == "2"
    assert len(world.ledger.history()) == 2
    assert "by hand" not in caplog.text


def test_an_alias_moved_by_hand_is_reported_and_put_back(world: World, caplog: pytest.LogCaptureFixture):
    one, two, three = (world.register(day) for day in ("monday", "tuesday", "wednesday"))
    accept(world, one)
    accept(world, two)
    world.versions.set_alias("flight_delay", "champion", three.version)
    assert len(discrepancies(world.ledger, world.versions, "flight_delay")) == 1

    with caplog.at_level(logging.WARNING):
        reconcile(world.ledger, world.versions, "flight_delay")

    assert champion(world) == "2"
    assert "moved by hand" in caplog.text


def test_an_alias_without_a_ledger_row_is_reported_and_left(world: World, caplog: pytest.LogCaptureFixture):
    world.register("monday")
    world.versions.set_alias("flight_delay", "champion", "1")

    with caplog.at_level(logging.WARNING):
        assert reconcile(world.ledger, world.versions, "flight_delay") is None

    assert champion(world) == "1"
    assert "without a row in the ledger" in caplog.text


def test_going_back_twice_goes_back_two(world: World):
    for day in ("monday", "tuesday", "wednesday"):
        accept(world, world.register(day))

    assert back(world).version == "2"
    assert back(world).version == "1"
    with pytest.raises(LedgerError, match="version 1 is the first champion"):
        back(world)

    assert champion(world) == "1"
    assert [(row.action, row.version) for row in world.ledger.history()] == [
        ("promote", "1"),
        ("promote", "2"),
        ("promote", "3"),
        ("rollback", "2"),
        ("rollback", "1"),
    ]


def test_going_back_to_a_named_version_and_on_from_there(world: World):
    for day in ("monday", "tuesday", "wednesday"):
        accept(world, world.register(day))

    gone_back = back(world, to="1")
    accept(world, world.register("thursday"))

    assert gone_back.row.run_key == "monday"
    assert gone_back.previous_version == "3"
    assert back(world).version == "1"


def test_going_back_to_where_one_is_changes_nothing(world: World):
    accept(world, world.register("monday"))

    assert not back(world, to="1").changed
    assert len(world.ledger.history()) == 1


def test_going_back_to_a_version_that_never_was_champion_is_refused(world: World):
    accept(world, world.register("monday"))
    world.register("tuesday")

    with pytest.raises(LedgerError, match="version 2 never was champion; those that were: 1"):
        back(world, to="2")


def test_going_back_without_a_champion_is_refused(world: World):
    with pytest.raises(LedgerError, match="flight_delay has no champion"):
        back(world)


def test_going_back_to_a_version_that_is_gone_is_refused(world: World):
    for day in ("monday", "tuesday"):
        accept(world, world.register(day))
    world.versions.client.delete_model_version("flight_delay", "1")

    with pytest.raises(ModelNotFound, match="no version or alias '1'"):
        back(world)
    assert champion(world) == "2"
    assert discrepancies(world.ledger, world.versions, "flight_delay") == [
        "flight_delay: version 1 was champion, and is no longer registered"
    ]


def test_rows_cut_off_the_end_of_the_ledger_are_missed(world: World):
    for day in ("monday", "tuesday"):
        accept(world, world.register(day))
    connection = sqlite3.connect(world.settings.home / "ledger.db")
    connection.executescript("DROP TRIGGER promotions_no_delete; DELETE FROM promotions WHERE id = 2")
    connection.close()

    shortened = Ledger(world.settings.ledger_url)
    assert shortened.verify() == 1
    found = discrepancies(shortened, world.versions, "flight_delay")
    shortened.close()

    assert "flight_delay: version 2 was made champion by a ledger row that is gone" in found
