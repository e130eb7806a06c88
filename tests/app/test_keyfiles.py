"""Key files: made once, for their owner only, never overwritten; and what is said of unusable ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from l2mesh.app import keyfiles
from l2mesh.app.errors import ConfigError
from l2mesh.crypto.keys import AuthorityKey, StaticKey

KEY = Path("alice.key")


def load_error(path: Path = KEY) -> str:
    with pytest.raises(ConfigError) as caught:
        keyfiles.load_static_key(path)
    return str(caught.value)


def test_a_key_is_made_once_and_for_its_owner_only() -> None:
    umask = os.umask(0)
    try:
        made, new = keyfiles.load_or_make_static_key(KEY)
    finally:
        os.umask(umask)
    assert new
    assert KEY.stat().st_mode & 0o777 == 0o600
    assert keyfiles.load_or_make_static_key(KEY) == (made, False)
    assert keyfiles.load_static_key(KEY) == made


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o622])
def test_a_key_that_others_can_read_is_refused(mode: int) -> None:
    keyfiles.load_or_make_static_key(KEY)
    KEY.chmod(mode)
    assert load_error() == f"alice.key: others can read it (mode {mode:04o}): chmod 600 alice.key"
    with pytest.raises(ConfigError, match="chmod 600"):
        keyfiles.load_or_make_static_key(KEY)


def test_a_missing_key_a_damaged_key_and_the_wrong_kind_of_key_are_told_apart() -> None:
    assert load_error() == "alice.key: no such file"
    KEY.touch(0o600)
    assert load_error().startswith("alice.key: holds no key in PEM form")
    KEY.write_bytes(AuthorityKey.generate(os.urandom).to_pem())
    assert load_error() == "alice.key: holds a key of type Ed25519, but a node's key is X25519"
    KEY.write_bytes(StaticKey.generate(os.urandom).to_pem())
    with pytest.raises(ConfigError, match=r"^alice\.key: holds a key of type X25519"):
        keyfiles.load_authority_key(KEY)
    assert load_error(Path()) == ".: is a directory"


def test_a_key_that_cannot_be_made_says_why() -> None:
    with pytest.raises(ConfigError, match=r"^no/alice\.key: cannot make the key: .*no such file or directory"):
        keyfiles.load_or_make_static_key(Path("no/alice.key"))


def test_an_authority_s_key_is_never_overwritten() -> None:
    path = Path("mpc.authority.key")
    made = keyfiles.make_authority_key(path)
    with pytest.raises(FileExistsError):
        keyfiles.make_authority_key(path)
    assert keyfiles.load_authority_key(path) == made
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_that_make_one_key_at_once_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    # The other one is faster, between our look at the file and our own attempt.
    exists = Path.exists
    others: list[StaticKey] = []

    def exists_a_moment_later(path: Path) -> bool:
        seen = exists(path)
        if not seen and not others:
            others.append(StaticKey.generate(os.urandom))
            path.touch(0o600)
            path.write_bytes(others[0].to_pem())
        return seen

    monkeypatch.setattr(Path, "exists", exists_a_moment_later)
    assert keyfiles.load_or_make_static_key(KEY) == (others[0], False)


def test_a_certificate_s_file_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"^a\.crt: no such file: a certificate comes from `l2mesh sign`"):
        keyfiles.load_certificate(Path("a.crt"))
    Path("a.crt").write_text("-----BEGIN CERTIFICATE-----")
    with pytest.raises(ConfigError, match=r"^a\.crt: certificate: malformed: holds no certificate in PEM form"):
        keyfiles.load_certificate(Path("a.crt"))


def test_a_certificate_takes_the_place_of_no_other_file() -> None:
    KEY.write_text("precious")
    with pytest.raises(ConfigError, match=r"^alice\.key: exists, and is no certificate"):
        keyfiles.save_certificate(KEY, b"")
    assert KEY.read_text() == "precious"
