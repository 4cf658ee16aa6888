"""Every image of the platform in one archive, for a machine that cannot reach a registry."""

from __future__ import annotations

from pathlib import Path

from operating.stack import ROOT, answer_of, compose, run


def save(to: Path) -> None:
    """Build what is missing and save all images; ``docker load --input FILE`` brings them back."""
    compose("build")
    names = sorted(set(answer_of("config", "--images").split()))
    to = ROOT / to
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(f".{to.name}.partial")
    run(["docker", "save", "--output", str(partial), *names])
    partial.replace(to)
    print(f"{to}: {', '.join(names)}\nthere: docker load --input {to.name} && docker compose up --detach --wait")
