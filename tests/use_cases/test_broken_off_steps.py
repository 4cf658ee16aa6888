"""Steps that are taken twice, broken off, killed or refused: the result is the same, and nothing is half there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

from aforo.contracts.run import Step
from aforo.storage import LocalStore
from aforo.workflows.wiring import Platform

if TYPE_CHECKING:
    from conftest import Home

STEPS: tuple[Step, ...] = get_args(Step)


class BrokenOffError(Exception):
    """The process ended here."""


class BreaksOff(LocalStore):
    """A store whose process ends before a certain write.

    Parameters
    ----------
    writes
        How many succeed.
    """

    def __init__(self, folder: Path, *, writes: int) -> None:
        super().__init__(folder)
        self.left = writes

    def write(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        self._count()
        return super().write(key, data, if_absent=if_absent)

    def upload(self, path: Path, key: str, *, move: bool = False) -> None:
        self._count()
        super().upload(path, key, move=move)

    def _count(self) -> None:
        if not self.left:
            raise BrokenOffError
        self.left -= 1


@dataclass(frozen=True)
class Outcome:
    """All that a finished run leaves behind, without what differs from one time to the next."""

    manifests: dict[str, Any]
    objects: frozenset[str]
    tracked_runs: tuple[str, ...]
    versions: tuple[str, ...]
    promotions: tuple[str, ...]

    @classmethod
    def of(cls, home: Home, name: str) -> Outcome:
        return cls(
            manifests={step: _timeless(home.manifest(step, name)) for step in STEPS},
            objects=frozenset(home.files()),
            tracked_runs=tuple(sorted(run.data.tags["mlflow.runName"] for run in home.tracked_runs(name))),
            versions=tuple(version.tags["model_digest"] for version in home.platform.versions.all(name)),
            promotions=tuple(row.version for row in home.platform.ledger.history(name)),
        )


def _timeless(said: Any) -> Any:
    """Leave out durations, MLflow's random ids, and the digests of manifests that hold them."""
    if isinstance(said, dict):
        ever_different = {"seconds", "mlflow_run_id", "inputs", "reused"}
        return {key: _timeless(value) for key, value in said.items() if key not in ever_different}
    return [_timeless(value) for value in said] if isinstance(said, list) else said


@pytest.fixture(scope="module")
def undisturbed(
    new_home: Callable[[Path | None], Home], tiny_document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """What a run of ``tiny`` comes to when nothing happens to it."""
    home = new_home(tmp_path_factory.mktemp("undisturbed"))
    data = Path(__file__).parents[2] / "services" / "use_cases" / "breast_cancer" / "data.csv"
    home.add_use_case("tiny", tiny_document, {"data.csv": data.read_bytes()})
    home.run("tiny")
    outcome = Outcome.of(home, "tiny")
    assert outcome.tracked_runs == ("historical_rate", "linear", "one")
    assert (len(outcome.versions), outcome.promotions) == (1, ("1",))
    return outcome


@pytest.mark.parametrize("step", STEPS)
def test_a_step_broken_off_before_each_of_its_writes_in_turn_ends_as_if_nothing_had_happened(
    tiny: Home, undisturbed: Outcome, step: Step
):
    for before in STEPS[: STEPS.index(step)]:
        tiny.step(before, "tiny")
    breaks = 0
    while True:
        store = BreaksOff(tiny.folder / "store", writes=breaks)
        try:
            tiny.step(step, "tiny", platform=Platform(settings=tiny.settings, store=store))
            break
        except BrokenOffError:
            assert f"runs/tiny/one/{step}/manifest.json" not in tiny.files()
            breaks += 1
    for after in STEPS[STEPS.index(step) + 1 :]:
        tiny.step(after, "tiny")

    assert breaks > 0
    assert Outcome.of(tiny, "tiny") == undisturbed


def test_every_step_taken_twice_in_a_row_gives_the_same_once(tiny: Home, undisturbed: Outcome):
    for step in STEPS:
        first = tiny.step(step, "tiny")
        assert tiny.step(step, "tiny").identity == first.identity

    assert Outcome.of(tiny, "tiny") == undisturbed


def test_each_step_of_a_finished_run_can_be_taken_again_alone(tiny: Home, undisturbed: Outcome):
    tiny.run("tiny")

    for step in reversed(STEPS):
        tiny.step(step, "tiny")

        assert Outcome.of(tiny, "tiny") == undisturbed, step


@pytest.mark.parametrize("after", ["run opened", "candidate=linear  fit=1", "candidate calibrated"])
def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(tiny: Home, undisturbed: Outcome, after: str):
    with tiny.start("run", "tiny", "--run-key", "one") as process:
        wait_for_line(process, after)
        os.killpg(process.pid, signal.SIGKILL)
    assert "runs/tiny/one/evaluate/manifest.json" not in tiny.files()

    tiny.run("tiny")

    outcome = Outcome.of(tiny, "tiny")
    # The file being written at that moment stays behind under a name that the store does not list.
    whole = frozenset(path for path in outcome.objects if "/.partial-" not in path)
    assert replace(outcome, objects=whole) == undisturbed


def test_ctrl_c_ends_a_run_with_130_and_the_same_command_goes_on(tiny: Home, undisturbed: Outcome):
    with tiny.start("run", "tiny", "--run-key", "one") as process:
        wait_for_line(process, "candidate=linear  fit=1")
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        said = process.stdout.read()

    assert process.returncode == 130
    assert said.endswith(
        "aforo: interrupted; what was finished stands\nhint: `aforo run tiny --run-key one` goes on from here\n"
    )
    assert not [path for path in tiny.files() if "/.partial-" in path]
    assert tiny.aforo("run", "tiny", "--run-key", "one").returncode == 0
    assert Outcome.of(tiny, "tiny") == undisturbed


def test_a_step_before_its_time_is_told_which_step_to_take_first(tiny: Home):
    done = tiny.aforo("train", "tiny", "--run-key", "one")

    assert done.returncode == 2
    assert done.stderr == (
        "aforo: tiny: run 'one' has no finished step 'split'\nhint: run `aforo split tiny --run-key one` first\n"
    )
    assert tiny.files() == {}


def test_a_manifest_of_another_version_is_named_instead_of_guessed_at(tiny: Home):
    tiny.run("tiny", last="split")
    manifest = tiny.folder / "store/runs/tiny/one/split/manifest.json"
    manifest.write_text(manifest.read_text().replace('"split_digest"', '"digest_of_the_split"'))

    done = tiny.aforo("train", "tiny", "--run-key", "one")

    assert (done.returncode, done.stderr) == (
        2,
        "aforo: runs/tiny/one/split/manifest.json is no manifest of this version of aforo: split_digest: "
        "Field required\nhint: start a new run with another run key\n",
    )


def test_a_refused_candidate_exits_99_and_moves_no_alias_but_challenger(tiny: Home):
    tiny.run("tiny")

    done = tiny.aforo("run", "tiny", "--run-key", "small", "--limit", "100", "--json")

    assert done.returncode == 99
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    judged = steps[-1]
    assert len(steps) == 6
    assert (judged["verdict"], judged["model_version"]) == ("refuse", "2")
    assert "aforo: tiny: version 2 was refused\n" in done.stderr
    for reason in judged["reasons"]:
        assert f"  {reason}\n" in done.stderr
    assert done.stderr.endswith("hint: the champion stays; the report is runs/tiny/small/evaluate/report.json\n")
    assert tiny.platform.versions.aliases("tiny") == {"champion": "1", "challenger": "2"}
    assert [row.version for row in tiny.platform.ledger.history("tiny")] == ["1"]
    assert "runs/tiny/small/promote/manifest.json" not in tiny.files()


def test_held_back_the_accepted_version_stays_a_challenger_until_the_step_is_taken_again(tiny: Home):
    held = tiny.run("tiny", last="evaluate") | {"promote": tiny.step("promote", "tiny", move=False)}
    assert held["promote"].changed is False
    assert tiny.platform.versions.aliases("tiny") == {"challenger": "1"}
    assert tiny.platform.ledger.history("tiny") == []

    assert tiny.step("promote", "tiny").changed is True
    assert tiny.platform.versions.aliases("tiny") == {"challenger": "1", "champion": "1"}


def wait_for_line(process: subprocess.Popen[str], sign: str) -> None:
    """Read what a process says, up to the line with ``sign``."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if sign in line:
            return
    raise AssertionError(f"it ended without {sign!r}:\n{''.join(said)}")
