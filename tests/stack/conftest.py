"""A platform of its own for the tests: from a copy of the working tree, with its own project, ports and secrets."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

# Neither the operator's tools nor the module beside this one are part of a package.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[2] / "deploy")]

from browser import Browser, chromium  # noqa: E402
from stack_platform import (  # noqa: E402
    COMMIT,
    PORTS,
    Platform,
    copy_of_the_working_tree,
    figures,
    in_words,
    memory_of,
    wait_for,
)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform, started from nothing; AFORO_STORE chooses the object store as it does for an operator.

    While working on these tests, AFORO_STACK=<folder> makes it there and leaves it running, and takes it up again.
    """
    if shutil.which("docker") is None:
        pytest.fail("these tests drive Docker Compose, and there is no `docker` here")
    kept = os.environ.get("AFORO_STACK")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("clone")
    if (folder / ".env").exists():
        yield Platform(folder)
        return
    stack = Platform(copy_of_the_working_tree(folder))
    stack.operate("secrets")
    for name, port in PORTS.items():
        stack.set(f"AFORO_{name}_PORT".replace("_API", ""), str(port))
    for name in ("AFORO_STORE", "AFORO_MINIO_IMAGE", "AFORO_SEAWEEDFS_IMAGE"):
        if name in os.environ:
            stack.set(name, os.environ[name])
    stack.set("AFORO_CODE_COMMIT", COMMIT)
    stack.remove()
    start = time.monotonic()
    stack.compose("--profile", "observability", "build")
    figures["images built, s"] = f"{time.monotonic() - start:.0f}"
    try:
        figures["from images built to all healthy, s"] = f"{stack.up():.0f}"
        figures["memory at rest, MiB"] = in_words(memory_of(stack))
        yield stack
    finally:
        if not kept:
            stack.remove()


@pytest.fixture(scope="session")
def first_run(platform: Platform) -> str:
    """The run id of a training of breast_cancer, which takes seconds; it may still run."""
    return platform.trigger("breast_cancer")


@pytest.fixture(scope="session")
def champion(platform: Platform, first_run: str) -> str:
    """A use case that was trained and promoted."""
    platform.finish("breast_cancer", first_run)
    with platform.api() as api:
        wait_for(lambda: "champion" in api.get("/models/breast_cancer").json()["live"], 60, "the champion to be served")
    return "breast_cancer"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as session:
        yield session


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures of the pages go; AFORO_PICTURES keeps them."""
    folder = Path(os.environ.get("AFORO_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what was wrong with the platform at that moment."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("platform")
    if report.failed and isinstance(stack, Platform):
        report.sections.append(("services that are not healthy", stack.troubles()))
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if figures:
        terminalreporter.section("the platform in figures")
        for name, value in figures.items():
            terminalreporter.line(f"{name}: {value}")
