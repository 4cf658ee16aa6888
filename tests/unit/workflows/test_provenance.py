from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from aforo.settings import Settings
from aforo.workflows import provenance


def test_an_image_says_which_commit_it_was_built_from() -> None:
    settings = Settings.from_environment({"AFORO_CODE_COMMIT": "0123abc"})
    assert provenance.code_commit(settings) == "0123abc"


def test_a_checkout_is_asked_for_its_commit(settings: Settings) -> None:
    folder = Path(provenance.__file__).parent
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    head = asked.stdout.strip()
    assert provenance.code_commit(replace(settings, code_commit=None)) in (head, f"{head}-dirty")
