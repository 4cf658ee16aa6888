"""What a tutorial would train: ordinal codes, 200 boosted trees, isotonic calibration, in scikit-learn."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import mlflow.sklearn
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder


class Pipeline:
    """A fitted pipeline from a data frame to calibrated probabilities.

    Parameters
    ----------
    columns
        Name, and whether it holds strings.
    labels
        One a row.
    """

    def __init__(self, columns: list[tuple[str, bool]], rows: list[dict[str, Any]], labels: Any) -> None:
        self._columns = columns
        codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        texts = [name for name, is_text in columns if is_text]
        estimator = make_pipeline(
            ColumnTransformer([("codes", codes, texts)], remainder="passthrough"),
            HistGradientBoostingClassifier(max_iter=200, early_stopping=False),
        )
        self._fitted = CalibratedClassifierCV(estimator, method="isotonic", cv=2, ensemble=False)
        self._example = self._frame(rows[:5])
        self._fitted.fit(self._frame(rows), labels)

    def probabilities(self, rows: list[dict[str, Any]]) -> list[float]:
        return self._fitted.predict_proba(self._frame(rows))[:, 1].tolist()

    def save(self, folder: Path) -> None:
        """Write ``folder/pipeline.pickle`` for the tutorial's server, and the MLflow model ``folder/sklearn``."""
        (folder / "pipeline.pickle").write_bytes(pickle.dumps((self._fitted, self._columns)))
        mlflow.sklearn.save_model(
            self._fitted,
            folder / "sklearn",
            serialization_format="cloudpickle",
            pyfunc_predict_fn="predict_proba",
            pip_requirements=["scikit-learn"],
            signature=mlflow.models.infer_signature(self._example),
        )

    def _frame(self, rows: list[dict[str, Any]]) -> pd.DataFrame:
        types = {name: object if is_text else float for name, is_text in self._columns}
        return pd.DataFrame(rows, columns=list(types)).astype(types)
