"""Bad input at the command line: refused with what, where, what was expected and what to do; nothing half written."""

from __future__ import annotations

import io
import sqlite3
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

if TYPE_CHECKING:
    from conftest import Home

SHOP: dict[str, Any] = {
    "title": "Will it be sold?",
    "owner": "ada",
    "task": {"kind": "binary"},
    "data": {
        "source": {"kind": "csv", "path": "data.csv"},
        "columns": [
            {"name": "id", "type": "string", "role": "key"},
            {"name": "colour", "type": "string", "role": "feature"},
            {"name": "size", "type": "number", "role": "feature"},
            {"name": "sold", "type": "boolean", "role": "target"},
            {"name": "price_paid", "type": "number", "role": "leak", "nullable": True},
        ],
    },
    "split": {"kind": "fingerprint", "key": ["id"]},
    "features": [{"kind": "one_hot", "columns": ["colour"]}, {"kind": "scale", "columns": ["size"]}],
    "candidates": [{"kind": "historical_rate", "by": ["colour"]}, {"kind": "linear"}],
}
HEADER = "id,colour,size,sold,price_paid\n"


def ingest(home: Home, file: str | bytes, path: str = "data.csv", **changes: Any) -> tuple[int, str]:
    """Ingest a file by the command line, and return exit code and message."""
    data = {**SHOP["data"], "source": {"kind": "csv", "path": path}, **changes}
    home.add_use_case("shop", {**SHOP, "data": data}, {path: file})
    done = home.aforo("ingest", "shop", "--run-key", "one")
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_a_csv_without_a_column_is_told_which_and_what_it_has(home: Home):
    assert ingest(home, "id,colour,sold,price_paid\na,red,true,\n") == (
        1,
        "aforo: data.csv has no column 'size'; it has: id, colour, sold, price_paid\n"
        "hint: correct the header, or map the name with `columns: {contract column: source column}` in the source\n",
    )
    assert home.files() == {}


def test_a_wrong_type_in_row_100_001_is_found_there_and_kept_in_quarantine(home: Home):
    rows = "".join(f"{number},red,1.5,true,\n" for number in range(1, 100_001))

    code, message = ingest(home, f"{HEADER}{rows}100001,red,big,false,\n")

    (quarantine,) = home.files()
    assert code == 1
    assert message == (
        "aforo: data.csv: 1 of 100001 rows are bad; allowed are 0\n"
        "most frequent:\n  1 x size is not a finite number\n"
        "first:\n  data.csv row 100001: size = 'big' is not a finite number\n"
        f"hint: see {quarantine} in the store for all of them; "
        "mend the source, correct the contract, or raise max_bad_rows\n"
    )
    kept = pl.read_parquet(home.folder / "store" / quarantine).to_dicts()
    assert [(line["file"], line["row"], line["column"], line["value"]) for line in kept] == [
        ("data.csv", 100_001, "size", "big")
    ]
    assert '"id":"100001"' in kept[0]["record"]


def test_a_key_that_comes_twice_with_other_values_is_told_with_its_row(home: Home):
    code, message = ingest(home, f"{HEADER}a,red,1,true,\nb,blue,2,false,\na,red,3,true,\n")

    assert code == 1
    assert "first:\n  data.csv row 3: id = 'a' has the key of an earlier row, and other values\n" in message
    assert [path.split("/")[1] for path in home.files()] == ["quarantine"]


def test_allowed_bad_rows_are_set_apart_and_the_rest_goes_on(home: Home):
    file = f"{HEADER}a,red,1,true,\nb,blue,big,false,\na,red,3,true,\na,red,1,true,\nc,red,2,false,\n"
    data = {**SHOP["data"], "max_bad_rows": 2}
    home.add_use_case("shop", {**SHOP, "data": data}, {"data.csv": file})

    assert home.aforo("ingest", "shop", "--run-key", "one").returncode == 0

    # By hand: a and c are kept, b and the second a are bad, the third a is the first again.
    assert home.manifest("ingest", "shop")["rows"] == {
        "read": 5,
        "kept": 2,
        "quarantined": 2,
        "duplicates": 1,
        "set_aside": {},
    }


def test_an_empty_file_is_refused(home: Home):
    assert ingest(home, b"") == (
        1,
        "aforo: data.csv is empty\nhint: expected a header line and rows below it\n",
    )
    assert home.files() == {}


def test_a_header_without_rows_is_refused(home: Home):
    assert ingest(home, HEADER) == (
        1,
        "aforo: data.csv has no rows below its header\nhint: check the path or the query\n",
    )
    assert home.files() == {}


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_zip_is_refused(home: Home, kept: float):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.csv", HEADER + "".join(f"{n},red,{n / 7},true,\n" for n in range(50_000)))

    code, message = ingest(home, packed.getvalue()[: int(len(packed.getvalue()) * kept)], "data.csv.zip")

    assert code == 1
    assert message.startswith("aforo: data.csv.zip is damaged or cut short: ")
    assert message.endswith("\nhint: fetch the file again and compare its size\n")
    assert home.files() == {}


def test_a_file_that_is_not_there_is_told_where_it_was_looked_for(home: Home):
    home.add_use_case("shop", SHOP)

    done = home.aforo("ingest", "shop", "--run-key", "one")

    assert (done.returncode, done.stderr) == (
        1,
        f"aforo: no file matches 'data.csv' (relative paths start at {home.use_cases / 'shop'})\n"
        "hint: check the path in the use case's `source`\n",
    )


def test_a_misspelt_kind_is_answered_with_the_valid_ones(home: Home):
    document = {**SHOP, "features": [{"kind": "one_hott", "columns": ["colour"]}, SHOP["features"][1]]}
    folder = home.add_use_case("shop", document)

    done = home.aforo("check", "shop")

    assert done.returncode == 2
    assert done.stderr.startswith(
        f"aforo: {folder / 'use_case.yaml'}: 1 thing(s) wrong\n"
        "  features.0: kind 'one_hott' does not exist; valid kinds: "
    )
    assert done.stderr.endswith("; did you mean 'one_hot'?\nhint: mend them and run `aforo check shop`\n")
    assert home.files() == {}


def test_a_leaked_column_as_a_feature_is_refused(home: Home):
    document = {**SHOP, "features": [*SHOP["features"], {"kind": "scale", "columns": ["price_paid"]}]}
    home.add_use_case("shop", document, {"data.csv": HEADER})

    checked, run = home.aforo("check", "shop"), home.aforo("run", "shop", "--run-key", "one")

    assert (checked.returncode, run.returncode) == (2, 2)
    assert checked.stderr == run.stderr
    assert (
        "column 'price_paid' leaks: it is known only after the moment of prediction, so it cannot be a feature\n"
        in checked.stderr
    )
    assert home.files() == {}


def test_a_use_case_that_does_not_exist_is_answered_with_those_that_do(home: Home):
    home.add_use_case("shop", SHOP)

    done = home.aforo("run", "shoop", "--run-key", "one")

    assert (done.returncode, done.stderr) == (
        2,
        f"aforo: no use case 'shoop' in {home.use_cases}; there are: shop\nhint: make one with `aforo new shoop`\n",
    )


def test_a_model_that_does_not_exist_is_answered_with_what_there_is(home: Home):
    done = home.aforo("reproduce", "no_such_model@champion")

    assert (done.returncode, done.stderr) == (
        1,
        "aforo: no model 'no_such_model' is registered; there are: none\n"
        "hint: train one with `aforo run no_such_model`\n",
    )


def test_a_run_key_that_would_leave_its_folder_is_refused(home: Home):
    home.add_use_case("shop", SHOP)

    done = home.aforo("ingest", "shop", "--run-key", "../../elsewhere")

    assert done.returncode == 2
    assert "run key '../../elsewhere' is not usable in a path" in done.stderr
    assert home.files() == {}


def test_a_snapshot_that_does_not_exist_is_refused(tiny: Home):
    done = tiny.aforo("ingest", "tiny", "--run-key", "one", "--snapshot", "f" * 64)

    assert (done.returncode, done.stderr) == (
        1,
        f"aforo: there is no snapshot {'f' * 64}\nhint: ingest the data again\n",
    )
    assert tiny.files() == {}


def test_a_changed_byte_in_a_snapshot_stops_the_next_step(tiny: Home):
    snapshot = tiny.step("ingest", "tiny").snapshot_id
    (part,) = (tiny.folder / "store" / "snapshots" / snapshot).glob("*.parquet")
    damaged = bytearray(part.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    part.write_bytes(damaged)

    done = tiny.aforo("validate", "tiny", "--run-key", "one")

    assert done.returncode == 1
    assert f"snapshot {snapshot} is not what was recorded: {part.name} has the SHA-256" in done.stderr
    assert "runs/tiny/one/validate/manifest.json" not in tiny.files()


def test_a_tampered_bundle_stops_the_gate_and_moves_nothing(tiny: Home):
    tiny.run("tiny")
    (graph,) = (tiny.folder / "mlartifacts").rglob("predictor.onnx")
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    for step in ("ingest", "validate", "split"):
        tiny.step(step, "tiny", "two")
    tiny.step("train", "tiny", "two", again=True)
    tiny.step("calibrate", "tiny", "two")
    before = tiny.files()

    done = tiny.aforo("evaluate", "tiny", "--run-key", "two")

    assert done.returncode == 1
    assert "predictor.onnx" in done.stderr
    assert "hint: " in done.stderr
    assert tiny.files() == before
    assert tiny.platform.versions.aliases("tiny") == {"champion": "1", "challenger": "1"}


def test_a_row_cut_from_the_ledger_is_refused_by_the_database_itself(tiny: Home):
    tiny.run("tiny")

    with sqlite3.connect(tiny.folder / "ledger.db") as database, pytest.raises(sqlite3.DatabaseError, match="append"):
        database.execute("DELETE FROM promotions")

    assert [row.version for row in tiny.platform.ledger.history("tiny")] == ["1"]


def test_a_setting_that_cannot_be_used_is_named(home: Home, tmp_path: Path):
    home.add_use_case("shop", SHOP)

    done = home.aforo("ingest", "shop", "--run-key", "one", AFORO_STORE_URL="ftp://somewhere")

    assert (done.returncode, done.stderr) == (
        2,
        "aforo: AFORO_STORE_URL is 'ftp://somewhere'; expected file:///folder or s3://\n"
        "hint: unset it to keep everything in one folder\n",
    )
