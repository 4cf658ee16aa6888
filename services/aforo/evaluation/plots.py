"""Pictures of a judgement, as PNG bytes: for MLflow's run page and for the report.

Colours are Okabe and Ito's, which people with any colour vision can tell apart; what matters is marked by shape or
position as well. Drawn without a display, and without state: figures never pass through ``pyplot``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from aforo.evaluation.answers import Answers
from aforo.evaluation.bootstrap import Interval
from aforo.evaluation.metrics.statistic import Floats
from aforo.evaluation.reliability import reliability

BLUE, ORANGE, GREEN, VERMILION, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#6B6B6B"

_CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE)
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_DOTS_PER_INCH = 144
_MOST_POINTS = 3000
_MOST_LABELS = 30


def reliability_diagram(before: Answers, after: Answers, *, bins: int = 15) -> bytes:
    """Return claimed against observed probability before and after calibration, over the number of rows in each bin."""
    figure = _figure(6.4, 6.8)
    diagram, counts = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    diagram.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="perfect")
    width = 0.38 / bins
    for answers, label, colour, marker, shift in (
        (before, "before calibration", ORANGE, "s", -0.5),
        (after, "after calibration", BLUE, "o", 0.5),
    ):
        table = reliability(answers, bins)
        spread = [table.observed - table.lower, table.upper - table.observed]
        # Rounding alone can put a bound on the wrong side of the share.
        diagram.errorbar(
            table.claimed, table.observed, np.maximum(0, spread), color=colour, marker=marker, markersize=5,
            linewidth=1.6, elinewidth=1, capsize=2, label=label,
        )  # fmt: skip
        places = (np.floor(np.minimum(table.claimed, 1 - 1e-12) * bins) + 0.5) / bins + shift * width
        counts.bar(places, table.rows, width=width, color=colour, label=label)
    what = "the positive class" if before.task == "binary" else "the answered class"
    diagram.set(ylabel="share that came true", title=f"Reliability of the probability of {what}", ylim=(-0.02, 1.02))
    diagram.legend(frameon=False, loc="upper left")
    counts.set(xlabel="probability", ylabel="rows (log)", xlim=(-0.02, 1.02), yscale="log")
    counts.set_ylim(bottom=0.7)
    return _png(figure)


def ranking_curves(predictors: Mapping[str, Answers]) -> bytes:
    """Return the ROC and the precision-recall curve of the positive class for each predictor of a binary task."""
    figure = _figure(10.4, 5)
    roc, precision_recall = figure.subplots(1, 2)
    roc.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    for (name, answers), (colour, dash) in zip(predictors.items(), _styles(len(predictors)), strict=True):
        false_rate, true_rate, precision = _curves(answers.probabilities[:, 1], answers.y == 1)
        roc.plot(false_rate, true_rate, color=colour, linestyle=dash, linewidth=1.8, label=name)
        # Precision holds from the threshold before: the area under these steps is the average precision.
        held = np.append(precision[0], precision)
        precision_recall.plot(true_rate, held, color=colour, linestyle=dash, linewidth=1.8, drawstyle="steps-pre")
    share = float(np.mean(next(iter(predictors.values())).y == 1))
    precision_recall.axhline(share, color=GREY, linewidth=1, linestyle=":")
    roc.set(
        title="ROC", xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01)
    )
    precision_recall.set(
        title="Precision and recall", xlabel="recall", ylabel="precision", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01)
    )
    roc.legend(frameon=False, loc="lower right")
    return _png(figure)


def confusion_matrix(answers: Answers, classes: Sequence[str]) -> bytes:
    """Return the true against the answered classes: counts, shaded by the share of the true class."""
    count = len(classes)
    matrix = np.bincount(answers.y * count + answers.labels, minlength=count**2).reshape(count, count)
    share = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    side = float(np.clip(0.55 * count, 4.2, 12))
    figure = _figure(side + 1.4, side + 0.8)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.grid(visible=False)
    axes.set(title="Answered and true classes", xlabel="answered", ylabel="true")
    if count <= _MOST_LABELS:
        axes.set_xticks(range(count), classes, rotation=45 if max(map(len, classes)) > 4 else 0)
        axes.set_yticks(range(count), classes)
        for (row, column), rows in np.ndenumerate(matrix):
            if rows:
                colour = "white" if share[row, column] > 0.5 else "black"
                axes.text(column, row, f"{rows:,}", ha="center", va="center", color=colour, fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class", format=PercentFormatter(1))
    return _png(figure)


def predicted_and_true(answers: Answers, *, target: str, unit: str | None = None, seed: int = 0) -> bytes:
    """Return predicted against true values with their intervals; of many rows, a sample."""
    figure = _figure(6.4, 6)
    axes = figure.subplots()
    chosen = np.arange(len(answers))
    if len(answers) > _MOST_POINTS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(answers), _MOST_POINTS, replace=False))
    true, value = answers.y[chosen], answers.value[chosen]
    ends = [min(true.min(), value.min()), max(true.max(), value.max())]
    axes.plot(ends, ends, color=GREY, linewidth=1, linestyle=":", label="perfect")
    if answers.interval is None:
        axes.scatter(value, true, s=12, color=BLUE, alpha=0.6, linewidths=0, label="rows")
    else:
        lower, upper = answers.interval[chosen].T
        inside = (lower <= true) & (true <= upper)
        order = np.argsort(value)
        axes.fill_between(
            value[order], lower[order], upper[order], color=BLUE, alpha=0.12, linewidth=0,
            label=f"interval ({answers.coverage:.0%} promised)" if answers.coverage else "interval",
        )  # fmt: skip
        axes.scatter(value[inside], true[inside], s=12, color=BLUE, alpha=0.6, linewidths=0, label="within")
        axes.scatter(
            value[~inside], true[~inside], s=16, color=VERMILION, marker="x", linewidths=1,
            label=f"outside ({np.mean(~inside):.1%})",
        )  # fmt: skip
    suffix = f" ({unit})" if unit else ""
    axes.set(title=f"Predicted and true {target}", xlabel=f"predicted{suffix}", ylabel=f"true{suffix}")
    axes.legend(frameon=False, loc="upper left")
    return _png(figure)


def ladder(figures: Mapping[str, Interval], *, metric: str, higher_is_better: bool) -> bytes:
    """Return one figure of several predictors with its interval, a rung each, in the order given.

    Parameters
    ----------
    figures
        Predictor to figure; from the heuristic up, for example.
    metric
        Title of the metric.
    """
    names = list(figures)
    values = np.array([interval.value for interval in figures.values()])
    bounds = np.array([[interval.lower, interval.upper] for interval in figures.values()])
    best = int(values.argmax() if higher_is_better else values.argmin())
    figure = _figure(8, 1.6 + 0.55 * len(names))
    axes = figure.subplots()
    rungs = np.arange(len(names))[::-1]
    for rung, value, (lower, upper), is_best in zip(rungs, values, bounds, rungs[best] == rungs, strict=True):
        colour = BLUE if is_best else GREY
        axes.plot([lower, upper], [rung, rung], color=colour, linewidth=2.4, solid_capstyle="round")
        axes.plot(value, rung, marker="D" if is_best else "o", color=colour, markersize=8)
        axes.annotate(f"{value:.4g}", (value, rung), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=9)
    axes.set_yticks(rungs, names)
    axes.set_ylim(-0.6, len(names) - 0.3)
    axes.set(title=f"{metric} on the test part", xlabel=f"{'higher' if higher_is_better else 'lower'} is better")
    axes.grid(visible=False, axis="y")
    return _png(figure)


def _curves(scores: Floats, positive: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[Floats, Floats, Floats]:
    """Return false and true positive rate from (0, 0) on, and the precision from the first threshold on."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true = np.cumsum(positive[order])[ends].astype(np.float64)
    false = ends + 1 - true
    rates = (np.append(0, false) / max(1.0, false[-1]), np.append(0, true) / max(1.0, true[-1]))
    return *rates, true / (ends + 1)


def _styles(count: int) -> list[tuple[str, str | tuple[int, tuple[int, ...]]]]:
    return [(_CYCLE[i % len(_CYCLE)], _DASHES[(i // len(_CYCLE) + i) % len(_DASHES)]) for i in range(count)]


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    for axes in figure.axes:
        _tidy(axes)
    buffer = io.BytesIO()
    # Without its own name and date in the file, the same rows give the same bytes.
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    axes.title.set_fontsize(11)
    axes.set_axisbelow(True)
    if not axes.images and axes.get_label() != "<colorbar>":
        axes.grid(visible=True, color="#E5E5E5", linewidth=0.8)
