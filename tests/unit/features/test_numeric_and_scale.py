"""Numbers: scaling and filling, by hand calculation."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from aforo.errors import TrainingError
from aforo.features import Missing, NumericSpec, ScaleSpec

ROWS = pl.DataFrame({"x": [1.0, None, 3.0, 3.0, 9.0]})


def transformed(spec: NumericSpec | ScaleSpec, rows: pl.DataFrame = ROWS) -> list[list[float]]:
    return spec.build().fit(ROWS).transform(rows).tolist()


@pytest.mark.parametrize(("fill", "expected"), [("mean", 4.0), ("median", 3.0), ("most_frequent", 3.0), (-1, -1.0)])
def test_a_missing_number_is_filled(fill: str | float, expected: float) -> None:
    assert transformed(NumericSpec(columns=("x",), missing=Missing(fill=fill)))[1] == [expected]


def test_a_missing_number_stays_missing_by_default() -> None:
    assert np.isnan(transformed(NumericSpec(columns=("x",)))[1][0])


def test_an_indicator_says_where_a_number_was_missing() -> None:
    spec = NumericSpec(columns=("x",), missing=Missing(fill=0, indicator=True))

    assert spec.build().fit(ROWS).names_ == ("x", "x is missing")
    assert transformed(spec)[:2] == [[1.0, 0.0], [0.0, 1.0]]


def test_the_most_frequent_of_several_is_the_smallest() -> None:
    rows = pl.DataFrame({"x": [5.0, 2.0, 5.0, 2.0, None]})

    feature = NumericSpec(columns=("x",), missing=Missing(fill="most_frequent")).build().fit(rows)

    assert feature.transform(rows)[-1, 0] == 2.0


def test_standard_scaling_gives_mean_0_and_deviation_1() -> None:
    # Filled with the mean, 4: mean 4, variance (9 + 0 + 1 + 1 + 25) / 5 = 7.2.
    expected = (np.array([1, 4, 3, 3, 9]) - 4) / np.sqrt(7.2)

    np.testing.assert_allclose(np.ravel(transformed(ScaleSpec(columns=("x",)))), expected, rtol=1e-15)


def test_min_max_scaling_sends_training_values_to_0_and_1() -> None:
    spec = ScaleSpec(columns=("x",), method="min_max", missing=Missing(fill=5))

    assert transformed(spec) == [[0.0], [0.5], [0.25], [0.25], [1.0]]
    assert transformed(spec, pl.DataFrame({"x": [17.0]})) == [[2.0]]


def test_robust_scaling_divides_by_the_interquartile_range() -> None:
    rows = pl.DataFrame({"x": [0.0, 1.0, 2.0, 3.0, 1000.0]})

    scaled = ScaleSpec(columns=("x",), method="robust").build().fit(rows).transform(rows)

    assert scaled[:, 0].tolist() == [-1.0, -0.5, 0.0, 0.5, 499.0]


def test_robust_scaling_of_a_column_that_rarely_varies_is_finite() -> None:
    rows = pl.DataFrame({"x": [0.0] * 9 + [10.0]})

    scaled = ScaleSpec(columns=("x",), method="robust").build().fit(rows).transform(rows)

    assert scaled[0, 0] == 0.0
    assert scaled[-1, 0] == pytest.approx(10 / 3)


def test_clipping_holds_values_at_the_training_quantiles() -> None:
    rows = pl.DataFrame({"x": [float(i) for i in range(101)]})
    spec = ScaleSpec(columns=("x",), method="min_max", clip=(0.1, 0.9))

    scaled = spec.build().fit(rows).transform(pl.DataFrame({"x": [-1e9, 10.0, 50.0, 90.0, 1e9]}))

    np.testing.assert_allclose(scaled[:, 0], [0, 0, 0.5, 1, 1], atol=1e-15)


def test_a_constant_column_becomes_0_wherever_it_goes_later() -> None:
    feature = ScaleSpec(columns=("x",)).build().fit(pl.DataFrame({"x": [0.1] * 3}))

    assert feature.transform(pl.DataFrame({"x": [0.1, 1e9, None]}))[:, 0].tolist() == [0.0, 0.0, 0.0]


def test_booleans_count_as_0_and_1() -> None:
    rows = pl.DataFrame({"x": [True, False, None]})

    matrix = NumericSpec(columns=("x",), missing=Missing(fill=0.5)).build().fit(rows).transform(rows)

    assert matrix.tolist() == [[1.0], [0.0], [0.5]]


@pytest.mark.parametrize("fill", ["mean", "median", "most_frequent"])
def test_a_column_without_any_value_is_refused_by_name(fill: str) -> None:
    rows = pl.DataFrame({"y": [1.0, 2.0], "x": pl.Series([None, None], dtype=pl.Float64)})

    with pytest.raises(TrainingError, match=f"no training row has a value in column 'x'\nhint: its {fill} is unknown"):
        ScaleSpec(columns=("y", "x"), missing=Missing(fill=fill)).build().fit(rows)


def test_a_column_without_any_value_is_refused_where_it_is_not_filled_too() -> None:
    rows = pl.DataFrame({"x": pl.Series([None, None], dtype=pl.Float64)})

    with pytest.raises(TrainingError, match="no training row has a value in column 'x'"):
        NumericSpec(columns=("x",)).build().fit(rows)


def test_a_column_without_any_value_can_be_filled_with_a_number() -> None:
    rows = pl.DataFrame({"x": [None, None]})

    assert ScaleSpec(columns=("x",), missing=Missing(fill=2)).build().fit(rows).transform(rows).tolist() == [[0], [0]]


def test_a_quantile_above_1_is_refused() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        ScaleSpec(columns=("x",), clip=(0.01, 99))
