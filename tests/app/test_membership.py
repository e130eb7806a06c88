"""How a node is a member: by the secret, or by a certificate of the authority, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from l2mesh.app import admission, keyfiles
from l2mesh.app.admission import DAY, NewCertificate
from l2mesh.app.config import EdgeConfig, load_edge
from l2mesh.app.errors import ConfigError
from l2mesh.app.membership import Membership, membership
from l2mesh.crypto import certificate, keys
from l2mesh.crypto.certificate import Capability
from l2mesh.crypto.keys import AuthorityKey, StaticKey, encode_key

NOW = 1_800_000_000.0  # Unix seconds
AUTHORITY = AuthorityKey.from_private_bytes(bytes(32))
ALICE = StaticKey.generate(os.urandom)
CERTIFICATE = Path("alice.crt")


def config(admission_line: str, rest: str = "") -> EdgeConfig:
    path = Path("mpc.toml")
    path.touch(0o600)
    path.write_text(f'[network]\nname = "mpc"\nsupernodes = ["a:1"]\n{admission_line}\n{rest}')
    return load_edge(path)


def by_certificate(name: str = "alice", tap: str = "", authority: AuthorityKey = AUTHORITY) -> EdgeConfig:
    node = f'[node]\nname = "{name}"\ncertificate = "alice.crt"\n'
    return config(f'authority = "{encode_key(authority.public)}"', node + tap)


def certify(key: StaticKey = ALICE, addresses: tuple[str, ...] = (), capabilities: tuple[str, ...] = ()) -> bytes:
    order = NewCertificate("alice", key.public, 10, addresses, capabilities=capabilities)
    der = admission.issue(AUTHORITY, order, NOW)
    keyfiles.save_certificate(CERTIFICATE, der)
    return der


def refusal(config: EdgeConfig, now: float = NOW) -> str:
    with pytest.raises(ConfigError) as caught:
        membership(config, ALICE, now)
    return str(caught.value)


def test_holders_of_one_secret_accept_each_other_at_any_time() -> None:
    secret = bytes(range(32))
    shared = config(f'secret = "{encode_key(secret)}"', '[node]\nname = "alice"')
    alice, bob = membership(shared, ALICE, NOW), membership(shared, StaticKey.generate(os.urandom), 0.0)
    assert (alice.authority, alice.network_id, alice.psk) == (bob.authority, bob.network_id, bob.psk)
    assert alice.psk == keys.network_psk(secret)
    for wall_now in (0.0, NOW, 200_000_000_000.0):
        member = certificate.verify(alice.certificate, bob.authority, wall_now)
        assert (member.name, member.public_key) == ("alice", ALICE.public)


def test_another_secret_is_another_network() -> None:
    ours, theirs = (
        membership(config(f'secret = "{encode_key(secret)}"', '[node]\nname = "a"'), ALICE, NOW)
        for secret in (bytes(32), bytes(range(32)))
    )
    assert ours.network_id != theirs.network_id
    assert ours.psk != theirs.psk
    with pytest.raises(certificate.CertificateError):
        certificate.verify(theirs.certificate, ours.authority, NOW)


def test_a_certificate_of_the_authority_admits() -> None:
    der = certify()
    admitted = membership(by_certificate(), ALICE, NOW)
    assert isinstance(admitted, Membership)
    assert (admitted.certificate, admitted.authority, admitted.warnings) == (der, AUTHORITY.public, ())
    assert admitted.psk == keys.network_psk(AUTHORITY.public)
    assert repr(admitted.psk) not in repr(admitted)


RELAYS = "[transport]\nrelay_for_others = true"


@pytest.mark.parametrize(("transport", "capabilities"), [("", set()), (RELAYS, {Capability.RELAY})])
def test_who_holds_the_secret_may_relay_when_its_file_says_so(transport: str, capabilities: set[str]) -> None:
    shared = config(f'secret = "{encode_key(bytes(32))}"', f'[node]\nname = "alice"\n{transport}')
    proof = membership(shared, ALICE, NOW)
    assert certificate.verify(proof.certificate, proof.authority, NOW).capabilities == capabilities


def test_a_relay_whose_certificate_does_not_say_so_is_warned() -> None:
    certify(capabilities=("relay",))
    assert membership(by_certificate(tap=RELAYS), ALICE, NOW).warnings == ()
    certify()
    [warning] = membership(by_certificate(tap=RELAYS), ALICE, NOW).warnings
    assert "does not let this node relay, so [transport] relay_for_others has no effect" in warning
    assert "`l2mesh sign --capability relay`" in warning


def test_a_missing_certificate_says_where_they_come_from() -> None:
    assert refusal(by_certificate()).endswith(
        "alice.crt: no such file: a certificate comes from `l2mesh sign`, on the authority's host"
    )


def test_an_expired_certificate_says_how_to_renew_it() -> None:
    certify()
    assert refusal(by_certificate(), NOW + 13 * DAY).endswith(
        "alice.crt: certificate: expired: alice: 3.0 days ago"
        ": ask for a new one, from `l2mesh sign` and the same request"
    )


def test_another_network_s_certificate_and_another_key_s_are_told_apart() -> None:
    certify()
    another = AuthorityKey.generate(os.urandom)
    assert "not signed by this network's authority" in refusal(by_certificate(authority=another))
    certify(StaticKey.generate(os.urandom))
    assert "alice.crt: is for another key than that in" in refusal(by_certificate())


def test_a_clock_years_behind_is_no_reason_not_to_start() -> None:
    certify()
    admitted = membership(by_certificate(), ALICE, 0.0)
    assert admitted.member.name == "alice"
    assert "is this host's clock right?" in admitted.warnings[0]


def test_what_the_certificate_does_not_cover_is_warned_of() -> None:
    certify(addresses=("10.98.0.1",))
    tap = '[tap]\naddresses = ["10.98.0.1/24", "fd98::1/64"]'
    name, address = membership(by_certificate("al", tap), ALICE, NOW).warnings
    assert name.endswith("peers see the name alice, not [node] name = al")
    assert address.endswith("does not list [tap] addresses fd98::1: peers may refuse them")
