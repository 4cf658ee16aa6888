"""Every command of ``aforo``: results on stdout, as JSON where asked, the log on stderr, and its exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, get_args

import pytest

from aforo.contracts.run import Step

if TYPE_CHECKING:
    from conftest import Home

STEPS: tuple[Step, ...] = get_args(Step)


def test_each_step_by_hand_prints_its_manifest_as_json_and_nothing_else(tiny: Home):
    for step in STEPS:
        done = tiny.aforo(step, "tiny", "--run-key", "by-hand", "--json")

        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        assert json.loads(line) == tiny.manifest(step, "tiny", "by-hand")

    described = tiny.aforo("describe", "tiny", "--json")
    assert json.loads(described.stdout)["champion"]["run_key"] == "by-hand"
    history = tiny.aforo("history", "tiny", "--json")
    rows = json.loads(history.stdout)["rows"]
    assert [(row["action"], row["version"], row["run_key"]) for row in rows] == [("promote", "1", "by-hand")]


def test_a_step_takes_its_options_from_the_environment_as_airflow_gives_them(tiny: Home):
    given = {"AFORO_RUN_KEY": "manual__2026-01-01T00:00:00+00:00", "AFORO_LIMIT": "200", "AFORO_SNAPSHOT": ""}

    done = tiny.aforo("ingest", "tiny", "--json", **given)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run_key"] == "manual__2026-01-01T00-00-00+00-00"
    assert json.loads(done.stdout)["rows"]["read"] == 200


def test_a_snapshot_can_be_used_again_without_its_source(tiny: Home):
    snapshot = tiny.step("ingest", "tiny").snapshot_id
    (tiny.use_cases / "tiny" / "data.csv").unlink()

    done = tiny.aforo("ingest", "tiny", "--run-key", "again", "--snapshot", snapshot, "--json")

    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["snapshot_id"], json.loads(done.stdout)["reused"]) == (snapshot, True)


def test_a_new_use_case_is_valid_and_refused_only_for_want_of_data(home: Home):
    made, checked = home.aforo("new", "shop"), home.aforo("check", "shop", "--json")
    due, run = home.aforo("due", "shop"), home.aforo("run", "shop")

    assert (made.returncode, checked.returncode, due.returncode, run.returncode) == (0, 0, 1, 1)
    assert made.stdout.startswith(f"wrote {home.use_cases / 'shop' / 'use_case.yaml'}\n")
    assert json.loads(checked.stdout)["name"] == "shop"
    assert run.stderr == due.stderr
    assert run.stderr.startswith("aforo: no file matches 'data.csv'")
    assert home.files() == {}


def test_a_new_use_case_with_data_goes_all_the_way(home: Home):
    assert home.aforo("new", "shop").returncode == 0
    colours = {"red": 80, "blue": 20, "green": 50}
    lines = [
        f"{colour}-{number},{colour},{number % 17 + 1},{str(number % 100 < share).lower()}"
        for colour, share in colours.items()
        for number in range(400)
    ]
    (home.use_cases / "shop" / "data.csv").write_text("id,colour,size,sold\n" + "\n".join(lines) + "\n")

    taken = home.run("shop", last="evaluate")

    assert taken["ingest"].rows.kept == 1_200
    assert taken["evaluate"].metrics["candidate"]["roc_auc"] > 0.7


@pytest.mark.parametrize(
    "arguments", [["--no-such-option"], ["no-such-command"], ["train", "tiny"], ["run", "tiny", "--limit", "0"]]
)
def test_wrong_usage_exits_2(tiny: Home, arguments: list[str]):
    done = tiny.aforo(*arguments)

    assert done.returncode == 2
    assert "Usage: aforo" in done.stderr
    assert done.stdout == ""


def test_a_server_that_does_not_answer_exits_75_for_the_scheduler_to_try_again(tiny: Home):
    tiny.run("tiny", last="split")

    done = tiny.aforo("train", "tiny", "--run-key", "one", MLFLOW_TRACKING_URI="http://127.0.0.1:9")

    assert done.returncode == 75
    assert "MLflow at http://127.0.0.1:9 does not answer" in done.stderr
    assert done.stderr.endswith("hint: start it, or try again later\n")
