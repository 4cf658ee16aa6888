"""Features: raw columns into a matrix of float64. One pattern a file; a new one is a file and a line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aforo.features.encoder import Encoder
from aforo.features.feature import Feature, Missing
from aforo.features.numeric import NumericSpec
from aforo.features.one_hot import OneHotSpec
from aforo.features.ordinal import OrdinalSpec
from aforo.features.scale import ScaleSpec

FeatureSpec = Annotated[NumericSpec | OneHotSpec | OrdinalSpec | ScaleSpec, Field(discriminator="kind")]
Features = Annotated[tuple[FeatureSpec, ...], Field(min_length=1)]

__all__ = [
    "Encoder",
    "Feature",
    "FeatureSpec",
    "Features",
    "Missing",
    "NumericSpec",
    "OneHotSpec",
    "OrdinalSpec",
    "ScaleSpec",
]
