"""One number that says whether two splits are the same."""

from __future__ import annotations

import hashlib

import polars as pl

from aforo.contracts.run import PARTS
from aforo.data.splits.keytext import fingerprint, key_text
from aforo.data.splits.strategy import LABELS


def split_digest(keys: pl.DataFrame, parts: pl.Series) -> str:
    """Return the SHA-256 (hex) of which key is in which part, whatever the order of rows.

    Parameters
    ----------
    keys
        (N rows) the columns that identify a row.
    parts
        (N,) part of each row, 0-3 in the order of `aforo.contracts.run.PARTS`, or `LEFT_OUT`.

    Notes
    -----
    Hashed are the sorted 64-bit fingerprints of key and part, 8 bytes a row.
    """
    texts = [key_text(name, dtype).fill_null("\x00") for name, dtype in keys.schema.items()]
    names = parts.cast(pl.UInt8).replace_strict(dict(enumerate(LABELS)), return_dtype=pl.String).alias("\x1f part")
    row = pl.concat_str([*texts, pl.col(names.name)], separator="\x1f")
    ordered = keys.with_columns(names).select(fingerprint(row)).to_series().sort()
    digest = hashlib.sha256(",".join(PARTS).encode())
    digest.update(ordered.to_numpy().astype("<u8").tobytes())
    return digest.hexdigest()
