import re
from pathlib import Path

import pytest

from aforo.errors import SettingsError
from aforo.settings import Settings, secret

ROOT = Path(__file__).parents[3]
SOURCES = (
    *(ROOT / "services").rglob("*.py"),
    *(ROOT / "airflow" / "dags").glob("*.py"),
    *(ROOT / "deploy").rglob("*.py"),
    *(ROOT / "deploy").rglob("*.yaml"),
    *(ROOT / "dockerfiles").iterdir(),
    ROOT / "docker-compose.yaml",
    ROOT / "mlflow" / "start_server.sh",
)


def test_without_any_variable_everything_is_in_one_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment({})
    assert settings.is_embedded
    assert settings.store_url == (tmp_path / ".aforo" / "store").as_uri()
    assert settings.mlflow_tracking_uri == f"sqlite:///{tmp_path}/.aforo/mlflow.db"


def test_a_secret_is_read_from_the_file_the_variable_names(tmp_path):
    (tmp_path / "key").write_text("s3cret\n", encoding="utf-8")
    assert secret({"AFORO_S3_SECRET_KEY_FILE": str(tmp_path / "key")}, "AFORO_S3_SECRET_KEY") == "s3cret"


def test_a_secret_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"AFORO_S3_SECRET_KEY_FILE points at .*nowhere"):
        secret({"AFORO_S3_SECRET_KEY_FILE": str(tmp_path / "nowhere")}, "AFORO_S3_SECRET_KEY")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AFORO_STORE_URL", "/data"),
        ("AFORO_LOG_FORMAT", "xml"),
        ("AFORO_PATIENCE_S", "ten"),
        ("AFORO_PATIENCE_S", "-1"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(name, value):
    with pytest.raises(SettingsError, match=f"{name} is '{value}'"):
        Settings.from_environment({name: value})


def test_every_variable_is_in_the_example():
    readers = ("aforo/settings.py", "aforo/monitoring/spool.py", "prediction_api/options.py")
    source = "".join((ROOT / "services" / reader).read_text(encoding="utf-8") for reader in readers)
    names = set(re.findall(r'"((?:AFORO|MLFLOW)_[A-Z0-9_]+)"', source))
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert names
    assert {name for name in names if name not in example} == set()


def test_the_example_names_every_variable_of_ours_and_no_other():
    text = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    used = set(re.findall(r"\bAFORO(?:_[A-Z0-9]+)+\b", text))
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    documented = set(re.findall(r"^(?:# )?(AFORO(?:_[A-Z0-9]+)+)=", example, re.MULTILINE))
    # NAME_FILE names a file that holds the value of NAME.
    with_file = {f"{name}_FILE" for name in used}
    assert {name for name in used if name not in documented and f"{name}_FILE" not in documented} == set()
    assert documented - used - with_file == set()
