"""Choose the versions of both environments and of each image anew. Run by ``make lock``, and commit what it writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "requirements"
AIRFLOW = """\
apache-airflow==3.3.2
apache-airflow-providers-fab
apache-airflow-providers-postgres
apache-airflow-providers-standard
psycopg2-binary
pydantic>=2.12
pyyaml>=6
"""
EXTRAS = {"learning": ("learning", "datasets"), "serving": ("serving",)}


def compile_lock(name: str, *arguments: str, source: str = "pyproject.toml", text: str | None = None) -> None:
    """Write ``requirements/<name>.txt``."""
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "pip", "compile", "--quiet", "--python-version", "3.11", "--no-emit-index-url"]
    command += ["--no-header", "--no-annotate", *arguments, source]
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr}")
    # A CPU build of torch calls itself 2.13.0+cpu, which only its own index has.
    (OUT / f"{name}.txt").write_text(done.stdout.replace("+cpu", ""), encoding="utf-8")


def main() -> None:
    extras = [argument for extra in ("learning", "serving", "datasets") for argument in ("--extra", extra)]
    compile_lock("development", *extras, "--group", "dev")
    for name, chosen in EXTRAS.items():
        asked = [argument for extra in chosen for argument in ("--extra", extra)]
        compile_lock(name, *asked, "--constraint", "requirements/development.txt")
    mlflow = "mlflow==3.17.2\npsycopg2-binary\nboto3\nflask-wtf\n"
    compile_lock("mlflow", "--constraint", "requirements/development.txt", source="-", text=mlflow)
    compile_lock("airflow", source="-", text=AIRFLOW)
    compile_lock("compiler", "--constraint", "requirements/development.txt", source="-", text="ziglang\n")


if __name__ == "__main__":
    main()
