"""Two phases at the gate: from which confidence on the small model may answer, and what that costs.

The confidence is chosen on the validation part. What is judged on the test part is the two together, as they
are served; the full model alone is measured beside them, on the same resamples, so that the loss has an interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from aforo.contracts.run import PhaseChoice
from aforo.contracts.specification import Specification
from aforo.errors import TrainingError
from aforo.evaluation.answers import Answers
from aforo.evaluation.bootstrap import Interval, figures, interval
from aforo.evaluation.clusters import Clusters
from aforo.evaluation.evaluate import Comparison
from aforo.evaluation.metrics import MetricName, metrics_for
from aforo.evaluation.metrics.statistic import of_mean
from aforo.evaluation.rules import CANDIDATE, RuleOutcome, Share
from aforo.models.estimators import CandidateSpec, QuantizedNetworkSpec

FULL, SMALL = "full", "small"
"""How a report calls each of the two models alone."""

_SHARES = tuple(percent / 100 for percent in range(1, 101))


class TwoPhaseSpec(Specification):
    """A small model answers the rows it is sure of; the full one answers the others.

    For a model that is slow or large beside its easy rows, and for devices that are not always connected: the small
    model is a file of its own. The price: two models to understand, and answers of two kinds.

    Attributes
    ----------
    max_loss
        Quality that may be lost by it, in ``metric``'s unit: 0.002 is 0.2 points of accuracy.
    min_share
        Share (0-1) of the test rows that the small model must answer for the gate to agree.
    metric
        Of quality.
    small
        The small model: any kind of candidate. It may be smaller by its features too.
    taught_share
        How far the small model learns from the full one's probabilities (1), or from the labels (0).

    References
    ----------
    Lakshmanan, Robinson, Munn: Machine Learning Design Patterns, 2020, "Two-Phase Predictions".
    Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015.
    """

    max_loss: Annotated[float, Field(ge=0)]
    min_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    metric: MetricName = "accuracy"
    small: CandidateSpec = QuantizedNetworkSpec(name="quantized_network")
    taught_share: Share = 1.0


class TwoPhaseFinding(Specification):
    """What two phases gave on the test rows.

    Attributes
    ----------
    confidence
        From which the small model answers.
    share
        Of the test rows that it answered.
    lost
        Quality lost against the full model alone; negative where the small one is better where it is sure.
    small_bytes, full_bytes
        Sizes of the two files.
    """

    metric: MetricName
    max_loss: float
    min_share: float
    confidence: float
    share: Interval
    lost: Interval
    small_bytes: int
    full_bytes: int


@dataclass(frozen=True, eq=False)
class TwoPhases:
    """What there is to be judged.

    Attributes
    ----------
    by_small
        Which test rows the small model answered, shape (N,).
    full, small
        Each model alone, on the same rows.
    """

    spec: TwoPhaseSpec
    choice: PhaseChoice
    by_small: NDArray[np.bool_]
    full: Answers
    small: Answers
    full_bytes: int
    small_bytes: int


def choose_confidence(full: Answers, small: Answers, spec: TwoPhaseSpec) -> PhaseChoice:
    """Return the confidence from which the small model may answer, chosen on rows that neither was calibrated on.

    From the surest hundredth of the rows on, more and more are given to the small model, until the first time that
    more than ``spec.max_loss`` is lost: a luckier share beyond it is not looked for.

    Raises
    ------
    TrainingError
        Even the surest rows lose more.
    """
    metric = metrics_for(full.task)[spec.metric]
    clusters = Clusters.single_rows(len(full))

    def figure(answers: Answers) -> NDArray[np.float64]:
        return metric.prepare(answers, clusters)(np.ones((1, clusters.count)))

    sure = small.probabilities.max(axis=1)
    alone = figure(full)
    chosen: PhaseChoice | None = None
    for cut in np.unique(np.quantile(sure, [1 - share for share in _SHARES], method="lower"))[::-1]:
        loss = 0.0 - float(metric.improvement(figure(combined(full, small, sure >= cut)), alone)[0])
        if not loss <= spec.max_loss:
            break
        chosen = PhaseChoice(confidence=float(cut), validation_share=float(np.mean(sure >= cut)), validation_loss=loss)
    if chosen is None:
        raise TrainingError(
            f"two_phase: the surest rows of the small model lose more than {spec.max_loss:g} of {spec.metric} already",
            hint="raise two_phase.max_loss, give two_phase.small more units or features, or leave two_phase out",
        )
    return chosen


def combined(full: Answers, small: Answers, by_small: NDArray[np.bool_]) -> Answers:
    """Return the answers of both together."""
    probabilities = np.where(by_small[:, None], small.probabilities, full.probabilities)
    return Answers(full.task, full.y, probabilities=probabilities, threshold=full.threshold)


def find(phases: TwoPhases, measured: Comparison, clusters: Clusters) -> TwoPhaseFinding:
    """Return share and loss on the test rows, with their intervals."""
    spec, bootstrap = phases.spec, measured.spec.bootstrap
    by_small = of_mean(phases.by_small.astype(np.float64), clusters)
    drawn = figures({"share": by_small}, clusters, bootstrap, measured.seed)["share"]
    gained = measured.improvement(CANDIDATE, FULL, spec.metric)
    return TwoPhaseFinding(
        metric=spec.metric,
        max_loss=spec.max_loss,
        min_share=spec.min_share,
        confidence=phases.choice.confidence,
        share=interval(drawn, bootstrap.confidence, name="the share of the small model"),
        # Minus nothing is nothing.
        lost=Interval(value=0.0 - gained.value, lower=0.0 - gained.upper, upper=0.0 - gained.lower),
        small_bytes=phases.small_bytes,
        full_bytes=phases.full_bytes,
    )


def outcomes(found: TwoPhaseFinding, title: str) -> list[RuleOutcome]:
    """Report whether the small model answers enough rows, and whether it is proven to lose too much by it."""
    harmless = found.lost.lower <= found.max_loss
    finding = "a larger loss is not proven" if harmless else "and chance does not explain it"
    lost = (
        f"{title}: two phases lose {found.lost} against the full model alone; {found.max_loss:g} is allowed, {finding}."
    )
    answered = (
        f"The small model ({found.small_bytes:,} of {found.full_bytes:,} bytes) answers "
        f"{found.share.value:.1%} of the rows; {found.min_share:.0%} are asked for."
    )
    return [
        RuleOutcome.at_most("two_phase_loss", found.lost.lower, found.max_loss, lost),
        RuleOutcome.at_least("two_phase_share", found.share.value, found.min_share, answered),
    ]
