"""A person promotes, takes back and looks up, by the command line, beside a served model that follows."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from aforo.errors import StepNotReady

SOURCE = Path(__file__).parents[2] / "services" / "use_cases" / "breast_cancer" / "data.csv"


@pytest.fixture(scope="module")
def _accepted(
    new_home: Callable[..., Any], tiny_document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    home = new_home(tmp_path_factory.mktemp("champions") / "use_cases")
    home.add_use_case("tiny", tiny_document, {"data.csv": SOURCE.read_bytes()})
    home.run("tiny", "one")
    home.run("tiny", "two", last="split")
    home.step("train", "tiny", "two", seed=7)
    for step in ("calibrate", "evaluate", "promote"):
        home.step(step, "tiny", "two")
    return home


@pytest.fixture
def two_versions(_accepted: Any, tmp_path: Path) -> Any:
    """``tiny`` with two accepted versions, the second one champion; a copy whose artifacts lie in the original."""
    shutil.copytree(_accepted.folder, tmp_path / "home")
    return replace(_accepted, folder=tmp_path / "home")


def test_a_person_goes_back_and_forth_and_the_ledger_says_why(two_versions: Any) -> None:
    back = two_versions.aforo("rollback", "tiny", "--reason", "too many late calls")
    again = two_versions.aforo("promote", "tiny", "--version", "2", "--reason", "it was the phone", "--json")
    same = two_versions.aforo("promote", "tiny", "--version", "champion", "--reason", "to be sure")
    past = json.loads(two_versions.aforo("history", "tiny", "--json").stdout)

    assert back.stdout == "tiny: version 1 is champion, after 2\n", back.stderr
    assert json.loads(again.stdout) == {"use_case": "tiny", "version": "2", "previous_version": "1", "changed": True}
    assert same.stdout == "tiny: version 2 is champion already\n"
    assert [(row["action"], row["version"], row["reason"]) for row in past["rows"]] == [
        ("promote", "1", "accepted by the gate in run one"),
        ("promote", "2", "accepted by the gate in run two"),
        ("rollback", "1", "too many late calls"),
        ("promote", "2", "it was the phone"),
    ]
    assert past["discrepancies"] == []


def test_a_rollback_is_served_within_seconds(two_versions: Any, serve: Callable[..., httpx.Client]) -> None:
    client = serve(two_versions)
    row = {"mean_radius": 14.0, "mean_texture": 19.0, "mean_concavity": 0.1}
    assert client.post("/models/tiny/predict", json={"rows": [row]}).json()["version"] == "2"

    assert two_versions.aforo("rollback", "tiny", "-m", "the phones ring").returncode == 0
    asked, version = time.monotonic(), "2"
    while version != "1":
        assert time.monotonic() - asked < 30, "it still serves version 2"
        version = client.post("/models/tiny/predict", json={"rows": [row]}).json()["version"]


def test_an_alias_that_was_moved_by_hand_is_reported_and_put_back(two_versions: Any) -> None:
    two_versions.platform.versions.set_alias("tiny", "champion", "1")

    found = two_versions.aforo("history", "tiny")
    back = two_versions.aforo("promote", "tiny", "--version", "2", "--reason", "as the ledger says")

    assert found.returncode == 1
    assert "the alias champion names version 1; the ledger says 2" in found.stderr
    assert back.returncode == 0
    assert two_versions.platform.versions.aliases("tiny")["champion"] == "2"


def test_a_ledger_that_was_tampered_with_is_detected(two_versions: Any) -> None:
    # Whoever can write the file can drop the triggers; the chain of hashes shows it all the same.
    path = two_versions.settings.ledger_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as database:
        database.execute("DROP TRIGGER promotions_no_update")
        database.execute("UPDATE promotions SET actor = 'somebody else' WHERE id = 1")

    found = two_versions.aforo("history", "tiny")

    assert found.returncode == 1
    assert "ledger row 1 (tiny, version 1) was changed after it was written" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("promote", "tiny", "--version", "1"), 2, "needs a reason"),
        (("rollback", "tiny", "--reason", "  "), 2, "needs a reason"),
        (("promote", "tiny"), 2, "promote what?"),
        (("promote", "tiny", "--version", "9", "--reason", "why not"), 1, "no version or alias '9'"),
        (("rollback", "tiny", "--to", "9", "--reason", "why not"), 1, "never was champion"),
        (("history", "nothing"), 1, "no model 'nothing' is registered"),
        (("rollback", "nothing", "--reason", "x"), 1, "nothing has no champion"),
    ],
)
def test_what_cannot_be_is_refused(two_versions: Any, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = two_versions.aforo(*arguments)

    assert done.returncode == code
    assert said in done.stderr
    assert len(two_versions.platform.ledger.history("tiny")) == 2


def test_a_verdict_over_a_former_champion_does_not_promote(two_versions: Any) -> None:
    for key, seed in (("slow", 3), ("quick", 4)):
        two_versions.run("tiny", key, last="split")
        two_versions.step("train", "tiny", key, seed=seed)
        two_versions.step("calibrate", "tiny", key)
        two_versions.step("evaluate", "tiny", key)
    two_versions.step("promote", "tiny", "quick")

    with pytest.raises(StepNotReady, match="version 3 was compared with champion 2; the champion now is 4"):
        two_versions.step("promote", "tiny", "slow")
    judged = two_versions.step("evaluate", "tiny", "slow")
    two_versions.step("promote", "tiny", "slow")

    assert judged.champion == "4"
    assert two_versions.platform.versions.aliases("tiny")["champion"] == judged.model_version
    assert two_versions.step("evaluate", "tiny", "slow") == judged


def test_a_refused_version_cannot_be_promoted_by_hand(two_versions: Any) -> None:
    two_versions.platform.versions.set_tags("tiny", "1", {"verdict": "refuse"})

    done = two_versions.aforo("promote", "tiny", "--version", "1", "--reason", "I like it")

    assert done.returncode == 99
    assert "not accepted by the gate" in done.stderr


@pytest.fixture
def asking(new_home: Callable[..., Any], tiny_document: dict[str, Any], tmp_path: Path) -> Any:
    """``tiny`` with a run whose test rows are too few for the gate, which leaves that to a person."""
    home = new_home(tmp_path / "use_cases")
    gate = tiny_document.get("gate", {}) | {"enough_test_rows": {"rows": 100_000}, "ask": ["enough_test_rows"]}
    home.add_use_case("tiny", tiny_document | {"gate": gate}, {"data.csv": SOURCE.read_bytes()})
    home.run("tiny", "one", last="evaluate")
    return home


def test_a_question_of_the_gate_waits_for_a_person_whose_answer_stands_in_the_ledger(asking: Any) -> None:
    asked = json.loads(asking.aforo("question", "tiny", "--run-key", "one").stdout)
    waiting = asking.aforo("promote", "tiny", "--run-key", "one")
    assert asking.platform.ledger.history("tiny") == []
    answered = asking.aforo(
        "promote", "tiny", "--run-key", "one", "--approved-by", "ada", "--reason", "enough for a pilot"
    )

    assert asked["model_version"] == "1"
    assert "100,000" in asked["body"]
    assert "There is no champion yet." in asked["body"]
    assert waiting.returncode == 99
    assert "tiny: the gate asks a person about version 1\n" in waiting.stderr
    assert "`aforo promote tiny --version 1 --reason TEXT`" in waiting.stderr
    assert answered.returncode == 0, answered.stderr
    (row,) = asking.platform.ledger.history("tiny")
    assert (row.version, row.actor, row.reason) == ("1", "ada", "enough for a pilot")
    assert asking.platform.versions.aliases("tiny")["champion"] == "1"


def test_a_person_may_answer_by_hand_and_an_answer_needs_a_reason(asking: Any) -> None:
    mute = asking.aforo("promote", "tiny", "--run-key", "one", "--approved-by", "ada")
    by_hand = asking.aforo("promote", "tiny", "--version", "1", "--reason", "enough for a pilot")

    assert (mute.returncode, mute.stdout) == (2, "")
    assert "needs a reason" in mute.stderr
    assert by_hand.stdout == "tiny: version 1 is champion, after none\n", by_hand.stderr


def test_where_the_gate_decided_or_nothing_is_to_be_promoted_nothing_is_asked(two_versions: Any, asking: Any) -> None:
    decided = two_versions.aforo("question", "tiny", "--run-key", "two")
    held = asking.aforo("question", "tiny", "--run-key", "one", "--hold")

    assert (decided.returncode, decided.stdout) == (99, "")
    assert "nothing is asked; the verdict is promote" in decided.stderr
    assert (held.returncode, held.stdout) == (99, "")
