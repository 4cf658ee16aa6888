"""Write scikit-learn's copy of the optical digits test set (UCI, CC BY 4.0) as data.parquet, beside this file."""

from pathlib import Path

import polars as pl
from sklearn.datasets import load_digits

data = load_digits()
names = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
table = pl.DataFrame(data.data.astype(int), schema=names).with_row_index("image", offset=1)
table.with_columns(pl.Series("digit", data.target)).write_parquet(Path(__file__).with_name("data.parquet"))
