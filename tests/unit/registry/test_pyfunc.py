from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from aforo.contracts.prediction import BundleManifest
from aforo.contracts.table import ColumnContract
from aforo.errors import BundleRefused, DataError
from aforo.registry.bundle import read_bundle
from aforo.registry.pyfunc import PyfuncPredictor, _load_pyfunc, columns_of_frame
from aforo.registry.registration import signature_of

if TYPE_CHECKING:
    from conftest import World

KEY = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def predictor(tmp_path: Path, bundle_writer: Callable[..., BundleManifest]) -> PyfuncPredictor:
    bundle_writer(tmp_path / "bundle")
    return PyfuncPredictor(read_bundle(tmp_path / "bundle", KEY))


def frame(**columns: Any) -> pd.DataFrame:
    good: dict[str, Any] = {
        "hour": [5, 17],
        "distance": [733.0, 1089.5],
        "carrier": ["AA", "UA"],
        "weekend": [True, False],
    }
    return pd.DataFrame({**good, **columns})


@pytest.mark.usefixtures("signing_key_in_place")
def test_the_champion_is_loaded_by_its_alias_and_takes_a_data_frame(world: World):
    world.register("monday", weight=0.1)
    world.versions.set_alias("flight_delay", "champion", "1")

    model = mlflow.pyfunc.load_model("models:/flight_delay@champion")
    answers = model.predict(frame().set_index(pd.Index(["x", "y"])))

    # sigmoid(0.5733) and sigmoid(1.80895)
    assert answers["probability_yes"].to_numpy() == pytest.approx([0.6395243, 0.8592349], abs=1e-6)
    assert answers["probability_no"].to_numpy() == pytest.approx([0.3604757, 0.1407651], abs=1e-6)
    assert answers["label"].tolist() == ["yes", "yes"]
    assert answers.index.tolist() == ["x", "y"]


def test_where_abstention_is_asked_for_its_reason_is_a_column(
    predictor: PyfuncPredictor, tmp_path: Path, bundle_writer: Callable[..., BundleManifest]
):
    contract = predictor.bundle.contract.model_copy(update={"abstain_below": 0.8})
    bundle_writer(tmp_path / "abstains", contract=contract)
    answers = PyfuncPredictor(read_bundle(tmp_path / "abstains", KEY)).predict(frame())

    # 0.6395 and 0.8592, as above.
    assert answers.loc[0, "abstain_reason"] == "low_confidence"
    assert answers.loc[1, "label"] == "yes"
    assert answers[["label", "abstain_reason"]].isna().to_numpy().tolist() == [[True, False], [False, True]]
    columns = {column.name: column.required for column in signature_of(contract).outputs}
    assert list(columns) == list(answers.columns)
    assert (columns["label"], columns["abstain_reason"]) == (False, False)


@pytest.mark.usefixtures("signing_key_in_place")
def test_mlflow_leaves_the_check_of_columns_to_the_contract(world: World):
    world.register("monday")
    model = mlflow.pyfunc.load_model("models:/flight_delay@challenger")

    with pytest.raises(DataError, match="unknown columns: day"):
        model.predict(frame(day=[1, 2]))
    assert len(model.predict(frame(distance=[733, 1089]))) == 2  # whole numbers, where the signature says double


def test_missing_values_may_be_none_nan_or_na(predictor: PyfuncPredictor):
    nothing = [
        predictor.predict(frame(**columns))["probability_yes"].tolist()
        for columns in (
            {"hour": [None, None], "weekend": [None, None]},
            {"hour": [np.nan, np.nan], "weekend": [np.nan, np.nan]},
            {"hour": pd.array([pd.NA, pd.NA], dtype="Int64"), "weekend": pd.array([pd.NA, pd.NA], dtype="boolean")},
            {"hour": pd.Series([pd.NaT, pd.NaT], dtype=object), "weekend": pd.Series([pd.NA, None], dtype=object)},
        )
    ]
    without = predictor.predict(frame().drop(columns=["hour", "weekend"]))["probability_yes"].tolist()

    assert nothing == [without] * 4


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float32", "float64", "Int64", "Float64", "object"])
def test_numbers_may_be_of_any_type(predictor: PyfuncPredictor, dtype: str):
    expected = predictor.predict(frame())

    pd.testing.assert_frame_equal(predictor.predict(frame(hour=pd.Series([5, 17], dtype=dtype))), expected)


@pytest.mark.parametrize("dtype", ["object", "string", "category", "str"])
def test_texts_may_be_of_any_type(predictor: PyfuncPredictor, dtype: str):
    expected = predictor.predict(frame())

    pd.testing.assert_frame_equal(predictor.predict(frame(carrier=pd.Series(["AA", "UA"], dtype=dtype))), expected)


def test_rows_and_columns_that_make_a_data_frame_are_taken_too(predictor: PyfuncPredictor):
    expected = predictor.predict(frame())

    pd.testing.assert_frame_equal(predictor.predict(frame().to_dict("records")), expected)
    pd.testing.assert_frame_equal(predictor.predict(frame().to_dict("list")), expected)


def test_no_rows_give_no_answers(predictor: PyfuncPredictor):
    answers = predictor.predict(frame().iloc[:0])

    assert list(answers) == ["probability_no", "probability_yes", "label"]
    assert len(answers) == 0


def test_the_frame_is_left_as_it_was(predictor: PyfuncPredictor):
    given = frame(carrier=["AA", "UA"])
    before = given.copy(deep=True)

    predictor.predict(given)

    pd.testing.assert_frame_equal(given, before)


def test_all_missing_columns_are_named_at_once(predictor: PyfuncPredictor):
    with pytest.raises(DataError, match="missing columns: distance, carrier"):
        predictor.predict(pd.DataFrame({"hour": [1]}))


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"carrier": [None, "UA"]}, "carrier is missing in row 0"),
        ({"carrier": ["AA", ""]}, "carrier is missing in row 1: ''"),
        ({"carrier": ["AA", 7]}, "carrier is no string in row 1: 7"),
        ({"carrier": ["AA", "ZZ"]}, "carrier is not one of AA, B6, UA in row 1: 'ZZ'"),
        ({"distance": ["733", "1089"]}, "distance is no number in row 0: '733', row 1: '1089'"),
        ({"distance": [np.inf, 1.0]}, "distance is not a finite number, >= 0 in row 0: inf"),
        ({"distance": [-1.0, np.nan]}, r"distance is missing in row 1: nan\n  distance is not .* in row 0: -1\.0"),
        ({"hour": [5.5, 24]}, r"hour is not a finite integer, >= 0, <= 23 in row 0: 5\.5, row 1: 24"),
        ({"weekend": [2, 0]}, "weekend is not a finite boolean in row 0: 2"),
        ({"hour": [5 + 0j, 17]}, r"hour is no integer in row 0: \(5\+0j\)"),
    ],
)
def test_values_that_the_contract_does_not_allow_are_named(
    predictor: PyfuncPredictor, columns: dict[str, Any], complaint: str
):
    with pytest.raises(DataError, match=complaint):
        predictor.predict(frame(**columns))


def test_a_long_list_of_mistakes_is_cut(predictor: PyfuncPredictor):
    many = pd.DataFrame({"distance": [-1.0] * 5000, "carrier": ["AA"] * 5000})

    with pytest.raises(DataError, match=r"and 4,995 more$"):
        predictor.predict(many)


def test_a_column_given_twice_is_refused(predictor: PyfuncPredictor):
    with pytest.raises(DataError, match="columns given twice: hour"):
        predictor.predict(pd.concat([frame(), frame()[["hour"]]], axis=1))


def test_parameters_are_refused(predictor: PyfuncPredictor):
    with pytest.raises(DataError, match="takes no parameters; got temperature"):
        predictor.predict(frame(), params={"temperature": 0.5})


def test_whole_numbers_beyond_what_a_float_counts_are_refused(predictor: PyfuncPredictor):
    contract = predictor.bundle.contract.model_copy(
        update={"inputs": (ColumnContract(name="ticket", type="integer", role="feature"),)}
    )

    with pytest.raises(DataError, match="ticket is not a finite integer"):
        columns_of_frame(pd.DataFrame({"ticket": [2**53 + 2]}), contract)


def test_without_the_key_digests_alone_are_checked_and_that_is_said(
    tmp_path: Path,
    bundle_writer: Callable[..., BundleManifest],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    bundle_writer(tmp_path / "bundle")
    monkeypatch.setenv("AFORO_SIGNING_KEY_FILE", str(tmp_path / "signing.key"))

    with caplog.at_level(logging.WARNING):
        assert not _load_pyfunc(str(tmp_path / "bundle")).bundle.signed
    assert "signature not checked" in caplog.text

    (tmp_path / "signing.key").write_bytes(KEY[::-1])
    with pytest.raises(BundleRefused, match="signature"):
        _load_pyfunc(str(tmp_path / "bundle"))
