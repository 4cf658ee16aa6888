"""FarmHash64, beside what Google's own code says (through pyfarmhash 0.4)."""

from __future__ import annotations

import polars as pl
import psycopg2
import pytest

from aforo.data.splits import postgres_functions
from aforo.data.splits.farmhash import farmhash64, hash_of_blocks

# farmhash.fingerprint64 of pyfarmhash, computed in an environment of its own; at these lengths polars_hash differs.
GOOGLE = {
    "x" * 128: 5868382771906808855,
    "x" * 192: 2861756950047880986,
    "x" * 640: 1061654405954844551,
}


def hashes(texts: list[str | None]) -> pl.Series:
    return pl.DataFrame({"t": texts}).select(farmhash64(pl.col("t"))).to_series()


def test_texts_of_whole_blocks_hash_as_google_s_code_hashes_them() -> None:
    assert hashes(list(GOOGLE)).to_list() == list(GOOGLE.values())


def test_texts_of_other_lengths_hash_the_same_in_both_implementations() -> None:
    texts = [f"{'é東_a'[number % 4]}" * number for number in range(65, 500)]
    texts = [text for text in texts if len(text.encode()) % 64]

    assert hashes(texts).to_list() == [hash_of_blocks(text.encode()) for text in texts]


def test_a_missing_text_has_no_hash() -> None:
    assert hashes([None, "x" * 128, None]).to_list() == [None, GOOGLE["x" * 128], None]


@pytest.mark.parametrize("repeats", [1, 2])
def test_postgres_computes_it_for_texts_of_every_length(postgres_url: str, repeats: int) -> None:
    texts = ["".join("aé東0 Z"[(place * 7 + size) % 6] for place in range(size)) for size in range(0, 300, repeats)]
    expected = hashes(texts).reinterpret(signed=True).to_list()
    connection = psycopg2.connect(postgres_url)
    try:
        with connection.cursor() as cursor:
            for _ in range(repeats):
                cursor.execute(postgres_functions())
            query = "SELECT aforo_farm_fingerprint(t) FROM unnest(%s) WITH ORDINALITY AS given(t, n) ORDER BY n"
            cursor.execute(query, (texts,))
            found = [value for (value,) in cursor.fetchall()]
    finally:
        connection.close()

    assert found == expected
