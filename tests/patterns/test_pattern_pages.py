"""Each pattern has a page whose code runs, and its line in the table is what its file says."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from aforo.contracts.windows import WindowSpec
from aforo.data.bridging import BridgeSpec
from aforo.data.splits import SplitSpec
from aforo.evaluation.two_phase import TwoPhaseSpec

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "patterns"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")


@pytest.fixture
def patterns(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delitem(sys.modules, "patterns", raising=False)
    import patterns

    return patterns


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs" / "data.md"], ids=lambda page: page.stem)
def test_the_code_on_the_page_runs(page: Path) -> None:
    code = blocks(page, "python")

    assert code
    for block in code:
        exec(compile(block, str(page), "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_yaml_on_the_page_is_of_its_kind(page: Path) -> None:
    for block in blocks(page, "yaml"):
        document = yaml.safe_load(block)
        if page.stem == "bridged_schema":
            BridgeSpec.model_validate(document["bridge"])
        elif page.stem == "windowed_inference":
            assert [WindowSpec.model_validate(window).pane_minutes for window in document["windows"]] == [10]
        elif page.stem == "two_phase_prediction":
            TwoPhaseSpec.model_validate(document["two_phase"])
        else:
            spec: Any = TypeAdapter(SplitSpec).validate_python(document["split"])
            assert spec.kind == page.stem


def test_the_table_is_up_to_date(patterns: Any) -> None:
    written = (FOLDER / "README.md").read_text(encoding="utf-8")

    assert written == patterns.render(), "run `python scripts/patterns.py`"


def test_every_pattern_has_its_page_and_its_figure(patterns: Any) -> None:
    kinds = set(re.findall(r"\[(\w+)\]\(\1\.md\)", patterns.render()))

    assert kinds == {page.stem for page in PAGES} == set(json.loads((FOLDER / "figures.json").read_text()))


def test_a_bridge_is_measured_again_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The case with the fewest rows; its line of YAML is a bridge."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "patterns")
    import bridges

    written = json.loads((FOLDER / "figures.json").read_text())["bridged_schema"]
    case = next(case for case in written["cases"] if (case["today"], case["new_days"]) == ("2013-05-01", 7))

    with bridges.threadpool_limits(1):
        found = bridges.measure(bridges.flights(), bridges.TODAYS[0], 7)

    assert (found["new_rows"], found["old_rows"]) == (case["new_rows"], case["old_rows"])
    for name in ("new_alone", "static", "probabilistic", "refined"):
        for metric in bridges.METRICS:
            assert found[metric][name]["figure"]["value"] == pytest.approx(
                case[metric][name]["figure"]["value"], rel=0.02
            )
    assert BridgeSpec.model_validate(yaml.safe_load(written["yaml"])["bridge"]).groups["carrier"] == bridges.GROUPS


def test_a_figure_is_measured_again_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quickest of them; libraries of the same versions give the same digits, others nearly."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "patterns")
    import splits

    written = json.loads((FOLDER / "figures.json").read_text())["seasonal"]

    with splits.threadpool_limits(1):
        found = splits.seasonal()

    for name in ("claimed_before", "claimed", "truth"):
        assert getattr(found, name).value == pytest.approx(written[name]["value"], rel=0.02)
    assert found.claimed_before.upper < found.truth.value
    assert found.claimed.lower < found.truth.value < found.claimed.upper
