import pytest
from pydantic import ValidationError

from aforo.contracts.table import Role, TableContract

TARGET = {"name": "late", "type": "boolean", "role": "target"}


def table(*columns: dict[str, object], **options: object) -> TableContract:
    return TableContract.model_validate({"columns": [*columns, TARGET], **options})


def test_a_column_may_be_key_and_feature_at_once():
    contract = table({"name": "carrier", "type": "string", "role": ["key", "feature"]})
    assert contract.key == ("carrier",)
    assert [column.name for column in contract.with_role(Role.FEATURE)] == ["carrier"]


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ({"name": "delay", "type": "number", "role": ["feature", "leak"]}, "is both feature and leak"),
        ({"name": "delay", "type": "number", "role": "feature", "categories": ["a"]}, "expected string"),
        ({"name": "carrier", "type": "string", "role": "feature", "minimum": 1}, "expected a number"),
        ({"name": "delay", "type": "number", "role": "feature", "minimum": 2, "maximum": 1}, "is above maximum"),
        ({"name": "day", "type": "date", "role": "feature"}, "derive numbers from it"),
        ({"name": "tail", "type": "string", "role": "key", "nullable": True}, "a key is never missing"),
        ({"name": "carrier", "type": "string", "role": "feature", "categories": ["", "B6"]}, "counts as missing"),
        ({"name": "1st", "type": "string", "role": "feature"}, "pattern"),
        ({"name": "carrier", "type": "string", "role": "feature", "catgories": ["B6"]}, "catgories"),
    ],
)
def test_a_contradiction_in_a_column_is_refused_by_name(column, sentence):
    with pytest.raises(ValidationError, match=sentence):
        table(column)


def test_a_column_declared_twice_is_refused():
    carrier = {"name": "carrier", "type": "string", "role": "feature"}
    with pytest.raises(ValidationError, match="declared twice: carrier"):
        table(carrier, carrier)


def test_a_table_without_a_target_is_refused():
    with pytest.raises(ValidationError, match="expected one target column, found 0"):
        TableContract.model_validate({"columns": [{"name": "carrier", "type": "string", "role": "feature"}]})


@pytest.mark.parametrize("value", [-1, 1.5])
def test_a_bound_on_bad_rows_that_is_neither_count_nor_share_is_refused(value):
    with pytest.raises(ValidationError, match="expected a count"):
        table(max_bad_rows=value)


def test_an_unknown_column_is_answered_with_the_valid_ones():
    with pytest.raises(KeyError, match="the table has: late"):
        table()["lat"]
