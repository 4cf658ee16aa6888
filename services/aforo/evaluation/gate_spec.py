"""What a use case asks of its gate: the section ``gate`` of ``use_case.yaml``."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.specification import Specification
from aforo.contracts.table import TableContract
from aforo.evaluation.behaviour import BehaviourSpec
from aforo.evaluation.confidence import SureAnswers
from aforo.evaluation.costs import Costs, Worth
from aforo.evaluation.fairness import Fair, FairnessSpec
from aforo.evaluation.leak import NoLeak
from aforo.evaluation.plausible import Plausible
from aforo.evaluation.rules import BeatsBaseline, Calibrated, EnoughTestRows, NotWorseThanChampion
from aforo.evaluation.slices import NotWorseOnSlices, NoWeakSlice


class GateSpec(Specification):
    """The rules of a use case's gate; a rule set to ``null`` is not asked."""

    beats_baseline: BeatsBaseline | None = BeatsBaseline()
    not_worse_than_champion: NotWorseThanChampion | None = NotWorseThanChampion()
    calibrated: Calibrated | None = Calibrated()
    enough_test_rows: EnoughTestRows | None = EnoughTestRows()
    behaviour: tuple[BehaviourSpec, ...] = ()
    not_worse_on_slices: NotWorseOnSlices | None = None
    no_weak_slice: NoWeakSlice | None = None
    sure_answers: SureAnswers | None = None
    fair: Fair | None = None
    worth: Worth | None = None
    ask: tuple[str, ...] = ()
    """Outcomes, by name, that are left to a person when they fail and no other does."""
    no_leak: NoLeak | None = None
    plausible: Plausible | None = None

    @property
    def needs_a_predictor(self) -> bool:
        """Whether a rule asks for more than the answers: for the raw rows, or for a predictor to ask about others."""
        asks = (self.not_worse_on_slices, self.no_weak_slice, self.fair, self.worth, self.no_leak, self.plausible)
        return bool(self.behaviour) or any(rule is not None for rule in asks)

    def check(
        self,
        table: TableContract,
        contract: PredictionContract,
        fairness: FairnessSpec | None = None,
        costs: Costs | None = None,
    ) -> None:
        """Refuse what cannot be asked of this table, predictor, groups of people and costs, with a ValueError."""
        if unknown := [name for name in self.ask if name not in self._outcomes()]:
            raise ValueError(
                f"gate.ask names {', '.join(unknown)}, and no rule here ends under that name; "
                f"there are {', '.join(self._outcomes())}"
            )
        if self.worth is not None and costs is None:
            raise ValueError("gate.worth asks what answers cost; say so in the section `costs`")
        if self.fair is not None:
            self.fair.check(fairness, contract)
        if self.sure_answers is not None and contract.task == "regression":
            raise ValueError("gate.sure_answers asks for labels, and a regression has none; leave it out")
        if self.no_leak is not None:
            self.no_leak.check(contract)
        if self.plausible is not None:
            self.plausible.check(table, contract)
        for rule in self.behaviour:
            rule.check(table, contract)
        for slices in (self.not_worse_on_slices, self.no_weak_slice):
            if slices is not None:
                slices.check(table)

    def _outcomes(self) -> list[str]:
        """Return the names under which the rules that are asked may fail."""
        own = ("behaviour", "ask", "fair")
        asked = [name for name in type(self).model_fields if name not in own and getattr(self, name)]
        asked += ["abstention", "two_phase_loss", "two_phase_share"]  # of other sections of the use case
        if self.calibrated:
            asked += ["calibration_does_no_harm", "sets_cover"]
        if self.fair:
            asked += self.fair.outcomes
        return asked + [name for rule in self.behaviour for name in rule.outcomes]

    @model_validator(mode="after")
    def _rules_have_names_of_their_own(self) -> Self:
        titles = [rule.title for rule in self.behaviour]
        if repeated := sorted({title for title in titles if titles.count(title) > 1}):
            raise ValueError(f"two behavioural rules are called {', '.join(repeated)}; give one of them a `name`")
        return self
