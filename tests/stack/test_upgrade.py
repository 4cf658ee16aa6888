"""``make upgrade`` backs up first, puts new images in the place of the old ones, and loses nothing."""

from __future__ import annotations

import httpx
import pytest
from stack_platform import Platform, wait_for

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]

NEXT_COMMIT = "fedcba9876543210fedcba9876543210fedcba98"


def test_an_upgrade_backs_up_first_and_loses_nothing(platform: Platform, champion: str) -> None:
    with platform.api() as api:
        before = api.get(f"/models/{champion}").json()

    platform.set("AFORO_CODE_COMMIT", NEXT_COMMIT)
    platform.run("make", "upgrade")

    (archive,) = (platform.folder / "backups").glob("*.tar")
    assert archive.stat().st_mode & 0o777 == 0o600
    with platform.api() as api:
        wait_for(lambda: api.get(f"/models/{champion}").json()["champion"] == before["champion"], 60, "the champion")
    platform.train_again(champion)
    with platform.api() as api:
        wait_for(lambda: challenger(api, champion) not in (None, before["live"].get("challenger")), 60, "the version")
        described = api.get(f"/models/{champion}/versions/{challenger(api, champion)}").json()
    assert described["lineage"]["code_commit"] == NEXT_COMMIT


def challenger(api: httpx.Client, model: str) -> str | None:
    """Return the version that was registered last, once it is served."""
    version: str | None = api.get(f"/models/{model}").json()["live"].get("challenger")
    return version
