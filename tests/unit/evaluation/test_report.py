from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from aforo.contracts.prediction import Lineage
from aforo.contracts.run import CalibratedCandidate, CandidateSummary, PartSummary
from aforo.evaluation import BootstrapSpec, GateReport
from aforo.evaluation.abstention import Abstain, abstention
from aforo.evaluation.costs import price
from aforo.evaluation.explained import explain_rows
from aforo.evaluation.fairness import FairnessSpec, group_rates, mitigate, represent
from aforo.evaluation.paired import paired_tests
from aforo.evaluation.report import ModelCard, render

LINEAGE = Lineage(
    run_key="r1", snapshot_id="5" * 64, split_digest="6" * 64, code_digest="7" * 64, code_commit=None,
    lock_digest="8" * 64, use_case_digest="9" * 64, seed=1,
)  # fmt: skip
FEW = BootstrapSpec(resamples=100)
PNG = b"\x89PNG\r\n\x1a\n picture"


class Text(HTMLParser):
    """The lines of text that a reader sees, and the addresses that the page refers to."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self._inside: list[str] = []
        self._open = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._inside.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside[:-1]
        if tag in ("h1", "p", "li", "td", "h2", "h3") and self._open.strip():
            self.lines.append(" ".join(self._open.split()))
            self._open = ""

    def handle_data(self, data: str) -> None:
        if not {"style", "title"} & set(self._inside):
            self._open += data


def card(shop, **changes: object) -> ModelCard:
    known = {
        "title": "Will a visitor buy?",
        "owner": "shop",
        "description": "Visits of a made-up shop.",
        "limits": ("It knows one shop.",),
        "contract": shop.subject(shop.right).contract,
        "lineage": LINEAGE,
        "parts": {"train": PartSummary(rows=9000, share=0.75, target_mean=0.5)},
        "trained": [
            CandidateSummary(
                name="candidate", kind="linear", is_baseline=False, hyperparameters={"penalty": 0.1}, fits=2,
                validation_loss=0.5, seconds=1.0, scores="s", reference="r", mlflow_run_id="m",
            )
        ],
        "calibrated": [
            CalibratedCandidate(
                name="candidate", method="platt", predictor="p", cross_validated={}, largest_graph_difference=0.0
            )
        ],
    }  # fmt: skip
    return ModelCard(**{**known, **changes})


@pytest.fixture(scope="module")
def promoted(large_shop) -> GateReport:
    return large_shop.judged(large_shop.right)


@pytest.fixture(scope="module")
def refused(large_shop) -> GateReport:
    return large_shop.judged(lambda table: np.clip(large_shop.right(table) + 0.03 * (table["member"] - 0.5), 0, 1))


def test_the_verdict_and_its_reason_are_in_the_first_three_lines(large_shop, promoted: GateReport, refused: GateReport):
    good, bad = (Text(render(report, card(large_shop), {})).lines for report in (promoted, refused))

    assert good[:2] == ["Will a visitor buy?", "✓ Promote: shop, candidate candidate"]
    assert good[2].startswith(f"All {len(promoted.rules)} rules hold. Brier score ")
    assert bad[1].startswith("✕ Refuse: shop")
    assert bad[2] == refused.reasons[0]


def test_nothing_is_fetched_and_nothing_is_run(large_shop, promoted: GateReport):
    page = render(promoted, card(large_shop), {"reliability": PNG})

    text = Text(page)
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in text.addresses)
    assert not {"script", "link", "iframe", "form"} & text.tags
    assert b"default-src 'none'" in page
    assert not re.findall(rb"url\(|@import", page)


def test_every_rule_metric_slice_and_limit_is_on_the_page(large_shop, promoted: GateReport):
    text = "\n".join(Text(render(promoted, card(large_shop), {})).lines)

    for rule in promoted.rules:
        assert rule.why in text
    for predictor in promoted.metrics.values():
        for interval in predictor.values():
            assert f"{interval.value:.4g}" in text
    for one in promoted.protected_slices.slices:
        assert f"town is {one.where['town']}" in text
    assert "It knows one shop." in text
    assert "The model never abstains" in text
    assert LINEAGE.snapshot_id in text
    assert "platt" in text


def test_what_the_model_goes_by_is_on_the_page(large_shop, promoted: GateReport, explainer_of):
    subject = large_shop.subject(large_shop.right)
    explained = explain_rows(subject, explainer_of(subject), 30, BootstrapSpec(resamples=100))
    page = render(promoted.model_copy(update={"explained": explained}), card(large_shop), {})

    text = "\n".join(Text(page).lines)
    for one in explained.columns:
        assert f"{one.column}\n{one.weight:.4g}" in text
    assert "exact; columns that are left out" in text
    assert "integrated gradients" not in text
    assert b'href="#explained"' in page
    assert b'href="#explained"' not in render(promoted, card(large_shop), {})


def test_what_a_network_itself_goes_by_is_beside_it(large_shop, promoted: GateReport, explainer_of):
    subject = large_shop.subject(large_shop.right)
    explained = explain_rows(subject, explainer_of(subject), 30, BootstrapSpec(resamples=100))
    both = explained.model_copy(update={"integrated_gradients": {"dose": 1.234}})
    text = "\n".join(Text(render(promoted.model_copy(update={"explained": both}), card(large_shop), {})).lines)

    assert "1.234" in text
    assert "in log-odds, mean absolute" in text


def test_when_the_model_abstains_is_on_the_page(large_shop, promoted: GateReport):
    answers = large_shop.subject(large_shop.right).answers()
    found = abstention(Abstain(coverage=0.8), answers, answers, spec=BootstrapSpec(resamples=100), seed=1)
    contract = large_shop.subject(large_shop.right).contract.model_copy(update={"abstain_below": found.below})
    page = render(promoted.model_copy(update={"abstention": found}), card(large_shop, contract=contract), {})

    text = "\n".join(Text(page).lines)
    assert f"The model abstains below a confidence of {found.below:.4g}, chosen on 3,000 rows of the validation" in text
    assert f"for answering 80.0% of the rows. It answers {found.validation_coverage:.1%} of these" in text
    assert "The model never abstains" not in text


def test_texts_from_data_cannot_become_markup(large_shop, promoted: GateReport):
    page = render(promoted, card(large_shop, title="<script>alert(1)</script>", limits=("<b>bold</b>",)), {})

    assert b"<script" not in page
    assert b"&lt;script&gt;" in page
    assert b"<b>" not in page


def test_the_same_judgement_gives_the_same_bytes(large_shop, promoted: GateReport):
    pages = {render(promoted, card(large_shop), {"reliability": PNG}) for _ in range(2)}

    assert len(pages) == 1


def test_a_report_without_behaviour_and_slices_says_that_none_was_asked(large_shop, promoted: GateReport):
    bare = promoted.model_copy(update={"behaviour": (), "protected_slices": None, "slice_search": None})

    text = "\n".join(Text(render(bare, card(large_shop), {})).lines)

    assert "No rule about behaviour was asked." in text
    assert "No rule about slices was asked." in text


def test_groups_of_people_are_on_the_page_and_nobody_looked_where_none_is_declared(large_shop, promoted: GateReport):
    spec, subject = FairnessSpec(by=("member", "town")), large_shop.subject(large_shop.right)
    found = promoted.model_copy(
        update={
            "fairness": group_rates(subject, subject.answers(), spec, FEW),
            "mitigation": mitigate(subject, subject, spec, FEW),
        }
    )
    represented = represent(subject.table, subject.columns, subject.contract, subject.y, spec)

    text = "\n".join(Text(render(found, card(large_shop, representation=represented), {})).lines)

    for group in (group for one in found.fairness for group in one.groups):
        assert f"{group.rates['selection'].value:.4g}" in text
    assert "In the data: member" in text
    assert "What group thresholds would cost: town" in text
    assert "Lima: " in text
    assert "nobody looked" not in text
    assert "nobody looked at how groups of people are answered" in "\n".join(
        Text(render(promoted, card(large_shop), {})).lines
    )


@pytest.mark.parametrize("grouped_by", [None, "day"])
def test_what_the_difference_is_worth_is_on_the_page_and_what_the_tests_assume(
    large_shop, promoted: GateReport, grouped_by: str | None
):
    subject = large_shop.subject(large_shop.right)
    candidate = subject.answers()
    base = large_shop.subject(lambda table: np.full(table.height, 0.5)).answers()
    matrix = np.array([[0.0, 1.0], [3.0, 0.0]])
    economy = price({"candidate": candidate, "baseline": base}, matrix, subject.clusters, FEW, 0, candidate)
    tests = paired_tests(candidate, base, against="baseline", independent=grouped_by is None, confidence=0.95)
    found = promoted.model_copy(update={"economy": economy, "paired": (tests,), "grouped_by": grouped_by})

    text = "\n".join(Text(render(found, card(large_shop), {})).lines)

    for priced in economy.predictors:
        assert f"{priced.per_row.value:.4g}" in text
    assert f"a threshold of {economy.best.threshold:.4g}; the costs alone ask for 0.25" in text
    assert f"{tests.delong.z:.4g}" in text
    assert ("these p-values are too small" in text) == (grouped_by is not None)


def test_a_page_fits_a_phone_and_the_dark(large_shop, promoted: GateReport):
    page = render(promoted, card(large_shop), {})

    assert b'name="viewport" content="width=device-width' in page
    assert b"color-scheme: light dark" in page
    # What is wider than a phone scrolls by itself; the rules turn into paragraphs.
    assert page.count(b"<table") == page.count(b'class="scroll"') + page.count(b'class="rules"')


def test_a_page_has_the_figures_without_a_column_beside_those_with_it(large_shop):
    report = large_shop.judged(large_shop.right, behaviour=[{"kind": "absent", "columns": ["dose"], "rows": 500}])

    lines = Text(render(report, card(large_shop), {})).lines

    assert any(line.startswith("500 rows, as they are and without dose: Brier score gets worse by") for line in lines)
    (finding,) = report.behaviour
    place = next(i for i, line in enumerate(lines) if "500 rows, as they are" in line)
    shown = lines[place:][lines[place:].index("Brier score") :][:3]
    assert shown[2].startswith(f"{finding.without['brier'].value:.4g} [")


def test_a_regression_is_reported_in_its_own_words(shop):
    from aforo.evaluation import Answers, BootstrapSpec, EvaluationSpec, GateSpec, judge

    subject = shop.regression(shop.right, half_width=0.2)
    answers = subject.answers()
    report = judge(
        use_case="shop",
        candidate_name="candidate",
        candidate=answers,
        uncalibrated=Answers("regression", subject.y, value=answers.value),
        baseline=Answers("regression", subject.y, value=np.full(len(subject), 0.5)),
        champion=None,
        evaluation=EvaluationSpec(bootstrap=BootstrapSpec(resamples=100)),
        gate=GateSpec.model_validate({"behaviour": [{"kind": "robust"}], "no_weak_slice": {}}),
        subject=subject,
    )

    text = "\n".join(Text(render(report, card(shop, contract=subject.contract), {})).lines)

    assert "meant to hold 90.0% of the true values" in text
    assert "The interval has one width for every row" in text
