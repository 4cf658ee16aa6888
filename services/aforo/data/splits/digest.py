"""One number that says whether two splits are the same."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

from aforo.contracts.run import PARTS
from aforo.data.splits.keytext import TEXT, fingerprint, key_text
from aforo.data.splits.strategy import LABELS


class SplitDigest:
    """Adds up, batch by batch, which key is in which part: eight bytes of memory a row.

    Hashed are the sorted 64-bit fingerprints of key and part.

    Parameters
    ----------
    rows
        How many rows will be added in all.
    """

    def __init__(self, rows: int) -> None:
        self._fingerprints = np.empty(rows, dtype="<u8")
        self._filled = 0

    def add(self, keys: pl.DataFrame, parts: pl.Series) -> None:
        """Add rows.

        Parameters
        ----------
        keys
            (N rows) the columns that identify a row.
        parts
            (N,) part of each row, 0-3 in the order of `aforo.contracts.run.PARTS`, or `LEFT_OUT`.
        """
        texts = [key_text(name, dtype).fill_null("\x00") for name, dtype in keys.schema.items()]
        names = pl.Series(LABELS).gather(parts.cast(pl.UInt32))
        row = pl.concat_str([*texts, pl.col("\x1f part")], separator="\x1f")
        # Two steps: in one, the text would be put together each time that the hash looks at it.
        lines = keys.with_columns(names.alias("\x1f part")).select(row.alias(TEXT))
        found = lines.select(fingerprint(pl.col(TEXT))).to_series().to_numpy()
        self._fingerprints[self._filled : self._filled + len(found)] = found
        self._filled += len(found)

    def hexdigest(self) -> str:
        """Return the SHA-256 (hex) of all rows, whatever their order."""
        found = self._fingerprints[: self._filled]
        found.sort()
        digest = hashlib.sha256(",".join(PARTS).encode())
        digest.update(found.data)
        return digest.hexdigest()


def split_digest(keys: pl.DataFrame, parts: pl.Series) -> str:
    """Return the digest of a split of one table; the arguments are those of `SplitDigest.add`."""
    digest = SplitDigest(keys.height)
    digest.add(keys, parts)
    return digest.hexdigest()
