"""Rows of an older schema, made of use under a newer one."""

from __future__ import annotations

from aforo.data.bridging.bridge import Bridge, Bridged, Mixtures
from aforo.data.bridging.specification import BridgeSpec

__all__ = ["Bridge", "BridgeSpec", "Bridged", "Mixtures"]
