"""What a model was made with, and the certificate that it can be made again."""

from __future__ import annotations

from typing import Any, Literal

from aforo.contracts.specification import Specification


class Provenance(Specification):
    """All that a run was made with besides its data, in full: what the digests in a lineage stand for.

    Attributes
    ----------
    use_case
        The use case's file as it was understood.
    code
        Python file to the SHA-256 of its bytes.
    libraries
        Distribution to the version that was installed.
    machine
        Processor and Python: linear algebra rounds differently on another kind of processor.
    """

    use_case: dict[str, Any]
    code: dict[str, str]
    libraries: dict[str, str]
    machine: dict[str, str]


LinkName = Literal[
    "use case", "code", "libraries", "source", "snapshot", "split", "candidates", "model", "small model", "two phases",
    "golden rows", "predictions",
]  # fmt: skip


class Link(Specification):
    """One link of the chain from source to predictions.

    Attributes
    ----------
    status
        ``same``; ``close`` (differs by no more than the tolerance); ``differs``; ``unknown`` (could not be compared).
    recorded, found
        Digest, figure or id, then and now.
    differences
        What differs, one sentence each, the first few.
    """

    name: LinkName
    status: Literal["same", "close", "differs", "unknown"]
    recorded: str
    found: str
    differences: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return self.status in ("same", "close")


class Certificate(Specification):
    """A registered version was made again, and compared link by link.

    Attributes
    ----------
    tolerance
        Largest absolute difference of a prediction that counts as ``close``.
    at
        When, in ISO 8601 and UTC.
    machine
        What it was made again on.
    """

    format: Literal[1] = 1
    use_case: str
    run_key: str
    model_version: str
    tolerance: float
    at: str
    seconds: float
    machine: dict[str, str]
    links: tuple[Link, ...]

    @property
    def broken(self) -> tuple[Link, ...]:
        """The links that do not hold."""
        return tuple(link for link in self.links if not link.holds)
