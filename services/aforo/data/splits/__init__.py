"""Which row is for what: one strategy a file."""

from __future__ import annotations

from aforo.data.splits.digest import split_digest
from aforo.data.splits.fingerprint import FingerprintSplit, FingerprintSplitSpec
from aforo.data.splits.strategy import Shares, SplitStrategy

# A strategy more makes this a union, discriminated by `kind`.
SplitSpec = FingerprintSplitSpec

__all__ = ["FingerprintSplit", "FingerprintSplitSpec", "Shares", "SplitSpec", "SplitStrategy", "split_digest"]
