"""What holds for every kind of split, by being in the union."""

from __future__ import annotations

import datetime as dt
import doctest
import importlib
import io
import random
from typing import Any, get_args

import polars as pl
import psycopg2
import pytest
from pydantic import TypeAdapter

from aforo.contracts.table import TableContract
from aforo.data.casting import DTYPES
from aforo.data.splits import LABELS, LEFT_OUT, SplitSpec, SplitSpecification, postgres_functions
from aforo.errors import DataError

ADAPTER: TypeAdapter[SplitSpecification] = TypeAdapter(SplitSpec)
SPECS = get_args(get_args(SplitSpec)[0])
KINDS = [spec.model_fields["kind"].default for spec in SPECS]
SHARES = {"train": 50, "validation": 0, "calibration": 20, "test": 30}
SUMMER = {"validation_from": "2013-07-01", "calibration_from": "2013-08-01", "test_from": "2013-09-01"}
# A kind that is not listed here fails the suite: every kind is tried over several types, with and without options.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "fingerprint": [
        {"key": ["day"]},
        {"key": ["moment"], "salt": "it's \\ 5 o'clock\n"},
        {"key": ["place", "flag", "id"], "shares": SHARES},
    ],
    "random": [{}, {"seed": 7, "shares": SHARES}],
    "sequential": [{"column": "day", **SUMMER}, {"column": "moment", "gap_days": 3, **SUMMER}],
    "seasonal": [
        {"column": "day"},
        {"column": "moment", "gap_days": 2, "until": {"train": 15, "validation": 19, "calibration": 23}},
    ],
    "stratified": [
        {"by": ["place"]},
        {"by": ["flag", "place"], "key": ["day"], "seeds": {"true/Oslo": 5, "false/it's": 2}, "shares": SHARES},
        {"by": ["maybe"], "seeds": {"": 3, True: 1}, "seed": 9},
    ],
    "grouped": [
        {"by": ["place"]},
        {"by": ["place"], "pinned": {"test": ["it's", "São Paulo"], "train": ["Lima"]}},
        {"by": ["flag", "day"], "pinned": {"calibration": ["true/2013-01-01"]}, "shares": SHARES, "salt": "b"},
    ],
}
DOCUMENTS = [{"kind": kind, **variant} for kind in KINDS for variant in VARIANTS[kind]]
PLACES = ["Oslo", "Lima", "São Paulo", "東京", "it's", "a/b", "x" * 128, "back\\slash", ""]

CONTRACT = TableContract.model_validate(
    {
        "columns": [
            {"name": "id", "type": "integer", "role": "key"},
            {"name": "day", "type": "date", "role": "info"},
            {"name": "moment", "type": "timestamp", "role": "time"},
            {"name": "place", "type": "string", "role": "feature"},
            {"name": "flag", "type": "boolean", "role": "feature"},
            {"name": "maybe", "type": "boolean", "role": "feature", "nullable": True},
            {"name": "size", "type": "number", "role": "target"},
        ]
    }
)
SCHEMA = {column.name: DTYPES[column.type] for column in CONTRACT.columns}


def make_table(rows: int, seed: int = 1) -> pl.DataFrame:
    """Rows of all of 2013, their ids in no order, with texts that SQL must escape."""
    rng = random.Random(seed)
    start = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
    # Whole seconds, milliseconds and microseconds are written differently.
    units = (1_000_000, 1_000, 1)
    moments = [
        start + dt.timedelta(microseconds=rng.randrange(365 * 86_400_000_000) // unit * unit)
        for unit in rng.choices(units, k=rows)
    ]
    return pl.DataFrame(
        {
            "id": rng.sample(range(-(10**15), 10**15), rows),
            "day": [moment.date() for moment in moments],
            "moment": moments,
            "place": rng.choices(PLACES, k=rows),
            "flag": rng.choices([True, False], k=rows),
            "maybe": rng.choices([True, False, None], k=rows),
            "size": [rng.random() for _ in range(rows)],
        },
        schema=SCHEMA,
    )


TABLE = make_table(1_200)


@pytest.fixture(params=DOCUMENTS, ids=lambda document: "-".join(map(str, document.values()))[:60])
def spec(request: pytest.FixtureRequest) -> SplitSpecification:
    return ADAPTER.validate_python(request.param)


def test_every_row_has_one_part_or_is_left_out(spec: SplitSpecification) -> None:
    parts = spec.build(CONTRACT.key).assign(TABLE)

    assert parts.dtype == pl.UInt8
    assert len(parts) == TABLE.height
    assert set(parts) <= {*range(4), LEFT_OUT}
    assert {0, 2, 3} <= set(parts)
    assert (LEFT_OUT in set(parts)) == bool(getattr(spec, "gap_days", 0))


def test_a_row_stays_in_its_part_when_rows_are_added_or_reordered(spec: SplitSpecification) -> None:
    split = spec.build(CONTRACT.key)
    before = dict(zip(TABLE["id"], split.assign(TABLE), strict=True))
    more = pl.concat([TABLE, make_table(500, seed=2)]).sample(fraction=1, shuffle=True, seed=3)

    after = dict(zip(more["id"], split.assign(more), strict=True))

    assert {key: after[key] for key in before} == before


@pytest.mark.parametrize(("rows", "size"), [(40, 1), (1_200, 7 * 64), (1_200, 1_199)])
def test_batches_give_what_the_whole_table_gives(spec: SplitSpecification, rows: int, size: int) -> None:
    split = spec.build(CONTRACT.key)
    table = TABLE.head(rows)

    assert pl.concat(split.assign(batch) for batch in table.iter_slices(size)).equals(split.assign(table))


def test_a_lazy_table_gives_what_a_table_in_memory_gives(spec: SplitSpecification) -> None:
    split = spec.build(CONTRACT.key)

    assert split.assign(TABLE.lazy()).equals(split.assign(TABLE))


def test_postgres_puts_every_row_into_the_same_part(spec: SplitSpecification, postgres_url: str) -> None:
    split = spec.build(CONTRACT.key)
    expected = [LABELS[code] for code in split.assign(TABLE)]

    connection = psycopg2.connect(postgres_url)
    try:
        with connection.cursor() as cursor:
            # The server's own zone must not move a day.
            cursor.execute("SET TIME ZONE 'America/New_York'")
            cursor.execute(postgres_functions())
            cursor.execute(
                "CREATE TABLE rows (number serial, id bigint, day date, moment timestamptz, place text,"
                " flag boolean, maybe boolean, size double precision)"
            )
            copied = TABLE.with_columns(pl.col("moment").dt.strftime("%Y-%m-%d %H:%M:%S%.6f+00"))
            text = copied.write_csv(include_header=False, null_value="\\N", quote_style="non_numeric")
            columns = "id, day, moment, place, flag, maybe, size"
            cursor.copy_expert(f"COPY rows ({columns}) FROM STDIN (FORMAT csv, NULL '\\N')", io.StringIO(text))
            cursor.execute(f"SELECT {split.sql(SCHEMA, 'postgres')} FROM rows ORDER BY number")
            found = [part for (part,) in cursor.fetchall()]
    finally:
        connection.close()

    assert found == expected


def test_a_row_without_a_value_is_refused(spec: SplitSpecification) -> None:
    split = spec.build(CONTRACT.key)
    name = split.columns[-1]
    rows = TABLE.with_columns(pl.when(pl.int_range(pl.len()) < 3).then(None).otherwise(pl.col(name)).alias(name))

    with pytest.raises(DataError, match="3 rows have no value in the split's key"):
        split.assign(rows)


def test_a_column_that_is_not_there_is_named(spec: SplitSpecification) -> None:
    split = spec.build(CONTRACT.key)

    with pytest.raises(DataError, match=f"{split.columns[0]}.* is not in the table"):
        split.assign(TABLE.drop(split.columns[0]))
    with pytest.raises(ValueError, match=r"split\.slices names 'colour', which is not in data\.columns"):
        spec.model_copy(update={"slices": ("colour",)}).refuse_unfit(CONTRACT)


def test_the_specification_fits_the_contract_and_survives_json(spec: SplitSpecification) -> None:
    spec.refuse_unfit(CONTRACT)

    again = ADAPTER.validate_json(spec.model_dump_json())
    assert again.build(CONTRACT.key).assign(TABLE).equals(spec.build(CONTRACT.key).assign(TABLE))


@pytest.mark.parametrize("kind", KINDS)
def test_the_docstring_says_source_and_price_and_its_example_runs(kind: str) -> None:
    module = importlib.import_module(f"aforo.data.splits.{kind}")
    strategy = getattr(module, f"{kind.capitalize()}Split")

    assert "References\n" in strategy.__doc__
    found = doctest.DocTestFinder().find(strategy, globs=dict(vars(module)))
    results = [doctest.DocTestRunner().run(example) for example in found]
    assert sum(result.attempted for result in results) >= 2
    assert sum(result.failed for result in results) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_another_type_is_refused(kind: str) -> None:
    document = next(document for document in DOCUMENTS if document["kind"] == kind)
    field = next(name for name in ("key", "column", "by", "kind") if name in document)
    contract = CONTRACT
    if kind == "random":
        columns = [{**c.model_dump(), "role": "key" if c.name == "size" else "info"} for c in CONTRACT.columns]
        columns[0]["role"] = "target"
        contract = TableContract.model_validate({"columns": columns})
    else:
        document = {**document, field: "size" if field == "column" else ["size"]}

    with pytest.raises(ValueError, match=rf"split\.{field}: column 'size' is a number"):
        ADAPTER.validate_python(document).refuse_unfit(contract)
