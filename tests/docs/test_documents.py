"""What the documents name is there: links, make targets, commands; and what they state about the shipped use cases."""

import re
import subprocess
from pathlib import Path

import pytest
import typer.main
import yaml

from aforo.cli.main import app
from aforo.settings import Settings
from aforo.use_case import load_use_case

ROOT = Path(__file__).parents[2]
TRACKED = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()
DOCUMENTS = [ROOT / name for name in TRACKED]
TARGETS = {
    target
    for makefile in (ROOT / "Makefile", ROOT / "deploy" / "stack.mk")
    for target in re.findall(r"^([a-z-]+):", makefile.read_text(encoding="utf-8"), re.MULTILINE)
}
COMMANDS = set(typer.main.get_command(app).commands)
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


def code_of(document: Path) -> str:
    """All that is set as code, in blocks and in lines."""
    return "\n".join(CODE.findall(document.read_text(encoding="utf-8")))


@pytest.fixture(params=DOCUMENTS, ids=TRACKED)
def document(request):
    return request.param


def test_there_are_documents():
    assert ROOT / "README.md" in DOCUMENTS


def test_every_link_leads_to_a_file(document):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_every_make_target_that_is_named_exists(document):
    named = re.findall(r"(?:^|[`\n])make ([a-z-]+)", code_of(document))
    assert sorted(set(named) - TARGETS) == []


def test_every_aforo_command_that_is_named_exists(document):
    named = re.findall(r"(?:^|[`\n/])aforo ([a-z][a-z-]*)", code_of(document))
    assert sorted(set(named) - COMMANDS) == []


def test_every_script_that_is_run_exists(document):
    named = re.findall(r"\.venv/bin/python ([^\s`-]\S*\.py)", code_of(document))
    assert [script for script in named if not (ROOT / script).exists()] == []


def test_the_readme_lists_every_shipped_use_case_with_its_question():
    use_cases = Settings.from_environment({}).use_cases
    rows = re.findall(r"^\| `(\w+)` \| (.+?\?) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    shipped = {path.parent.name for path in use_cases.glob("*/use_case.yaml")}
    assert dict(rows) == {name: load_use_case(use_cases, name).title for name in shipped}


def test_every_yaml_block_can_be_read(document):
    blocks = re.findall(r"```yaml\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    assert all(yaml.safe_load(block) is not None for block in blocks)
