"""The pages about judgement say what the code does: their Python runs, and their YAML is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from aforo.evaluation import EvaluationSpec, GateSpec
from aforo.evaluation.costs import Costs
from aforo.evaluation.fairness import FairnessSpec
from aforo.models.calibration import CalibrationSpec

PAGES = sorted((Path(__file__).parents[2] / "docs" / "evaluation").glob("*.md"))
SECTIONS = {
    "gate": GateSpec,
    "evaluation": EvaluationSpec,
    "calibration": CalibrationSpec,
    "fairness": FairnessSpec,
    "costs": Costs,
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: Path):
    assert blocks(page, "python")

    names: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_yaml_of_a_page_is_accepted(page: Path):
    for block in blocks(page, "yaml"):
        for name, section in yaml.safe_load(block).items():
            SECTIONS[name].model_validate(section)
