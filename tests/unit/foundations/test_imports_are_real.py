"""The folders airflow/ and mlflow/ share the names of two libraries, and must never be imported in their place."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_our_mlflow_folder_is_not_the_library():
    mlflow = importlib.import_module("mlflow")
    assert mlflow.__file__ is not None
    assert "site-packages" in mlflow.__file__


def test_airflow_is_not_importable_beside_the_learning_libraries():
    with pytest.raises(ImportError):
        importlib.import_module("airflow.sdk")


@pytest.mark.parametrize("folder", ["airflow", "mlflow", "tests"])
def test_no_folder_pretends_to_be_a_package(folder):
    assert list((ROOT / folder).rglob("__init__.py")) == []
