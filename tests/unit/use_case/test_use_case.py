"""``use_case.yaml``: what is accepted, and that each mistake is told with its place and what would be valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from aforo.contracts.catalog import read_headers
from aforo.errors import UseCaseError
from aforo.use_case import UseCase, load_use_case
from aforo.workflows.scaffold import scaffold

SHIPPED = Path(__file__).parents[3] / "services" / "use_cases"
NAMES = sorted(path.parent.name for path in SHIPPED.glob("*/use_case.yaml"))
SHOP: dict[str, Any] = {
    "name": "shop",
    "title": "Will it be sold?",
    "owner": "ada",
    "task": {"kind": "binary"},
    "data": {
        "source": {"kind": "csv", "path": "data.csv"},
        "columns": [
            {"name": "id", "type": "string", "role": "key"},
            {"name": "colour", "type": "string", "role": "feature"},
            {"name": "size", "type": "number", "role": "feature"},
            {"name": "sold", "type": "boolean", "role": "target"},
            {"name": "price_paid", "type": "number", "role": "leak"},
            {"name": "shelf", "type": "string", "role": "info"},
        ],
    },
    "split": {"kind": "fingerprint", "key": ["id"]},
    "features": [{"kind": "one_hot", "columns": ["colour"]}, {"kind": "scale", "columns": ["size"]}],
    "candidates": [{"kind": "historical_rate", "by": ["colour"]}, {"kind": "linear"}],
}


def with_target(**target: Any) -> dict[str, Any]:
    columns = [c for c in SHOP["data"]["columns"] if c["role"] != "target"]
    return {**SHOP["data"], "columns": [*columns, {"name": "sold", "role": "target", **target}]}


def load(tmp_path: Path, **changes: Any) -> UseCase:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "use_case.yaml").write_text(yaml.safe_dump({**SHOP, **changes}, sort_keys=False))
    return load_use_case(tmp_path, "shop")


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_use_case_is_valid_and_has_a_header_that_airflow_can_read(name: str):
    use_case = load_use_case(SHIPPED, name)
    headers, broken = read_headers(SHIPPED)

    assert broken == []
    assert {header.name: header.title for header in headers}[name] == use_case.title
    assert use_case.folder == SHIPPED / name


def test_a_scaffolded_use_case_is_valid_as_it_is(tmp_path: Path):
    path = scaffold(tmp_path, "churn_next_month")

    use_case = load_use_case(tmp_path, "churn_next_month")

    assert path == tmp_path / "churn_next_month" / "use_case.yaml"
    assert [column.name for column in use_case.inputs] == ["colour", "size"]
    assert use_case.baseline in {candidate.name for candidate in use_case.candidates}


@pytest.mark.parametrize("name", ["Churn", "1st", "", "a-b", "../churn", "a" * 64])
def test_a_scaffold_needs_a_usable_name(tmp_path: Path, name: str):
    with pytest.raises(UseCaseError, match="is no name for a use case"):
        scaffold(tmp_path, name)

    assert list(tmp_path.iterdir()) == []


def test_a_scaffold_never_overwrites(tmp_path: Path):
    path = scaffold(tmp_path, "churn")
    path.write_text("mine")

    with pytest.raises(UseCaseError, match="is there already"):
        scaffold(tmp_path, "churn")

    assert path.read_text() == "mine"


def test_inputs_are_the_columns_that_features_and_candidates_read_in_the_tables_order(tmp_path: Path):
    trees = {"kind": "boosted_trees", "features": [{"kind": "numeric", "columns": ["size"]}]}
    by_colour = {"kind": "historical_rate", "by": ["colour"]}
    numbers = [{"kind": "scale", "columns": ["size"]}]

    assert [c.name for c in load(tmp_path, candidates=[by_colour, trees], features=numbers).inputs] == [
        "colour",
        "size",
    ]


@pytest.mark.parametrize(
    ("kind", "target", "classes"),
    [
        ("binary", {"type": "boolean"}, ("no", "yes")),
        ("binary", {"type": "string", "categories": ["kept", "sold"]}, ("kept", "sold")),
        ("multiclass", {"type": "string", "categories": ["c", "a", "b"]}, ("c", "a", "b")),
        ("multiclass", {"type": "integer", "minimum": 1, "maximum": 3}, ("1", "2", "3")),
        ("regression", {"type": "number"}, ()),
    ],
)
def test_the_classes_follow_from_the_target(tmp_path: Path, kind: str, target: dict[str, Any], classes: tuple[str]):
    assert load(tmp_path, task={"kind": kind}, data=with_target(**target)).classes == classes


def test_a_boolean_targets_classes_may_be_called_something_else(tmp_path: Path):
    use_case = load(tmp_path, task={"kind": "binary", "classes": ["kept", "sold"]})

    assert use_case.classes == ("kept", "sold")
    assert use_case.targets(pl.DataFrame({"sold": [True, False]})).tolist() == [1, 0]


def test_the_digest_is_of_the_meaning_and_not_of_the_text(tmp_path: Path):
    first = load(tmp_path)
    (tmp_path / "shop" / "use_case.yaml").write_text("# a comment\n" + yaml.safe_dump(SHOP, sort_keys=True))
    same = load_use_case(tmp_path, "shop")
    (tmp_path / "shop" / "use_case.yaml").write_text(yaml.safe_dump({**SHOP, "seed": 1}))
    other = load_use_case(tmp_path, "shop")

    assert first.digest == same.digest != other.digest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"featurs": []}, "featurs: no such field"),
        ({"task": {"kind": "ranking"}}, "task.kind: Input should be 'binary', 'multiclass' or 'regression'"),
        ({"candidates": [{"kind": "liner"}]}, "candidates.0: kind 'liner' does not exist; valid kinds: "),
        ({"candidates": [{"kind": "liner"}]}, "; did you mean 'linear'?"),
        ({"candidates": [{"penalty": 1}]}, "candidates.0: has no `kind`"),
        ({"candidates": [{"kind": "linear", "penaltyy": 1}]}, "candidates.0.linear.penaltyy: no such field"),
        ({"features": []}, "features: Tuple should have at least 1 item"),
        ({"features": [{"kind": "scale", "columns": ["siz"]}]}, "'siz' is not in data.columns; did you mean 'size'?"),
        ({"features": [{"kind": "scale", "columns": ["qqq"]}]}, "data.columns; the features are: colour, size"),
        ({"features": [{"kind": "scale", "columns": ["price_paid"]}]}, "column 'price_paid' leaks"),
        ({"features": [{"kind": "one_hot", "columns": ["shelf"]}]}, "column 'shelf' has no role 'feature'"),
        ({"features": [{"kind": "one_hot", "columns": ["sold"]}]}, "column 'sold' has no role 'feature'"),
        ({"baseline": "guess"}, "baseline 'guess' is no candidate; the candidates are: historical_rate, linear"),
        ({"candidates": [{"kind": "linear"}] * 2}, "two candidates share a name: linear, linear"),
        ({"split": {"kind": "fingerprint", "key": ["day"]}}, "split.key names 'day', which is not in data.columns"),
        ({"evaluation": {"bootstrap": {"by": "day"}}}, "evaluation.bootstrap.by names 'day'"),
        ({"evaluation": {"primary": "rmse"}}, "evaluation.primary is 'rmse', which cannot decide a binary task"),
        ({"evaluation": {"primary": "rmse"}}, "choose one of roc_auc"),
        ({"gate": {"beats_baseline": {"metric": "mae"}}}, "gate.beats_baseline.metric is 'mae', which cannot decide"),
        ({"gate": {"not_worse_than_champion": {"metric": "r2"}}}, "gate.not_worse_than_champion.metric is 'r2'"),
        (
            {"gate": {"not_worse_on_slices": {"by": ["id"], "metric": "mae"}}},
            "gate.not_worse_on_slices.metric is 'mae'",
        ),
        (
            {"gate": {"behaviour": [{"kind": "invariant", "columns": ["shape"]}]}},
            "names column 'shape', which is not in",
        ),
        ({"task": {"kind": "regression"}}, "a regression needs a number to predict; target 'sold' is a boolean"),
        ({"task": {"kind": "binary", "classes": ["a", "b", "c"]}}, "task.classes names 3 classes; the target has 2"),
        ({"data": with_target(type="string")}, "target 'sold' does not say which classes there are"),
        ({"data": with_target(type="integer", minimum=0, maximum=2)}, "a binary task has two classes; target 'sold'"),
        ({"task": {"kind": "binary", "abstain": {}}}, "task.abstain: abstain asks for one of max_risk, coverage and"),
        (
            {"task": {"kind": "binary", "abstain": {"max_width": 2}}},
            "task.abstain of a binary asks for max_risk or cov",
        ),
        (
            {"task": {"kind": "binary", "abstain_below": 0.8, "abstain": {"coverage": 0.9}}},
            "abstain_below states what abstain would choose",
        ),
        ({"task": {"kind": "regression", "abstain_below": 0.8}}, "abstain_below is a probability"),
        ({"fairness": {"by": ["shade"]}}, "fairness names column 'shade', which is not in data.columns"),
        ({"gate": {"fair": {"max_bias": 0.1}}}, "gate.fair asks about groups, and there are none"),
        ({"gate": {"fair": {"max_bias": 0.1, "by": ["shelf"]}}, "fairness": {"by": ["colour"]}}, "gate.fair.by names"),
        ({"costs": {"maybe": {"no": 1}}}, "costs names maybe; the classes are no, yes"),
        ({"costs": {"yes": {"no": "much"}}}, "costs.yes.no: Input should be a valid number"),
        ({"gate": {"worth": {}}}, "gate.worth asks what answers cost"),
        ({"gate": {"plausible": {}}}, "gate.plausible asks about values, and a binary task answers classes"),
        ({"gate": {"no_leak": {"known": ["shelf"]}}}, "gate.no_leak.known names shelf, which no candidate reads"),
        (
            {
                "task": {"kind": "regression"},
                "data": with_target(type="number"),
                "calibration": {"sets": True},
                "candidates": [{"kind": "linear"}],
                "baseline": "linear",
            },
            "calibration.sets makes sets of labels, and a regression has none",
        ),
        ({"skew": {"columns": {"shelf": {}}}}, "skew.columns names 'shelf', which no candidate reads"),
        ({"skew": {"max_distance": 2}}, "skew.max_distance: Input should be less than or equal to 1"),
        ({"seed": "lucky"}, "seed: Input should be a valid integer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_told_with_its_place_and_what_would_be_valid(tmp_path: Path, changes: dict[str, Any], said: str):
    with pytest.raises(UseCaseError) as refused:
        load(tmp_path, **changes)

    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path / 'shop' / 'use_case.yaml'}: ")
    assert refused.value.hint == "mend them and run `aforo check shop`"
    assert refused.value.exit_code == 2


def test_a_rule_of_the_gate_that_is_not_asked_needs_no_metric(tmp_path: Path):
    assert load(tmp_path, gate={"beats_baseline": None, "not_worse_than_champion": None}).gate.beats_baseline is None


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path):
    with pytest.raises(UseCaseError, match="3 thing\\(s\\) wrong") as refused:
        load(tmp_path, seed="lucky", owner=None, colour="red")

    assert [line.split(":")[0] for line in refused.value.message.splitlines()[1:]] == ["  owner", "  seed", "  colour"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [\n", "is not YAML"),
        ("- a\n- b\n", "expected a mapping at the top"),
        ("name: other\n", "name is 'other' in a folder called 'shop'"),
        ("", "expected a mapping at the top"),
    ],
)
def test_a_file_that_is_no_use_case_is_refused(tmp_path: Path, text: str, said: str):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "use_case.yaml").write_text(text)

    with pytest.raises(UseCaseError, match=r"use_case\.yaml") as refused:
        load_use_case(tmp_path, "shop")

    assert said in str(refused.value)


def test_an_unknown_use_case_is_answered_with_the_known_ones(tmp_path: Path):
    load(tmp_path)

    with pytest.raises(UseCaseError, match=r"no use case 'shoop' in .*; there are: shop"):
        load_use_case(tmp_path, "shoop")
