"""The report as one HTML page: no script, no outside resource, readable offline, in the dark and on a phone."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from aforo.contracts.prediction import Lineage, PredictionContract
from aforo.contracts.run import CalibratedCandidate, CandidateSummary, Part, PartSummary
from aforo.evaluation.bootstrap import Interval
from aforo.evaluation.fairness import Representation
from aforo.evaluation.gate import GateReport
from aforo.evaluation.metrics import Metric, metrics_for
from aforo.evaluation.slices.search import said

_TEMPLATE = "page.html.j2"


@dataclass(frozen=True)
class ModelCard:
    """What a report says beside the judgement itself: what the model is for, and what it was made from.

    Attributes
    ----------
    description
        What the data is, in the words of ``use_case.yaml``.
    limits
        What the model must not be used for, in the words of ``use_case.yaml``.
    parts
        Rows by part.
    trained, calibrated
        Every candidate, before and after calibration.
    representation
        Groups of people in the data; empty where no sensitive column is declared.
    """

    title: str
    owner: str
    description: str
    limits: Sequence[str]
    contract: PredictionContract
    lineage: Lineage
    parts: Mapping[Part, PartSummary]
    trained: Sequence[CandidateSummary]
    calibrated: Sequence[CalibratedCandidate]
    representation: Sequence[Representation] = ()


@dataclass(frozen=True)
class _Rung:
    """One line of the ladder, with its interval as percentages of the width of the drawing."""

    name: str
    interval: Interval
    low: float
    high: float
    at: float


def render(report: GateReport, card: ModelCard, pictures: Mapping[str, bytes]) -> bytes:
    """Return the page, UTF-8.

    Parameters
    ----------
    pictures
        Name to PNG; they are put into the page itself.
    """
    metrics = metrics_for(card.contract.task)
    text = _template().render(
        report=report,
        card=card,
        metrics=metrics,
        primary=metrics[report.primary],
        predictors=_in_order(report),
        ladder=_ladder(report, metrics[report.primary]),
        pictures={name: base64.b64encode(png).decode() for name, png in pictures.items()},
        limits=[*card.limits, *_limits_of_the_judgement(report, card)],
        calibration={candidate.name: candidate for candidate in card.calibrated},
    )
    return text.encode()


def _in_order(report: GateReport) -> list[str]:
    first = [
        name
        for name in ("candidate", "full", "small", "champion", "baseline", "uncalibrated")
        if name in report.metrics
    ]
    return [*first, *(name for name in report.metrics if name not in first)]


def _ladder(report: GateReport, metric: Metric) -> list[_Rung]:
    figures = {name: rows[metric.name] for name, rows in report.metrics.items() if metric.name in rows}
    low = min(interval.lower for interval in figures.values())
    span = max(interval.upper for interval in figures.values()) - low or 1.0

    def place(value: float) -> float:
        return 2 + 96 * (value - low) / span

    rungs = [
        _Rung(name, interval, place(interval.lower), place(interval.upper), place(interval.value))
        for name, interval in figures.items()
    ]
    return sorted(rungs, key=lambda rung: rung.interval.value, reverse=bool(metric.higher_is_better))


def _limits_of_the_judgement(report: GateReport, card: ModelCard) -> list[str]:
    groups = f" in {report.groups:,} groups by {report.grouped_by}" if report.grouped_by else ""
    limits = [
        f"The figures rest on {report.rows:,} test rows{groups}, of the same source and time as the training rows. "
        "They say nothing about other sources or later times."
    ]
    if report.undefined:
        limits.append(f"Not defined by these rows: {', '.join(report.undefined)}.")
    if report.protected_slices is not None:
        small = [said(one.where) for one in report.protected_slices.slices if one.p_value is None]
        if small:
            limits.append(f"Too few rows to judge where {'; '.join(small)}.")
    for name, rule in (("behaviour", report.behaviour), ("slices", report.slice_search or report.protected_slices)):
        if not rule:
            limits.append(f"No rule about {name} was asked.")
    if not report.fairness:
        limits.append("No sensitive column is declared, so nobody looked at how groups of people are answered.")
    if card.contract.task == "regression":
        limits.append(
            "The interval has one width for every row: it is too wide for easy rows and too narrow for hard ones."
        )
    if card.contract.abstain_below is None and card.contract.task != "regression":
        limits.append("The model never abstains: it answers rows that are unlike all it has seen, too.")
    return limits


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    environment.filters["words"] = lambda name: name.replace("_", " ")
    environment.filters["slice"] = said
    return environment.get_template(_TEMPLATE)


def _figure(value: float | str | bool | None) -> str:
    """Return a figure in four digits, and what is missing as a dash."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    # Minus nothing is nothing.
    return f"{value + 0.0:.4g}" if isinstance(value, float) else value
