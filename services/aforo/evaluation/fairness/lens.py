"""Which groups of people are looked at: declared once, for the data before training and the answers after it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from aforo.contracts.specification import Specification
from aforo.contracts.table import ColumnContract, TableContract
from aforo.evaluation.rules import Share
from aforo.evaluation.slices.cutting import Columns, refuse_bad_cut

SECTION = "fairness"

# Shares that a person wrote down are rounded.
_SUM_TOLERANCE = 0.01


class FairnessSpec(Specification):
    """The sensitive columns of a use case: the section ``fairness`` of ``use_case.yaml``.

    Attributes
    ----------
    by
        Columns whose values are the groups; a list in the list takes each combination. Features or not: a column
        that no candidate reads is looked at all the same, and its proxies are looked for.
    reference
        Per column, the share (0-1) of each of its values among those whom the model is for; they add up to 1. A
        column without one is compared with equal shares.
    min_rows
        A rate over fewer rows of a group is shown, and not judged.
    proxy_rows
        How many rows the search for proxies looks at.
    """

    by: Annotated[tuple[Columns, ...], Field(min_length=1)]
    reference: dict[str, dict[str, Share]] = Field(default_factory=dict)
    min_rows: Annotated[int, Field(ge=2)] = 30
    proxy_rows: Annotated[int, Field(ge=100, le=100_000)] = 5000

    def check(self, table: TableContract) -> None:
        """Refuse columns and values that do not exist, with a ValueError."""
        for names in self.by:
            refuse_bad_cut(table, names, SECTION)
        for name, shares in self.reference.items():
            if (name,) not in self.by:
                raise ValueError(f"{SECTION}.reference names {name!r}, which is not in {SECTION}.by")
            known = values_of(table[name])
            if known and (strange := sorted(set(shares) - set(known))):
                raise ValueError(
                    f"{SECTION}.reference.{name} names {', '.join(strange)}; expected values of it: {', '.join(known)}"
                )

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        for name, shares in self.reference.items():
            if abs(sum(shares.values()) - 1) > _SUM_TOLERANCE:
                raise ValueError(f"{SECTION}.reference.{name} adds up to {sum(shares.values()):g}; expected 1")
        return self


def values_of(column: ColumnContract) -> tuple[str, ...]:
    """Return the values that a column's contract lists, as the groups are called; empty if it lists none."""
    return ("false", "true") if column.type == "boolean" else column.categories or ()
