"""The split within each stratum, so that rare slices are in every part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from typing_extensions import override

from aforo.contracts.run import PARTS
from aforo.contracts.table import TableContract
from aforo.data.splits import sql
from aforo.data.splits.fingerprint import NO_TEXT, TEXT_TYPES, bounds_of
from aforo.data.splits.keytext import TEXT, key_text, part_of, percent_of
from aforo.data.splits.sql import Dialect
from aforo.data.splits.strategy import Shares, SplitSpecification, SplitStrategy, refuse_types

SEPARATOR = "/"
"""Between the texts of several columns, in the name of a stratum or of a group."""

Seed = Annotated[int, Field(ge=0)]
Floats = NDArray[np.float64]

# A stratum keeps its seed while no part is off by more than one row, or by this share of what was asked.
_TOLERANCE = 0.05


def names_of(value: object) -> object:
    """Give YAML's true, false and numbers the text that they have as a key."""
    if isinstance(value, Mapping):
        return {names_of(name): content for name, content in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(names_of(item) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else value


class StratifiedSplitSpec(SplitSpecification):
    """Split each stratum by itself.

    Attributes
    ----------
    by
        The strata: columns such as the target, or the group whose rare members matter.
    key
        Rows of one stratum that agree in these columns stay together; by default every row stands alone.
    seed
        Of all strata that ``seeds`` does not name.
    seeds
        Stratum to the seed that spreads it well; several columns are written ``EWR/HA``. The command
        ``aforo describe split USE_CASE --balance`` finds them.
    """

    kind: Literal["stratified"] = "stratified"
    by: Annotated[tuple[str, ...], Field(min_length=1)]
    key: tuple[str, ...] = ()
    shares: Shares = Shares()
    seed: Seed = 0
    seeds: Annotated[Mapping[str, Seed], BeforeValidator(names_of)] = Field(default_factory=dict)

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        return {"by": self.by, "key": self.key, **super().reads}

    def refuse_unfit(self, table: TableContract) -> None:
        super().refuse_unfit(table)
        if not (self.key or table.key):
            raise ValueError("split.key is not set, and no column has the role `key`; a stratified split needs one")
        refuse_types(table, "by", self.by, TEXT_TYPES, NO_TEXT)
        refuse_types(table, "key", self.key or table.key, TEXT_TYPES, NO_TEXT)

    def build(self, identity: tuple[str, ...] = ()) -> StratifiedSplit:
        key = self.key or identity
        return StratifiedSplit(by=self.by, key=key, shares=self.shares.in_order, seed=self.seed, seeds=self.seeds)


class StratifiedSplit(SplitStrategy):
    """Gives each row the part that its fingerprint falls into, with a seed for each stratum.

    By chance alone a slice of 30 rows misses a part of 10 % in one split out of 24. The usual cure, dealing out the
    rows of a stratum in exact shares, moves rows from train to test whenever some are added. Here a stratum that fell
    badly gets a seed that spreads it well, written into the use case once: the shares are as good, and nothing ever
    moves. The price: rows added later fall by chance again, and a seed chosen by looking at the target is one more
    choice to record. A missing value is a stratum of its own.

    Parameters
    ----------
    by, key
        Columns of the strata, and those that keep rows together within one.
    shares
        Percent for each part, in order.
    seeds
        Stratum to seed; ``seed`` for all others.

    References
    ----------
    Cochran: Sampling Techniques, 1977, chapter 5 (stratified sampling), with seeds in place of exact shares.

    Examples
    --------
    >>> rows = pl.DataFrame({"id": range(300), "kind": ["rare"] * 12 + ["common"] * 288})
    >>> options = {"by": ("kind",), "key": ("id",), "shares": (60, 10, 10, 20), "seed": 5}
    >>> sorted(set(StratifiedSplit(**options).assign(rows)[:12]))
    [0, 3]
    >>> StratifiedSplit(**options).balance(rows)
    {'common': 145, 'rare': 1}
    >>> sorted(set(StratifiedSplit(**options, seeds={"rare": 1}).assign(rows)[:12]))
    [0, 1, 2, 3]
    """

    def __init__(
        self,
        *,
        by: tuple[str, ...],
        key: tuple[str, ...],
        shares: tuple[int, ...],
        seed: int = 0,
        seeds: Mapping[str, int] | None = None,
    ) -> None:
        self.columns = tuple(dict.fromkeys((*by, *key)))
        self._by = by
        self._key = key
        self._shares = shares
        self._seed = seed
        self._seeds = dict(seeds or {})

    def prepared(self, schema: Mapping[str, pl.DataType]) -> dict[str, pl.Expr]:
        stratum = self._stratum(schema)
        seed = stratum.replace_strict(
            list(self._seeds), [str(seed) for seed in self._seeds.values()],
            default=str(self._seed), return_dtype=pl.String,
        ) if self._seeds else pl.lit(str(self._seed))  # fmt: skip
        return {TEXT: self._text(seed, schema)}

    @override
    def part(self, schema: Mapping[str, pl.DataType]) -> pl.Expr:
        return part_of(percent_of(pl.col(TEXT)), self._shares)

    def sql(self, schema: Mapping[str, pl.DataType], dialect: Dialect) -> str:
        texts = [f"COALESCE({sql.text_of(name, schema[name], dialect)}, '')" for name in self._by]
        separator = sql.literal(SEPARATOR, dialect)
        stratum = sql.concatenated([text for name in texts for text in (separator, name)][1:], dialect)
        cases = "".join(f" WHEN {sql.literal(name, dialect)} THEN '{seed}'" for name, seed in self._seeds.items())
        seed = f"CASE {stratum}{cases} ELSE '{self._seed}' END" if cases else f"'{self._seed}'"
        keys = [sql.text_of(name, schema[name], dialect) for name in self._key]
        percent = sql.percent_of(sql.concatenated([seed, "':'", stratum, "':'", *keys], dialect), dialect)
        return sql.bucket(percent, bounds_of(self._shares), PARTS, dialect)

    def balance(self, table: pl.DataFrame | pl.LazyFrame, *, tries: int = 200) -> dict[str, int]:
        """Return the seeds to write into the specification, so that each stratum has the shares in these rows.

        Those that are given are kept where they serve; of strata that fall badly the best of ``tries`` seeds is taken,
        by the sum of squared differences from the shares.

        Parameters
        ----------
        table
            Rows to balance; all that there are now.
        """
        rows = table.lazy()
        schema = rows.collect_schema()
        columns = {"stratum": self._stratum(schema), "key": pl.concat_str(self._keys(schema))}
        found = {}
        for (name,), group in rows.select(**columns).collect().group_by("stratum", maintain_order=True):
            stratum = str(name)
            keys = group.group_by("key", maintain_order=True).len()
            seed = self._seeds.get(stratum, self._seed)
            if not self._serves(self._rows(keys, stratum, [seed])[0]):
                off = [self._distance(rows) for rows in self._rows(keys, stratum, range(tries))]
                seed = off.index(min(off))
            if stratum in self._seeds or seed != self._seed:
                found[stratum] = seed
        return dict(sorted(found.items()))

    def _rows(self, keys: pl.DataFrame, stratum: str, seeds: Sequence[int]) -> Floats:
        """Rows of the stratum in each part under each seed, shape (S, 4)."""
        texts = {str(seed): pl.concat_str([pl.lit(f"{seed}:{stratum}:"), pl.col("key")]) for seed in seeds}
        parts = keys.select(**texts).select(
            part_of(percent_of(pl.col(seed)), self._shares).alias(seed) for seed in texts
        )
        weights = keys.get_column("len").cast(pl.Float64).to_numpy()
        return np.stack([np.bincount(column.to_numpy(), weights, len(PARTS)) for column in parts.iter_columns()])

    def _asked(self, rows: Floats) -> Floats:
        asked: Floats = np.array(self._shares, dtype=np.float64) / 100 * rows.sum()
        return asked

    def _distance(self, rows: Floats) -> float:
        return float(((rows - self._asked(rows)) ** 2).sum())

    def _serves(self, rows: Floats) -> bool:
        asked = self._asked(rows)
        is_close = np.abs(rows - asked) <= np.maximum(1, _TOLERANCE * asked)
        return bool(is_close.all() and (rows[asked > 0] > 0).all())

    def _stratum(self, schema: Mapping[str, pl.DataType]) -> pl.Expr:
        return pl.concat_str([key_text(name, schema[name]).fill_null("") for name in self._by], separator=SEPARATOR)

    def _keys(self, schema: Mapping[str, pl.DataType]) -> list[pl.Expr]:
        return [key_text(name, schema[name]) for name in self._key]

    def _text(self, seed: pl.Expr, schema: Mapping[str, pl.DataType]) -> pl.Expr:
        return pl.concat_str([seed, pl.lit(":"), self._stratum(schema), pl.lit(":"), *self._keys(schema)])
