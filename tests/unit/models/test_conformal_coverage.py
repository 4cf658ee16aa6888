"""Conformal intervals keep their promise on new rows, whatever the model and the noise: seen over 20 seeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from aforo.models.calibration import ConformalInterval

Noise = Callable[[np.random.Generator, int], np.ndarray]

NOISES: dict[str, Noise] = {
    "normal": lambda rng, rows: rng.normal(size=rows),
    "heavy tails": lambda rng, rows: rng.standard_t(2, size=rows),
    "one-sided": lambda rng, rows: rng.exponential(size=rows),
}


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_coverage_is_within_one_percent_of_nominal_over_20_seeds(noise: Noise, coverage: float):
    held = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=22_000)
        # A model that is wrong on purpose: the guarantee asks nothing of it.
        outputs, y = (0.5 * x)[:, None], x + noise(rng, len(x))
        fitted = ConformalInterval.fit(outputs[:2000], y[:2000], coverage=coverage)
        lower, upper = fitted.apply(outputs[2000:])["interval"].T
        held.append(np.mean((lower <= y[2000:]) & (y[2000:] <= upper)))

    assert abs(np.mean(held) - coverage) <= 0.01
