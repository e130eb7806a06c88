"""init, request, sign: from nothing to parties that accept each other, and nothing lost on the way."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import ip_interface
from pathlib import Path

import pytest
from click.testing import Result

from l2mesh.app import keyfiles
from l2mesh.app.config import EdgeConfig, load_edge
from l2mesh.app.membership import Membership, membership
from l2mesh.crypto import certificate
from l2mesh.crypto.certificate import Capability

Command = Callable[..., Result]
INIT = ("init", "mpc", "--supernode", "198.51.100.7:7777")
ALICE = (*INIT, "--node", "alice", "--address", "10.98.0.1/24")


def proof(config: EdgeConfig) -> Membership:
    return membership(config, keyfiles.load_static_key(config.node.key), time.time())


def modes() -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in Path().iterdir() if path.is_file()}


def authority_of(path: Path = Path("mpc.toml")) -> str:
    found = re.search(r'^authority = "(.*)"', path.read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_init_makes_a_working_network_file(l2mesh: Command) -> None:
    result = l2mesh(*ALICE, "--supernode", "[2001:db8::7]:1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert modes() == {"mpc.toml": 0o600, "alice.key": 0o600}
    config = load_edge(Path("mpc.toml"))
    assert (config.network.name, config.node.name, config.warnings) == ("mpc", "alice", ())
    assert [one.host for one in config.network.supernodes] == ["198.51.100.7", "2001:db8::7"]
    assert config.tap.addresses == (ip_interface("10.98.0.1/24"),)
    assert config.network.secret not in (None, bytes(32))
    assert proof(config).member.name == "alice"


def test_init_says_what_comes_next_and_not_the_secret(l2mesh: Command) -> None:
    result = l2mesh(*ALICE)
    assert "sudo l2mesh edge mpc.toml" in result.stdout
    assert "l2mesh init mpc --supernode 198.51.100.7:7777 --address 10.98.0.2/24 --secret -" in result.stdout
    secret = re.search(r'^secret = "(.*)"', Path("mpc.toml").read_text(), re.MULTILINE)
    assert secret
    assert secret[1] not in result.output


@pytest.mark.parametrize("way", ["--secret", "--secret-file"])
def test_another_party_joins_with_the_secret(l2mesh: Command, way: str) -> None:
    l2mesh(*ALICE)
    text = Path("mpc.toml").read_text()
    bob = (*INIT, "--node", "bob", "--dir", "b", way)
    result = l2mesh(*bob, "-", stdin=text) if way == "--secret" else l2mesh(*bob, "mpc.toml")
    assert (result.exit_code, result.stderr) == (0, "")
    ours, theirs = load_edge(Path("mpc.toml")), load_edge(Path("b/mpc.toml"))
    assert proof(ours).network_id == proof(theirs).network_id
    assert certificate.verify(proof(theirs).certificate, proof(ours).authority, time.time()).name == "bob"


def test_the_pipe_that_init_prints_works_as_printed(l2mesh: Command, here: Path) -> None:
    printed = l2mesh(*ALICE, "--supernode", f"[2001:db8::7]:1#{'A' * 43}=").stdout
    line = next(line for line in printed.splitlines() if "ssh bob" in line)
    # The other host is played by a shell, in another directory, with the command on its path.
    path = here / "bin"
    path.mkdir()
    (path / "l2mesh").write_text(f'#!/bin/sh\nexec {sys.executable} -m l2mesh "$@" --node bob --dir b\n')
    (path / "ssh").write_text('#!/bin/sh\nshift\nexec sh -c "$*"\n')
    for program in path.iterdir():
        program.chmod(0o755)
    subprocess.run(["sh", "-c", f"PATH={path}:$PATH; {line}"], check=True, capture_output=True)
    bob = load_edge(Path("b/mpc.toml"))
    assert bob.network == load_edge(Path("mpc.toml")).network
    assert bob.tap.addresses == (ip_interface("10.98.0.2/24"),)


def test_a_secret_alone_is_read_too(l2mesh: Command) -> None:
    assert l2mesh(*ALICE, "--secret", "-", stdin="A" * 43 + "=\n").exit_code == 0
    assert load_edge(Path("mpc.toml")).network.secret == bytes(32)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--secret", "AAAA"), "--secret takes only -, for standard input: on the command line every user"),
        (("--secret", "-"), "standard input: no secret of a network: key: 0 bytes"),
        (("--secret-file", "no"), "no: no such file or directory"),
        (("--secret", "-", "--secret-file", "no"), "both give the secret"),
        (("--certificates", "--secret", "-"), "--certificates makes a network without a secret"),
        (("--node", "Bob"), "'Bob' must be 1 to 63 characters of a-z, 0-9 and -"),
        (("--address", "10.98.0.1"), '"10.98.0.1": add the length of the prefix'),
        (("--supernode", "a"), '"a": add the UDP port, as in a:7777'),
    ],
)
def test_init_refuses_before_it_makes_anything(l2mesh: Command, arguments: tuple[str, ...], said: str) -> None:
    result = l2mesh(*INIT, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert modes() == {}


@pytest.mark.parametrize("there", ["mpc.toml", "mpc.authority.key", "alice.crt"])
def test_init_overwrites_nothing(l2mesh: Command, there: str) -> None:
    Path(there).write_text("precious")
    result = l2mesh(*ALICE, "--certificates")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {there}: exists already: move it away")
    assert Path(there).read_text() == "precious"
    assert list(modes()) == [there]


def test_init_keeps_the_node_s_key(l2mesh: Command) -> None:
    key, _ = keyfiles.load_or_make_static_key(Path("alice.key"))
    assert "kept  alice.key" in l2mesh(*ALICE).stdout
    assert keyfiles.load_static_key(Path("alice.key")) == key


def test_init_with_certificates_makes_an_authority_and_admits_this_party(l2mesh: Command) -> None:
    result = l2mesh(*ALICE, "--certificates")
    assert (result.exit_code, result.stderr) == (0, "")
    assert modes() == {"mpc.toml": 0o600, "alice.key": 0o600, "mpc.authority.key": 0o600, "alice.crt": 0o644}
    assert f"l2mesh request mpc --authority {authority_of()} --supernode 198.51.100.7:7777" in result.stdout
    assert proof(load_edge(Path("mpc.toml"))).member.name == "alice"


def test_init_makes_a_party_that_relays_for_others(l2mesh: Command) -> None:
    l2mesh(*ALICE, "--relay-for-others")
    l2mesh(*ALICE, "--relay-for-others", "--certificates", "--dir", "c")
    for file in ("mpc.toml", "c/mpc.toml"):
        config = load_edge(Path(file))
        assert config.transport.relay_for_others
        assert proof(config).member.capabilities == {Capability.RELAY}
        assert proof(config).warnings == ()


def test_a_party_that_asks_to_relay_is_told_how_it_is_admitted(l2mesh: Command) -> None:
    l2mesh(*ALICE, "--certificates")
    asked = l2mesh(
        *("request", "mpc", "--authority", authority_of(), "--supernode", "198.51.100.7:7777"),
        *("--node", "bob", "--dir", "b", "--relay-for-others"),
    )
    assert "l2mesh sign bob.request --authority-key mpc.authority.key --output bob.crt --capability relay" in (
        asked.stdout
    )
    signed = ("--output", "b/bob.crt", "--capability", "relay")
    l2mesh("sign", "b/bob.request", "--authority-key", "mpc.authority.key", *signed)
    assert proof(load_edge(Path("b/mpc.toml"))).warnings == ()


def admit(l2mesh: Command, *options: str) -> Result:
    """Alice makes the network, Bob asks in his own directory, Alice signs."""
    l2mesh(*ALICE, "--certificates")
    asked = l2mesh(
        *("request", "mpc", "--authority", authority_of(), "--supernode", "198.51.100.7:7777"),
        *("--node", "bob", "--address", "10.98.0.2/24", "--dir", "b"),
    )
    assert (asked.exit_code, asked.stderr) == (0, "")
    return l2mesh("sign", "b/bob.request", "--authority-key", "mpc.authority.key", *options)


def test_a_party_is_admitted_and_its_private_key_stays(l2mesh: Command) -> None:
    result = admit(l2mesh, "--output", "b/bob.crt")
    assert result.exit_code == 0
    bob, alice = proof(load_edge(Path("b/mpc.toml"))), proof(load_edge(Path("mpc.toml")))
    assert (bob.network_id, bob.psk, bob.member.name) == (alice.network_id, alice.psk, "bob")
    assert certificate.verify(bob.certificate, alice.authority, time.time()) == bob.member
    assert "PRIVATE" not in Path("b/bob.request").read_text()
    assert {path.name for path in Path("b").iterdir()} == {"bob.key", "bob.crt", "bob.request", "mpc.toml"}


def test_sign_shows_who_is_admitted_and_prints_the_certificate(l2mesh: Command) -> None:
    result = admit(
        l2mesh,
        *("--days", "7", "--address", "10.98.0.2/24", "--address", "fd98::2"),
        *("--mac", "02:00:00:00:00:02", "--capability", "relay"),
    )
    assert "admits        bob to the network mpc" in result.stderr
    assert "addresses     10.98.0.2, fd98::2" in result.stderr
    assert "MACs          02:00:00:00:00:02" in result.stderr
    authority = keyfiles.load_authority_key(Path("mpc.authority.key"))
    der = certificate.from_pem(result.stdout.encode())
    member = certificate.verify(der, authority.public, time.time())
    assert member.addresses == ("10.98.0.2", "fd98::2")
    assert member.macs == (b"\x02\0\0\0\0\x02",)
    assert member.capabilities == {Capability.RELAY}
    assert 7 * 86400 <= member.not_after - time.time() + 5 <= 7 * 86400 + 10


def test_a_certificate_is_renewed_from_the_same_request(l2mesh: Command) -> None:
    admit(l2mesh, "--output", "bob.crt")
    old = Path("bob.crt").read_bytes()
    again = l2mesh("sign", "b/bob.request", "--authority-key", "mpc.authority.key", "--output", "bob.crt")
    assert again.exit_code == 0
    assert Path("bob.crt").read_bytes() != old


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--output", "mpc.authority.key"), "mpc.authority.key: exists, and is no certificate"),
        (("--days", "0"), "0 is not in the range 1<=x<=36500"),
        (("--address", "bob"), '"bob": must be an IP address, as in 10.98.0.2'),
        (("--mac", "auto"), '"auto": must be six octets'),
        (("--mac", "ff:ff:ff:ff:ff:ff"), "is a group address"),
        (("--capability", "fly"), "'fly' is not one of 'relay', 'invite'"),
        (("--authority-key", "alice.key"), "alice.key: holds a key of type X25519, but an authority's key"),
        (tuple(f"--address=10.{n >> 8}.{n & 255}.1" for n in range(900)), "certificate of"),
    ],
)
def test_sign_refuses_what_is_wrong(l2mesh: Command, arguments: tuple[str, ...], said: str) -> None:
    result = admit(l2mesh, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_sign_refuses_a_request_for_another_network(l2mesh: Command) -> None:
    admit(l2mesh)
    keyfiles.make_authority_key(Path("other.key"))
    result = l2mesh("sign", "b/bob.request", "--authority-key", "other.key")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"asks the authority {authority_of()}, but other.key is the key of" in result.stderr


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('name = "bob"', 'name = "bob\\u001b[2J"', "must be 1 to 63 characters"),
        ("public_key", "publickey", "unknown key; did you mean 'public_key'?"),
        ("[request]", "[request]\nname = 7", "not TOML"),
        ('public_key = "', 'public_key = "A', "[request] public_key = "),
    ],
)
def test_sign_takes_nothing_in_a_request_on_trust(l2mesh: Command, before: str, after: str, said: str) -> None:
    admit(l2mesh)
    request = Path("b/bob.request")
    request.write_text(request.read_text().replace(before, after))
    result = l2mesh("sign", "b/bob.request", "--authority-key", "mpc.authority.key")
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "\x1b" not in result.stderr


def test_an_authority_s_key_that_others_can_read_is_refused(l2mesh: Command) -> None:
    admit(l2mesh)
    Path("mpc.authority.key").chmod(0o644)
    result = l2mesh("sign", "b/bob.request", "--authority-key", "mpc.authority.key")
    assert result.exit_code == 2
    assert "mpc.authority.key: others can read it (mode 0644): chmod 600 mpc.authority.key" in result.stderr


def test_request_overwrites_nothing(l2mesh: Command) -> None:
    Path("bob.request").write_text("precious")
    result = l2mesh("request", "mpc", "--authority", "A" * 43 + "=", "--supernode", "a:1", "--node", "bob")
    assert result.exit_code == 2
    assert modes().keys() == {"bob.request"}


def test_request_wants_a_key_for_an_authority(l2mesh: Command) -> None:
    result = l2mesh("request", "mpc", "--authority", "office", "--supernode", "a:1")
    assert result.exit_code == 2
    assert "'--authority': key: not base64" in result.stderr
