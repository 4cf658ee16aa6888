from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aforo.errors import SettingsError
from aforo.registry.signing import is_signed, sign, signing_key


def test_key_is_made_once_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / "home" / "signing.key"

    key = signing_key(path, create=True)

    assert len(key) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert signing_key(path, create=True) == signing_key(path) == key
    assert list(path.parent.iterdir()) == [path]


def test_two_that_begin_together_sign_with_the_same_key(tmp_path: Path):
    path = tmp_path / "signing.key"
    with ThreadPoolExecutor(16) as threads:
        keys = set(threads.map(lambda _: signing_key(path, create=True), range(64)))

    assert len(keys) == 1


def test_a_missing_key_is_not_made_unasked(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"signing\.key cannot be read: No such file"):
        signing_key(tmp_path / "signing.key")


def test_a_short_key_is_refused(tmp_path: Path):
    (tmp_path / "signing.key").write_text("secret\n")

    with pytest.raises(SettingsError, match="has 6 bytes; expected 32 or more"):
        signing_key(tmp_path / "signing.key")


def test_signature_is_that_of_rfc_4231():
    # Test case 2 of RFC 4231.
    signature = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

    assert sign(b"what do ya want for nothing?", b"Jefe") == signature
    assert is_signed(b"what do ya want for nothing?", signature, b"Jefe")
    assert not is_signed(b"what do ya want for nothing!", signature, b"Jefe")
    assert not is_signed(b"what do ya want for nothing?", "ünsigned", b"Jefe")
