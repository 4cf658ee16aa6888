import pytest

from aforo.contracts.run import RowAccount, parse_run_key
from aforo.errors import UseCaseError


def test_an_airflow_run_id_becomes_a_run_key():
    assert parse_run_key("manual__2026-01-01T00:00:00+00:00") == "manual__2026-01-01T00-00-00+00-00"


@pytest.mark.parametrize("text", ["", "../other", "a/b", "a b", "-x", "x" * 101])
def test_a_run_key_that_is_no_safe_path_is_refused(text):
    with pytest.raises(UseCaseError, match="not usable in a path"):
        parse_run_key(text)


def test_an_account_balances_only_if_every_row_is_somewhere():
    account = RowAccount(read=10, kept=6, quarantined=1, duplicates=1, set_aside={"cancelled": 2})
    assert account.balances
    assert not account.model_copy(update={"kept": 7}).balances
