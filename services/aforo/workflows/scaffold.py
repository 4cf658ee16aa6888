"""A new use case to start from."""

from __future__ import annotations

import re
from pathlib import Path

from aforo.errors import UseCaseError

TEMPLATE = """\
# What is predicted, from what, and how it is judged. `aforo check {name}` says what is still wrong.
name: {name}
title: Which question does it answer?
owner: you
seed: 0

task: {{kind: binary}}  # or multiclass, or regression

data:
  source: {{kind: csv, path: data.csv}}  # or parquet, sql, package
  max_bad_rows: 0  # a count, or a share such as 0.01
  columns:
    - {{name: id, type: string, role: key}}
    - {{name: colour, type: string, role: feature, example: red, description: What it looks like}}
    - {{name: size, type: number, role: feature, unit: cm, minimum: 0, nullable: true, example: 12.5}}
    - {{name: sold, type: boolean, role: target}}

split: {{kind: fingerprint, key: [id], shares: {{train: 55, validation: 15, calibration: 15, test: 15}}}}

features:
  - {{kind: one_hot, columns: [colour]}}
  - {{kind: scale, columns: [size], missing: {{fill: median, indicator: true}}}}

candidates:
  - {{kind: historical_rate, by: [colour]}}
  - {{kind: linear}}
  - kind: boosted_trees
    features:
      - {{kind: ordinal, columns: [colour]}}
      - {{kind: numeric, columns: [size]}}
"""


def scaffold(use_cases: Path, name: str) -> Path:
    """Write ``<use_cases>/<name>/use_case.yaml``, which is valid as it is, and return its path.

    Raises
    ------
    UseCaseError
        The name is not usable, or there is such a folder already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise UseCaseError(
            f"{name!r} is no name for a use case: expected lower-case letters, digits and _, a letter first",
            hint="for example: churn_next_month",
        )
    folder = use_cases / name
    if folder.exists():
        raise UseCaseError(f"{folder} is there already", hint="choose another name, or edit what is there")
    folder.mkdir(parents=True)
    path = folder / "use_case.yaml"
    path.write_text(TEMPLATE.format(name=name), encoding="utf-8")
    return path
