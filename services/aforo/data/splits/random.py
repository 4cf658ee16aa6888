"""The random split, for rows that have nothing to do with each other."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aforo.contracts.table import TableContract
from aforo.data.splits.fingerprint import NO_TEXT, TEXT_TYPES, FingerprintSplit
from aforo.data.splits.strategy import Shares, SplitSpecification, refuse_types
from aforo.errors import UseCaseError


class RandomSplitSpec(SplitSpecification):
    """Split row by row, by chance.

    Attributes
    ----------
    seed
        Another seed is another split, and another test part.
    """

    kind: Literal["random"] = "random"
    shares: Shares = Shares()
    seed: Annotated[int, Field(ge=0)] = 0

    def refuse_unfit(self, table: TableContract) -> None:
        super().refuse_unfit(table)
        if not table.key:
            raise ValueError("split: a random split needs to tell rows apart; give a column the role `key`")
        refuse_types(table, "kind", table.key, TEXT_TYPES, NO_TEXT)

    def build(self, identity: tuple[str, ...] = ()) -> RandomSplit:
        return RandomSplit(identity=identity, shares=self.shares.in_order, seed=self.seed)


class RandomSplit(FingerprintSplit):
    """Gives each row a part by chance: the same chance every time, for it follows from the row's identity and the seed.

    Right only where rows are independent: one row a person, say. Rows that share a day, a customer or a machine
    would end up on both sides, and the test part would ask what training has seen; the figures then claim more
    than the model keeps. Group such rows (`grouped`, `fingerprint`), or look ahead in time (`sequential`).

    Parameters
    ----------
    identity
        Columns that identify a row.
    shares
        Percent for each part, in order. With N rows expect a share p within 200 * sqrt(p * (1 - p) / N) percent.

    Raises
    ------
    UseCaseError
        No column identifies a row.

    References
    ----------
    Hastie, Tibshirani, Friedman: The Elements of Statistical Learning, 2009, section 7.2.

    Examples
    --------
    >>> import polars as pl
    >>> RandomSplit(identity=("id",), shares=(60, 15, 10, 15)).assign(pl.DataFrame({"id": [1, 2, 3]})).to_list()
    [2, 3, 3]
    """

    def __init__(self, *, identity: tuple[str, ...], shares: tuple[int, ...], seed: int = 0) -> None:
        if not identity:
            raise UseCaseError(
                "a random split needs to tell rows apart, and the table has no key", hint="give a column the role `key`"
            )
        super().__init__(key=identity, shares=shares, salt=f"{seed}:")
