"""The split by groups of very different size, some of which have a part of their own choosing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal, Self

import polars as pl
from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import override

from aforo.contracts.run import PARTS, Part
from aforo.contracts.table import TableContract
from aforo.data.splits import sql
from aforo.data.splits.fingerprint import NO_TEXT, TEXT_TYPES, FingerprintSplit
from aforo.data.splits.keytext import key_text
from aforo.data.splits.sql import Dialect
from aforo.data.splits.strategy import Shares, SplitSpecification, SplitStrategy, refuse_types
from aforo.data.splits.stratified import SEPARATOR, names_of


class GroupedSplitSpec(SplitSpecification):
    """Split by groups.

    Attributes
    ----------
    by
        The group of a row: the patient, the machine, the hospital.
    pinned
        Part to the groups that belong there; several columns are written ``EWR/HA``. All others fall by fingerprint.
    """

    kind: Literal["grouped"] = "grouped"
    by: Annotated[tuple[str, ...], Field(min_length=1)]
    pinned: Mapping[Part, Annotated[tuple[str, ...], BeforeValidator(names_of)]] = Field(default_factory=dict)
    shares: Shares = Shares()
    salt: str = ""

    @model_validator(mode="after")
    def _no_group_in_two_parts(self) -> Self:
        for group, parts in Counter(group for groups in self.pinned.values() for group in groups).items():
            if parts > 1:
                raise ValueError(f"pinned names the group {group!r} {parts} times; a group belongs to one part")
        return self

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        return {"by": self.by, **super().reads}

    def refuse_unfit(self, table: TableContract) -> None:
        super().refuse_unfit(table)
        refuse_types(table, "by", self.by, TEXT_TYPES, NO_TEXT)

    @override
    def build(self, identity: tuple[str, ...] = ()) -> GroupedSplit:
        return GroupedSplit(by=self.by, pinned=self.pinned, shares=self.shares.in_order, salt=self.salt)


class GroupedSplit(SplitStrategy):
    """Keeps each group in one part: the test part then asks about groups that training has never met.

    That is the question wherever the model will serve new patients, machines or shops; rows by chance would let it
    recognise the ones it knows. Where groups are few or of very different size, their fingerprints cannot hit the
    shares: pin the large ones. The price: few groups make a noisy figure, whose interval must come from groups as well.

    Parameters
    ----------
    pinned
        Part to groups; a group that is not named falls by its fingerprint.
    shares
        Percent of the groups that are not pinned for each part, in order.

    References
    ----------
    Saeb et al.: The need to approximate the use-case in clinical machine learning, GigaScience 6, 2017
    (record-wise against subject-wise splits).

    Examples
    --------
    >>> split = GroupedSplit(by=("site",), pinned={"test": ("Oslo",)}, shares=(60, 15, 10, 15))
    >>> split.assign(pl.DataFrame({"site": ["Oslo", "Lima", "Oslo", "Bern"]})).to_list()
    [3, 2, 3, 0]
    """

    def __init__(
        self, *, by: tuple[str, ...], pinned: Mapping[Part, tuple[str, ...]], shares: tuple[int, ...], salt: str = ""
    ) -> None:
        self.columns = by
        self._pinned = {group: part for part, groups in pinned.items() for group in groups}
        self._others = FingerprintSplit(key=by, shares=shares, salt=salt)

    def prepared(self, schema: Mapping[str, pl.DataType]) -> dict[str, pl.Expr]:
        return self._others.prepared(schema)

    def part(self, schema: Mapping[str, pl.DataType]) -> pl.Expr:
        others = self._others.part(schema)
        if not self._pinned:
            return others
        group = pl.concat_str([key_text(name, schema[name]) for name in self.columns], separator=SEPARATOR)
        codes = [PARTS.index(part) for part in self._pinned.values()]
        pinned = group.replace_strict(list(self._pinned), codes, default=None, return_dtype=pl.UInt8)
        return pl.coalesce(pinned, others)

    def sql(self, schema: Mapping[str, pl.DataType], dialect: Dialect) -> str:
        others = self._others.sql(schema, dialect)
        if not self._pinned:
            return others
        separator = sql.literal(SEPARATOR, dialect)
        texts = [text for name in self.columns for text in (separator, sql.text_of(name, schema[name], dialect))]
        cases = "".join(
            f" WHEN {sql.literal(group, dialect)} THEN {sql.literal(part, dialect)}"
            for group, part in self._pinned.items()
        )
        return f"CASE {sql.concatenated(texts[1:], dialect)}{cases} ELSE {others} END"
