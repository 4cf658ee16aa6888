"""The base of everything that is written in YAML or in a manifest."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Specification(BaseModel):
    """A frozen value whose unknown keys are errors, so that a misspelt field is never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, ser_json_inf_nan="constants")
