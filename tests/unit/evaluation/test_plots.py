from __future__ import annotations

import struct

import numpy as np
import pytest

from aforo.evaluation import Answers, Interval, plots
from aforo.evaluation.reliability import reliability, reliability_curve


def binary(seed: int = 0, rows: int = 500) -> Answers:
    rng = np.random.default_rng(seed)
    yes = rng.random(rows)
    return Answers("binary", (rng.random(rows) < yes).astype(np.int64), probabilities=np.column_stack([1 - yes, yes]))


def pictures() -> dict[str, bytes]:
    answers = binary()
    y = np.arange(4000.0)
    interval = np.column_stack([y - 2, y + 1])
    rungs = {
        "heuristic": Interval(value=0.2, lower=0.1, upper=0.3),
        "linear": Interval(value=0.1, lower=0.0, upper=0.2),
    }
    return {
        "reliability": plots.reliability_diagram(answers, answers),
        "ranking": plots.ranking_curves({f"candidate_{number}": binary() for number in range(7)}),
        "confusion": plots.confusion_matrix(answers, ["no", "yes"]),
        "values": plots.predicted_and_true(
            Answers("regression", y, value=y - 3, interval=interval, coverage=0.9), target="weight", unit="lb"
        ),
        "values without intervals": plots.predicted_and_true(Answers("regression", y, value=y), target="weight"),
        "ladder": plots.ladder(rungs, metric="Brier score", higher_is_better=False),
        "one class": plots.ranking_curves(
            {"a": Answers("binary", np.zeros(3, dtype=np.int64), probabilities=np.tile([0.4, 0.6], (3, 1)))}
        ),
    }


def test_each_picture_is_a_png_wide_enough_to_read_and_the_same_every_time():
    first, second = pictures(), pictures()

    for name, picture in first.items():
        assert picture.startswith(b"\x89PNG\r\n\x1a\n"), name
        width, height = struct.unpack(">II", picture[16:24])
        assert 600 < width < 2400, name
        assert 200 < height < 2400, name
        assert picture == second[name], name


def test_reliability_table_accounts_for_every_row_and_averages_to_the_whole():
    answers = binary(1)

    table = reliability(answers, bins=10)

    assert table.rows.sum() == len(answers)
    assert np.average(table.claimed, weights=table.rows) == pytest.approx(answers.probabilities[:, 1].mean())
    assert np.average(table.observed, weights=table.rows) == pytest.approx(np.mean(answers.y))
    assert (np.diff(table.claimed) > 0).all()


def test_reliability_interval_is_wilsons():
    # 8 of 10, worked in Wilson's formula: 0.4902 to 0.9433.
    yes = np.full(10, 0.75)
    answers = Answers("binary", np.array([1] * 8 + [0] * 2), probabilities=np.column_stack([1 - yes, yes]))

    table = reliability(answers)

    assert table.lower == pytest.approx([0.4902], abs=1e-4)
    assert table.upper == pytest.approx([0.9433], abs=1e-4)


def test_the_stored_curve_is_the_table_bin_by_bin():
    p = np.array([0.1, 0.1, 0.7, 0.9])
    answers = Answers("binary", np.array([0, 1, 1, 1]), probabilities=np.column_stack([1 - p, p]))
    curve = reliability_curve(answers, ("no", "yes"), bins=5)

    assert curve.of == "yes"
    assert [(point.claimed, point.observed, point.rows) for point in curve.points] == [
        (pytest.approx(0.1), 0.5, 2),
        (pytest.approx(0.7), 1.0, 1),
        (pytest.approx(0.9), 1.0, 1),
    ]
    assert all(point.lower <= point.observed <= point.upper for point in curve.points)
