"""Calibration: outputs that mean what they say. One method a file; a new one is a file and a line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from aforo.errors import DataError
from aforo.models.calibration.beta import BetaCalibration
from aforo.models.calibration.calibrator import Calibrator
from aforo.models.calibration.conformal import ConformalInterval
from aforo.models.calibration.conformal_sets import fit_sets, label_sets
from aforo.models.calibration.isotonic import IsotonicCalibration
from aforo.models.calibration.none import NoCalibration
from aforo.models.calibration.platt import PlattCalibration
from aforo.models.calibration.selection import CalibrationSpec, fit_calibrator
from aforo.models.calibration.temperature import TemperatureScaling

AnyCalibrator = Annotated[
    NoCalibration | PlattCalibration | TemperatureScaling | BetaCalibration | IsotonicCalibration | ConformalInterval,
    Field(discriminator="kind"),
]
_ADAPTER: TypeAdapter[Calibrator] = TypeAdapter(AnyCalibrator)


def calibrator_from_json(text: str | bytes) -> Calibrator:
    """Return the calibrator that ``to_json`` wrote."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        raise DataError(f"not a stored calibrator: {error}", hint="run the calibrate step again") from error


__all__ = [
    "AnyCalibrator",
    "BetaCalibration",
    "CalibrationSpec",
    "Calibrator",
    "ConformalInterval",
    "IsotonicCalibration",
    "NoCalibration",
    "PlattCalibration",
    "TemperatureScaling",
    "calibrator_from_json",
    "fit_calibrator",
    "fit_sets",
    "label_sets",
]
