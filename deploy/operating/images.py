"""The whole platform in one archive, for a machine that reaches neither a registry nor this repository.

The archive is what ``docker save`` writes, with the operator's files added under ``aforo/``: ``docker load`` takes the
images out of it, ``tar`` the files.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from operating.stack import ROOT, answer_of, compose, run

FILES = ("docker-compose.yaml", ".env.example", "Makefile", "README.md", "deploy")
EVERYTHING = ("--profile", "observability")


def save(to: Path) -> None:
    """Build what is missing, and write the archive, complete or not at all."""
    compose(*EVERYTHING, "build")
    names = sorted(set(answer_of(*EVERYTHING, "config", "--images").split()))
    to = ROOT / to
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(f".{to.name}.partial")
    try:
        run(["docker", "save", "--output", str(partial), *names])
        with tarfile.open(partial, "a") as archive:
            for name in FILES:
                archive.add(ROOT / name, arcname=f"aforo/{name}", filter=without_caches)
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{to}: {', '.join(names)}\nthere, in the folder that holds it:")
    print(f"  docker load --input {to.name} && tar --extract --file {to.name} aforo && cd aforo")
    print("  make secrets && docker compose up --detach --wait")


def without_caches(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if entry.name.endswith("__pycache__") else entry
