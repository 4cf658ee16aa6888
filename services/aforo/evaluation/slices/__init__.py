"""Parts of the rows by themselves: those that are protected, and those that a search finds weak."""

from aforo.evaluation.slices.protected import NotWorseOnSlices, ProtectedSlice, ProtectedSlices
from aforo.evaluation.slices.search import FoundSlice, NoWeakSlice, SliceSearch

__all__ = ["FoundSlice", "NoWeakSlice", "NotWorseOnSlices", "ProtectedSlice", "ProtectedSlices", "SliceSearch"]
