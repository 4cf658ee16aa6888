"""Write scikit-learn's copy of the Wisconsin breast cancer data (UCI, CC BY 4.0) as data.csv, beside this file."""

from pathlib import Path

import polars as pl
from sklearn.datasets import load_breast_cancer

data = load_breast_cancer()
names = [name.replace(" ", "_") for name in data.feature_names]
diagnosis = [str(data.target_names[code]) for code in data.target]
table = pl.DataFrame(data.data, schema=names).with_row_index("sample", offset=1)
table.with_columns(pl.Series("diagnosis", diagnosis)).write_csv(Path(__file__).with_name("data.csv"))
