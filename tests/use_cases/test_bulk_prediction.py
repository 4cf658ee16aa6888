"""Files of any size through a registered version: every row answered as the API answers it, or told why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import httpx
import polars as pl
import pytest

from aforo.errors import DataError, ModelNotFound, SettingsError, SourceError
from aforo.settings import Settings
from aforo.workflows import bulk
from aforo.workflows.wiring import Platform

INPUTS = ["fage", "mage", "weeks", "visits", "gained", "sex", "habit"]


@pytest.fixture(scope="module")
def births(trained: Any) -> pl.DataFrame:
    """The 1,000 births as the snapshot has them."""
    platform = trained.platform
    return platform.snapshots.load(platform.versions.resolve("newborn_weight", "champion").tags["snapshot_id"])


@pytest.fixture
def predict(trained: Any, tmp_path: Path) -> Callable[..., bulk.BulkManifest]:
    def run(source: Path | str, output: str = "out", model: str = "newborn_weight", **options: Any) -> Any:
        options = {"version": "champion", "platform": trained.platform, **options}
        return bulk.predict(model, options.pop("version"), str(source), str(tmp_path / output), **options)

    return run


def answers(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "part-*.parquet")


def test_every_row_has_the_answer_of_the_api_bit_for_bit(
    served: httpx.Client, births: pl.DataFrame, predict: Callable[..., Any], tmp_path: Path
) -> None:
    births.write_parquet(tmp_path / "births.parquet")
    rows = births.select(INPUTS).head(200).to_dicts()
    asked = served.post("/models/newborn_weight/predict", json={"rows": rows}).json()["predictions"]

    manifest = predict(tmp_path / "births.parquet", rows_per_part=64)

    found = answers(tmp_path / "out")
    assert found.get_column("row").to_list() == list(range(1, 1001))
    assert found.head(200).get_column("value").to_list() == [each["value"] for each in asked]
    assert found.head(200).get_column("upper").to_list() == [each["interval"]["upper"] for each in asked]
    assert (manifest.rows, manifest.without_answer, len(manifest.parts)) == (1000, 0, 16)


def test_classes_have_their_probabilities_and_label(
    trained: Any, served: httpx.Client, predict: Callable[..., Any], tmp_path: Path
) -> None:
    source = Path(__file__).parents[2] / "services/use_cases/breast_cancer/data.csv"
    names = [column.name for column in trained.use_case("breast_cancer").inputs]
    sent = {"rows": pl.read_csv(source).select(names).head(50).to_dicts()}
    asked = served.post("/models/breast_cancer/predict", json=sent).json()["predictions"]

    predict(source, model="breast_cancer", keep=["diagnosis"])

    found = answers(tmp_path / "out").head(50)
    assert found.columns[:2] == ["row", "diagnosis"]
    assert found.get_column("label").to_list() == [each["label"] for each in asked]
    assert found.get_column("abstain_reason").to_list() == [each["abstain_reason"] for each in asked]
    for label in asked[0]["probabilities"]:
        expected = [each["probabilities"][label] for each in asked]
        assert found.get_column(f"probability_{label}").to_list() == expected


@pytest.mark.parametrize("name", ["newborn_weight", "breast_cancer"])
def test_explanations_are_those_of_the_api(
    trained: Any, served: httpx.Client, predict: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    tags = trained.platform.versions.resolve(name, "champion").tags
    source = trained.platform.snapshots.load(tags["snapshot_id"]).head(4)
    source.write_parquet(tmp_path / "few.parquet")
    inputs = [column.name for column in trained.use_case(name).inputs]
    rows = source.select(inputs).to_dicts()
    asked = {"rows": rows, "explain": True}
    predictions = served.post(f"/models/{name}/predict", json=asked).json()["predictions"]

    predict(tmp_path / "few.parquet", model=name, explain="shapley")

    found = answers(tmp_path / "out")
    for prediction, row in zip(predictions, found.iter_rows(named=True), strict=True):
        why = prediction["explanation"]
        contributions = {column: row[f"contribution_{column}"] for column in inputs}
        assert (row["explained"], row["rest"]) == (why["of"], 0.0)
        assert row["baseline"] == pytest.approx(why["baseline"], abs=1e-12)
        # Under load the API draws fewer permutations, and says so.
        error = {column: 6 * why["standard_errors"][column] + 1e-9 for column in inputs}
        assert all(abs(contributions[column] - why["contributions"][column]) <= error[column] for column in inputs)


def test_what_explanations_are_called_may_not_be_kept(predict: Callable[..., Any], tmp_path: Path) -> None:
    table = {**dict.fromkeys(INPUTS), "mage": 30, "weeks": 39, "sex": "male", "baseline": 1}
    pl.DataFrame([table]).write_parquet(tmp_path / "one.parquet")

    predict(tmp_path / "one.parquet", keep=["baseline"], max_bad_rows=1)
    with pytest.raises(DataError, match="--keep baseline cannot be"):
        predict(tmp_path / "one.parquet", keep=["baseline"], explain="baseline", output="other")


def test_a_job_that_broke_off_goes_on_and_gives_the_same_bytes(
    births: pl.DataFrame, predict: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    births.write_parquet(tmp_path / "births.parquet")
    whole = predict(tmp_path / "births.parquet", "whole", rows_per_part=100)
    computed: list[int] = []
    honest = bulk.answer

    def breaks_at_the_fourth(batch: pl.DataFrame, *arguments: Any) -> pl.DataFrame:
        computed.append(batch.height)
        if len(computed) == 4:
            raise KeyboardInterrupt
        return honest(batch, *arguments)

    monkeypatch.setattr(bulk, "answer", breaks_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        predict(tmp_path / "births.parquet", "broken", rows_per_part=100)
    assert sorted(p.name for p in (tmp_path / "broken").iterdir()) == [
        "job.json",
        *(f"part-00000-{i:05d}.parquet" for i in range(3)),
    ]

    resumed = predict(tmp_path / "births.parquet", "broken", rows_per_part=100)

    assert len(computed) == 4 + 7
    assert resumed.parts == whole.parts


def test_a_job_that_goes_on_keeps_the_version_it_began_with(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.run("tiny", "one")
    source = tmp_path / "rows.csv"
    source.write_bytes((tiny.use_cases / "tiny" / "data.csv").read_bytes())
    asked = ("tiny", "champion", str(source), str(tmp_path / "out"), tiny.platform)
    honest = bulk.answer

    def breaks(*_: Any) -> pl.DataFrame:
        raise KeyboardInterrupt

    monkeypatch.setattr(bulk, "answer", breaks)
    with pytest.raises(KeyboardInterrupt):
        bulk.predict(*asked)
    monkeypatch.setattr(bulk, "answer", honest)
    tiny.step("ingest", "tiny", "two")
    for step in ("validate", "split"):
        tiny.step(step, "tiny", "two")
    tiny.step("train", "tiny", "two", again=True)
    for step in ("calibrate", "evaluate", "promote"):
        tiny.step(step, "tiny", "two")
    assert tiny.platform.versions.aliases("tiny")["champion"] == "2"

    resumed = bulk.predict(*asked)

    assert (resumed.job.asked, resumed.job.version, resumed.rows) == ("champion", "1", 569)
    with pytest.raises(DataError, match="asked was 'champion', and is '2'"):
        bulk.predict("tiny", "2", *asked[2:])


def test_a_finished_job_is_not_computed_again(
    births: pl.DataFrame, predict: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    births.write_parquet(tmp_path / "births.parquet")
    first = predict(tmp_path / "births.parquet")
    monkeypatch.setattr(bulk, "answer", lambda *_: pytest.fail("computed again"))

    assert predict(tmp_path / "births.parquet") == first


def test_a_folder_with_another_job_or_other_files_is_refused_and_left_alone(
    births: pl.DataFrame, predict: Callable[..., Any], tmp_path: Path
) -> None:
    births.write_parquet(tmp_path / "births.parquet")
    predict(tmp_path / "births.parquet")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")

    with pytest.raises(DataError, match=r"another job: keep was \(\), and is \('birth',\)"):
        predict(tmp_path / "births.parquet", keep=["birth"])
    with pytest.raises(DataError, match=r"holds 'thesis\.txt'"):
        predict(tmp_path / "births.parquet", "full")
    with pytest.raises(SettingsError, match="is a file"):
        predict(tmp_path / "births.parquet", "full/thesis.txt")

    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_bad_rows_stop_the_job_with_what_is_wrong(
    births: pl.DataFrame, predict: Callable[..., Any], tmp_path: Path
) -> None:
    rows = births.select(INPUTS).head(5).cast(pl.String)
    bad = rows.with_columns(
        weeks=pl.Series(["39", "many", None, "99", "40"]), sex=pl.Series(["male", "male", "female", "other", "male"])
    )
    bad.write_csv(tmp_path / "births.csv")

    with pytest.raises(DataError) as caught:
        predict(tmp_path / "births.csv")

    assert str(caught.value).splitlines() == [
        f"{tmp_path / 'births.csv'}: 3 row(s) so far break the model's contract; allowed are 0",
        "  row 2: weeks is not a whole number up to 2**53",
        "  row 3: weeks is missing",
        "  row 4: weeks is above 46 weeks; sex is none of female, male",
        "hint: mend the rows, or raise --max-bad-rows to keep them without an answer",
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["job.json"]


def test_allowed_bad_rows_are_kept_without_an_answer(
    births: pl.DataFrame, predict: Callable[..., Any], tmp_path: Path
) -> None:
    lines = births.select(INPUTS).head(4).write_csv().splitlines()
    lines[2] = "only,three,fields"
    (tmp_path / "births.csv").write_text("\n".join(lines) + "\n")

    manifest = predict(tmp_path / "births.csv", max_bad_rows=1)

    found = answers(tmp_path / "out")
    assert (manifest.rows, manifest.without_answer) == (4, 1)
    assert found.get_column("row").to_list() == [1, 2, 3, 4]
    assert found.get_column("problem").to_list() == [None, "expected 7 fields, found 3", None, None]
    assert found.get_column("value").is_null().to_list() == [False, True, False, False]


def test_a_wrong_column_in_the_last_file_is_refused_before_the_first_row(
    births: pl.DataFrame, predict: Callable[..., Any], tmp_path: Path
) -> None:
    births.write_parquet(tmp_path / "a.parquet")
    births.drop("mage").write_parquet(tmp_path / "b.parquet")
    with pytest.raises(SourceError, match=r"b\.parquet has no column 'mage'"):
        predict(tmp_path / "*.parquet")

    births.with_columns(mage=pl.lit([1])).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet: column 'mage' has the type List"):
        predict(tmp_path / "*.parquet", "second")

    assert not list(tmp_path.glob("*/part-*"))


def test_a_column_that_may_be_missing_need_not_be_there(
    births: pl.DataFrame, predict: Callable[..., Any], tmp_path: Path
) -> None:
    births.drop("fage").write_parquet(tmp_path / "a.parquet")
    births.with_columns(fage=pl.lit(None, pl.Int64)).write_parquet(tmp_path / "b.parquet")

    predict(tmp_path / "a.parquet", "a")
    predict(tmp_path / "b.parquet", "b")

    assert answers(tmp_path / "a").equals(answers(tmp_path / "b"))


def test_a_kept_column_may_not_hide_an_answer(
    births: pl.DataFrame, predict: Callable[..., Any], tmp_path: Path
) -> None:
    births.with_columns(value=1).write_parquet(tmp_path / "births.parquet")

    with pytest.raises(DataError, match="--keep value"):
        predict(tmp_path / "births.parquet", keep=["value"])


def test_from_and_to_the_object_store(
    trained: Any, births: pl.DataFrame, predict: Callable[..., Any], s3_environment: dict[str, str], tmp_path: Path
) -> None:
    births.write_parquet(tmp_path / "births.parquet")
    predict(tmp_path / "births.parquet", rows_per_part=400)
    bucket = s3_environment["AFORO_S3_BUCKET_PREFIX"] + "raw"
    keys = {
        "aws_access_key_id": s3_environment["AFORO_S3_ACCESS_KEY"],
        "aws_secret_access_key": s3_environment["AFORO_S3_SECRET_KEY"],
        "endpoint_url": s3_environment["AFORO_S3_ENDPOINT_URL"],
    }
    client = boto3.client("s3", region_name="us-east-1", **keys)
    client.upload_file(str(tmp_path / "births.parquet"), bucket, "births/2014.parquet")
    settings = Settings.from_environment({**trained.variables, **s3_environment})

    manifest = bulk.predict(
        "newborn_weight",
        "champion",
        f"s3://{bucket}/births/*.parquet",
        f"s3://{bucket}/weights",
        Platform.of(settings),
        rows_per_part=400,
    )

    stored = client.list_objects_v2(Bucket=bucket, Prefix="weights/")["Contents"]
    assert [each["Key"].removeprefix("weights/") for each in stored] == [
        "job.json",
        "manifest.json",
        "part-00000-00000.parquet",
        "part-00000-00001.parquet",
        "part-00000-00002.parquet",
    ]
    local = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [part.sha256 for part in manifest.parts] == [part["sha256"] for part in local["parts"]]


def test_the_command_says_what_it_did(trained: Any, births: pl.DataFrame, tmp_path: Path) -> None:
    births.write_parquet(tmp_path / "births.parquet")
    asked = ("predict", "newborn_weight", "-i", tmp_path / "births.parquet", "-o", tmp_path / "out")

    said = trained.aforo(*asked)
    again = trained.aforo(*asked, "--json")

    assert (said.returncode, again.returncode) == (0, 0), said.stderr
    assert [line.split()[-1] for line in said.stdout.splitlines()[1:4]] == ["1000", "0", "1"]
    assert bulk.BulkManifest.model_validate_json(again.stdout).rows == 1000


def test_a_model_or_version_that_does_not_exist_is_answered_with_what_there_is(
    trained: Any, predict: Callable[..., Any], tmp_path: Path
) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "a.parquet")

    with pytest.raises(ModelNotFound, match="there are: arrest, breast_cancer, digits, newborn_weight"):
        predict(tmp_path / "a.parquet", model="newborn_size")
    with pytest.raises(ModelNotFound, match="champion"):
        predict(tmp_path / "a.parquet", version="97")
