"""One model as a worker holds it: its versions in memory, and which of them answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from prediction_api.served_version import ServedVersion


@dataclass(frozen=True)
class Refusal:
    """A version that failed a check.

    Attributes
    ----------
    at
        When, in seconds since the epoch.
    content
        What :meth:`~prediction_api.local_copy.LocalCopy.content` said of its files.
    """

    reason: str
    at: float
    content: tuple[object, ...]


@dataclass
class ServedModel:
    """One model as this worker holds it.

    Attributes
    ----------
    aliases
        Alias to version, as the local copy has it.
    live
        Alias to the version that answers for it. It differs from ``aliases`` while a new version is being
        loaded, and for good when that one is refused.
    former
        What answered for an alias before; kept for instant return.
    loaded
        All versions in memory.
    refused
        Versions that failed a check.
    """

    name: str
    aliases: dict[str, str] = field(default_factory=dict)
    live: dict[str, ServedVersion] = field(default_factory=dict)
    former: dict[str, ServedVersion] = field(default_factory=dict)
    loaded: dict[str, ServedVersion] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)

    @property
    def awaited(self) -> frozenset[str]:
        """Versions that an alias points at and that do not answer for it."""
        return frozenset(
            version
            for alias, version in self.aliases.items()
            if alias not in self.live or self.live[alias].version != version
        )
