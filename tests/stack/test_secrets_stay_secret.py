"""No secret shows where people and programs look: settings, process lists, environments, images."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from stack_platform import ONE_SHOTS, Platform

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]

LASTING = (
    "postgres", "minio", "mlflow", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor",
    "airflow-triggerer", "prediction-api", "log-shipper", "proxy", "metrics",
)  # fmt: skip


@pytest.fixture(scope="module")
def secrets(platform: Platform) -> dict[str, str]:
    """Name to the part of each secret file that nobody may see."""
    return dict(secret_parts(platform))


def secret_parts(platform: Platform) -> Iterator[tuple[str, str]]:
    for path in sorted((platform.folder / "secrets").iterdir()):
        text = path.read_text(encoding="utf-8").strip()
        if path.name.startswith("postgres_"):
            yield path.name, text.rsplit(":", 1)[1]
        elif path.name == "store_mlflow":
            yield path.name, text.rsplit("= ", 1)[1]
        elif path.name == "tls_key":
            yield path.name, text.splitlines()[1]
        elif path.name not in ("tls_certificate", "tls_authority", "prediction_api_keys", "store_root_identity"):
            yield path.name, text


def shown(secrets: dict[str, str], text: str) -> list[str]:
    return [name for name, value in secrets.items() if value in text]


def test_every_file_is_for_its_owner_alone(platform: Platform) -> None:
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (platform.folder / "secrets").iterdir()}
    assert set(modes.values()) == {"0o600"}, modes


def test_secrets_are_kept_out_of_git_and_of_images(platform: Platform) -> None:
    assert "/secrets/" in (platform.folder / ".gitignore").read_text().splitlines()
    assert "!secrets" not in (platform.folder / ".dockerignore").read_text()


def test_making_secrets_again_changes_none(platform: Platform) -> None:
    before = {path.name: path.read_bytes() for path in (platform.folder / "secrets").iterdir()}
    platform.operate("secrets")
    assert {path.name: path.read_bytes() for path in (platform.folder / "secrets").iterdir()} == before


def test_the_configuration_shows_none(platform: Platform, secrets: dict[str, str]) -> None:
    assert shown(secrets, platform.compose("config")) == []


def test_docker_inspect_shows_none(platform: Platform, secrets: dict[str, str]) -> None:
    ids = [item["ID"] for item in platform.containers().values()]
    assert shown(secrets, platform.run("docker", "inspect", *ids).stdout) == []


@pytest.mark.parametrize("service", LASTING)
def test_no_environment_and_no_command_line_in_the_container_shows_one(
    platform: Platform, secrets: dict[str, str], service: str
) -> None:
    text = platform.compose(
        "exec", "-T", service, "sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'", check=False
    )
    assert "PATH=" in text
    assert shown(secrets, text) == []


@pytest.mark.parametrize("service", sorted(ONE_SHOTS | set(LASTING)))
def test_the_log_shows_none(platform: Platform, secrets: dict[str, str], service: str) -> None:
    assert shown(secrets, platform.compose("logs", "--no-log-prefix", service)) == []


def test_no_layer_of_our_images_holds_one(platform: Platform, secrets: dict[str, str]) -> None:
    ours = {name for name in platform.compose("config", "--images").split() if name.startswith("aforo/")}
    assert {name.split(":")[0] for name in ours} == {"aforo/airflow", "aforo/mlflow", "aforo/prediction-api"}
    patterns = platform.folder / "patterns"
    patterns.write_text("\n".join(secrets.values()) + "\n")
    try:
        with subprocess.Popen(["docker", "save", *sorted(ours)], stdout=subprocess.PIPE) as saved:
            found = subprocess.run(
                ["grep", "--text", "--only-matching", "--fixed-strings", f"--file={patterns}"],
                stdin=saved.stdout, capture_output=True, check=False, env=os.environ | {"LC_ALL": "C"},
            )  # fmt: skip
        assert found.stdout == b""
        assert found.returncode == 1, found.stderr  # read to the end, nothing found
    finally:
        patterns.unlink()


@pytest.mark.parametrize("image", ["airflow", "mlflow", "prediction-api"])
def test_the_history_of_our_images_shows_none(platform: Platform, secrets: dict[str, str], image: str) -> None:
    tag = next(name for name in platform.compose("config", "--images").split() if f"aforo/{image}:" in name)
    history = platform.run("docker", "history", "--no-trunc", "--format", "json", tag).stdout
    assert "PYTHONSAFEPATH" in history
    assert shown(secrets, history) == []


def test_an_empty_environment_is_answered_with_what_to_do(platform: Platform) -> None:
    done = platform.run("docker", "compose", "--env-file", "/dev/null", "config", check=False)
    assert done.returncode != 0
    assert "make secrets" in done.stderr
