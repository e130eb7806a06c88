"""Network files: what they resolve to, and for each fault the line that a user sees."""

from __future__ import annotations

import os
import pwd
import random
import re
from ipaddress import ip_interface
from pathlib import Path

import pytest

from l2mesh.app.config import EdgeConfig, default_node_name, load_edge, load_supernode
from l2mesh.app.directories import RunAs
from l2mesh.app.errors import ConfigError
from l2mesh.crypto.keys import encode_key

SECRET = bytes(range(32))
KEY = encode_key(bytes(reversed(range(32))))
NETWORK = f"""[network]
name = "mpc"
secret = "{encode_key(SECRET)}"
supernodes = ["198.51.100.7:7777"]
"""
BY_CERTIFICATE = NETWORK.replace("secret =", "authority =")
FILE = Path("alice.toml")


def edge(text: str, mode: int = 0o600) -> EdgeConfig:
    FILE.write_text(text)
    FILE.chmod(mode)
    return load_edge(FILE)


def edge_error(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        edge(text)
    return str(caught.value)


def test_a_file_of_three_keys_gets_every_default(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/somewhere")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/somewhere")
    config = edge(NETWORK)
    assert (config.network.name, config.network.secret, config.network.authority) == ("mpc", SECRET, None)
    assert [(one.host, one.port) for one in config.network.supernodes] == [("198.51.100.7", 7777)]
    assert config.node.name == default_node_name()
    assert config.node.key == here / f"{default_node_name()}.key"
    assert config.node.certificate is None
    assert config.node.state == Path("/var/lib/somewhere")
    assert (config.tap.device, config.tap.mac, config.tap.mtu) == ("l2m0", None, 1500)
    assert (config.tap.addresses, config.tap.bridge, config.tap.up, config.tap.down) == ((), "", "", "")
    assert config.transport.listen == (("0.0.0.0", 0), ("::", 0))
    assert (config.transport.relay, config.ageing_time, config.log_level) == ("auto", 300, "info")
    assert not config.transport.relay_for_others
    assert config.transport.port_mapping
    assert config.transport.birthday
    assert config.transport.stun == ()
    assert (config.limits.peers, config.limits.macs_per_peer, config.limits.macs) == (1024, 1024, 16384)
    assert config.socket == Path("/run/somewhere/mpc.l2m0.sock")
    assert config.warnings == ()


def test_every_key_can_be_set(here: Path) -> None:
    config = edge(
        BY_CERTIFICATE
        + """
[node]
name = "alice"
key = "keys/a.key"
certificate = "/etc/l2mesh/alice.crt"
user = "root"
state = "state"
[tap]
device = "mesh.7"
mac = "02:4c:32:00:00:01"
mtu = 9000
addresses = ["10.98.0.1/24", "fd98::1/64"]
bridge = "br0"
up = "ip route add 10.99.0.0/16 via 10.98.0.2"
down = "true"
[transport]
listen = ["192.0.2.1:7777"]
relay = "always"
port_mapping = false
stun = ["stun.example.net:3478", "[2001:db8::7]:3479"]
[switch]
ageing_time = 10
[limits]
peers = 2
macs_per_peer = 3
macs = 4
[management]
socket = "m.sock"
[log]
level = "debug"
"""
    )
    assert (config.network.secret, config.network.authority) == (None, SECRET)
    assert (config.node.key, config.node.state) == (here / "keys/a.key", here / "state")
    assert config.node.certificate == Path("/etc/l2mesh/alice.crt")
    assert config.node.user == RunAs("root", 0, 0)
    assert (config.tap.device, config.tap.mtu, config.tap.bridge) == ("mesh.7", 9000, "br0")
    assert config.tap.mac == b"\x02\x4c\x32\x00\x00\x01"
    assert config.tap.addresses == (ip_interface("10.98.0.1/24"), ip_interface("fd98::1/64"))
    assert config.transport.listen == (("192.0.2.1", 7777),)
    assert not config.transport.port_mapping
    assert [(one.host, one.port) for one in config.transport.stun] == [
        ("stun.example.net", 3478),
        ("2001:db8::7", 3479),
    ]
    assert (config.transport.relay, config.ageing_time, config.log_level) == ("always", 10, "debug")
    assert (config.limits.peers, config.limits.macs_per_peer, config.limits.macs) == (2, 3, 4)
    assert config.socket == here / "m.sock"


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        # An unknown key or table: with the nearest name, or where it belongs.
        ("[tap]\nadress = []", "alice.toml:6: [tap] adress: unknown key; did you mean 'addresses'?"),
        ("[tap]\nlevel = 1", "alice.toml:6: [tap] level: unknown key; it belongs in [log]"),
        ("[switch]\nzzz = 1", "alice.toml:6: [switch] zzz: unknown key; known are ageing_time"),
        ("[tab]\nmtu = 1", "alice.toml:5: [tab]: unknown table; did you mean 'tap'?"),
        ('["a\\u001b"]\nx = 1', "alice.toml: [a\\u001b]: unknown table; known are network, node, tap"),
        # A wrong type.
        (
            '[tap]\nmtu = "1500"',
            'alice.toml:6: [tap] mtu = "1500": must be a whole number between 576 and 9000, not text',
        ),
        (
            "[tap]\nmtu = true",
            "alice.toml:6: [tap] mtu = true: must be a whole number between 576 and 9000, not true or false",
        ),
        ("[tap]\nmtu = 1500.0", "must be a whole number between 576 and 9000, not a fraction"),
        ("[tap]\nmtu = 2026-01-01", "[tap] mtu = \"2026-01-01\": must be a whole number between"),
        ("[tap]\ndevice = 7", "alice.toml:6: [tap] device = 7: must be text in quotes, not a number"),
        ("[tap]\ndevice = {}", "alice.toml:6: [tap] device = {}: must be text in quotes, not a table"),
        ('[tap]\naddresses = "10.98.0.1/24"', 'must be a list of texts, as in ["…", "…"], not text'),
        ("[tap]\naddresses = [7]", "[tap] addresses = [7]: 7 must be text in quotes, not a number"),
        ('[tap]\naddresses = [""]', '[tap] addresses = [""]: "" must be text without control characters'),
        # A wrong value.
        ("[tap]\nmtu = 100", "alice.toml:6: [tap] mtu = 100: must be between 576 and 9000"),
        ("[switch]\nageing_time = 0", "[switch] ageing_time = 0: must be between 10 and 1000000"),
        ("[limits]\npeers = 0", "alice.toml:6: [limits] peers = 0: must be between 1 and 65536"),
        ('[transport]\nrelay = "no"', '[transport] relay = "no": must be "always", "auto" or "never"'),
        ('[log]\nlevel = "loud"', '[log] level = "loud": must be "debug", "error", "info" or "warning"'),
        ('[node]\nname = "Alice"', '[node] name = "Alice": must be 1 to 63 characters of a-z, 0-9 and -'),
        ('[node]\nkey = ""', '[node] key = "": must be text without control characters'),
        ('[node]\nkey = "a\\u0000b"', '[node] key = "a\\u0000b": must be text without control characters'),
        ('[node]\nuser = "nobody-here"', '[node] user = "nobody-here": no such user on this host'),
        ('[tap]\ndevice = "a/b"', "must be the name of a network device: 1 to 15 characters"),
        ('[tap]\ndevice = "l2m%d"', "must be the name of a network device: 1 to 15 characters"),
        ('[tap]\ndevice = "sixteen-letters0"', "must be the name of a network device: 1 to 15 characters"),
        ('[tap]\ndevice = ".."', "must be the name of a network device: 1 to 15 characters"),
        ('[tap]\ndevice = "l2m0\\n"', "must be the name of a network device: 1 to 15 characters"),
        ('[tap]\nbridge = "l2m0"', '[tap] bridge = "l2m0": is the TAP device itself'),
        ('[tap]\nmac = "03:00:00:00:00:01"', '[tap] mac = "03:00:00:00:00:01": is a group address'),
        (
            '[tap]\naddresses = ["10.98.0.1"]',
            'alice.toml:6: [tap] addresses = ["10.98.0.1"]: "10.98.0.1": add the length of the prefix',
        ),
        ('[tap]\naddresses = ["10.98.0.1/24", "10.98.0.1/16"]', '"10.98.0.1/16" is there twice'),
        ('[tap]\nmtu = 1279\naddresses = ["fd98::1/64"]', "mtu = 1279: IPv6 addresses need at least 1280"),
        (
            '[transport]\nport_mapping = "pcp"',
            'alice.toml:6: [transport] port_mapping = "pcp": must be true or false, without quotes, not text',
        ),
        (
            "[transport]\nbirthday = 1",
            "alice.toml:6: [transport] birthday = 1: must be true or false, without quotes, not a number",
        ),
        ("[transport]\nport_maping = true", "port_maping: unknown key; did you mean 'port_mapping'?"),
        (
            '[transport]\nrelay_for_others = "yes"',
            'alice.toml:6: [transport] relay_for_others = "yes": must be true or false, without quotes, not text',
        ),
        (
            '[transport]\nrelay = "always"\nrelay_for_others = true',
            "alice.toml:7: [transport] relay_for_others = true: needs direct paths to the others, and relay =",
        ),
        ('[transport]\nstun = ["stun.example"]', '"stun.example": add the UDP port, as in stun.example:3478'),
        ('[transport]\nstun = ["a:1", "A:1"]', '"A:1" is there twice'),
        ('[transport]\nstun = "a:1"', '[transport] stun = "a:1": must be a list of texts'),
        (f"[transport]\nstun = {[f'a:{i}' for i in range(1, 10)]}", "must have 0 to 8 entries"),
        ("[transport]\nlisten = []", "[transport] listen = []: must have 1 to 64 entries"),
        ('[transport]\nlisten = ["[::]:1", "[::1]:1"]', "has two addresses of one IP version"),
        ('[transport]\nlisten = ["localhost:1"]', "the host must be an IP address of this machine"),
        (f'[management]\nsocket = "{"x" * 108}"', "bytes, and a socket's path at most 107"),
        # Certificates only where they are used.
        ('[node]\ncertificate = "a.crt"', "only a certificate network, with [network] authority, has"),
    ],
)  # fmt: skip
def test_each_fault_has_its_message(table: str, fault: str) -> None:
    assert fault in edge_error(NETWORK + table)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "alice.toml: [network] name: missing, and required"),
        ('[network]\nname = "mpc"', "alice.toml:1: [network] supernodes: missing, and required"),
        ('[network]\nname = "mpc"\nsupernodes = ["a:1"]', "alice.toml:1: [network]: needs a secret, or the"),
        (NETWORK + f'authority = "{KEY}"', f'alice.toml:5: [network] authority = "{KEY}": there is a secret'),
        (NETWORK.replace('"mpc"', '"MPC"'), 'alice.toml:2: [network] name = "MPC": must be 1 to 63'),
        (NETWORK.replace("7777", "0"), "alice.toml:4: [network] supernodes = "),
        (NETWORK.replace('["198.51.100.7:7777"]', "[]"), "must have 1 to 64 entries"),
        (NETWORK.replace('7"]', '7", "198.51.100.7:7777#' + KEY + '"]'), "is there twice"),
        ("mtu = 1500\n" + NETWORK, "alice.toml:1: mtu: unknown key; it belongs in [tap]"),
        ("network = 7", "alice.toml:1: network = 7: must be a table, as in [network]"),
        ("[[network]]", 'network = [{}]: must be a table, as in [network]'),
        ('network.name = "A"', 'alice.toml: [network] name = "A": must be 1 to 63'),
        (BY_CERTIFICATE, "alice.toml: [node] certificate: missing, and required with [network] authority"),
        (BY_CERTIFICATE + "[node]", "alice.toml:5: [node] certificate: missing"),
        (BY_CERTIFICATE.replace(encode_key(SECRET), "AAAA"), '[network] authority = "AAAA": key: 3 bytes'),
    ],
)  # fmt: skip
def test_the_network_table_has_its_messages(text: str, fault: str) -> None:
    assert fault in edge_error(text)


def test_a_secret_is_never_in_a_message() -> None:
    text = edge_error(NETWORK.replace(encode_key(SECRET), "AAECAwQFBgcICQoL"))
    assert text.startswith("alice.toml:3: [network] secret: key: 12 bytes, but a key has 32")
    assert "AAECAwQFBgcICQoL" not in text
    assert encode_key(SECRET) not in edge_error(NETWORK + f"authority = '{KEY}'")
    assert repr(SECRET) not in repr(edge(NETWORK))


def test_a_missing_file_says_how_to_make_one() -> None:
    with pytest.raises(ConfigError, match=r"^no\.toml: no such file: make one with: l2mesh init NAME"):
        load_edge(Path("no.toml"))


def test_a_secret_that_others_can_read_is_warned_of() -> None:
    assert edge(NETWORK, 0o640).warnings == ()
    warning = "alice.toml: holds the network's secret, and others can read it (mode 0644): chmod 600 alice.toml"
    assert edge(NETWORK, 0o644).warnings == (warning,)


def test_paths_are_relative_to_the_file_and_not_to_the_caller(here: Path) -> None:
    Path("etc").mkdir()
    file = Path("etc/alice.toml")
    file.write_text(NETWORK + '[node]\nkey = "../alice.key"')
    assert load_edge(file).node.key == here / "etc/../alice.key"


def test_a_bridged_tap_may_have_addresses() -> None:
    config = edge(NETWORK + '[tap]\nbridge = "br0"\naddresses = ["10.98.0.1/24"]')
    assert (config.tap.bridge, len(config.tap.addresses)) == ("br0", 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs chown")
def test_the_daemon_becomes_the_owner_of_the_file_or_nobody() -> None:
    assert edge(NETWORK).node.user.name == "nobody"
    daemon = pwd.getpwnam("daemon")
    os.chown(FILE, daemon.pw_uid, daemon.pw_gid)
    assert load_edge(FILE).node.user == RunAs("daemon", daemon.pw_uid, daemon.pw_gid)
    os.chown(FILE, 54321, 54322)
    assert load_edge(FILE).node.user.name == "nobody"


def test_directories_of_a_user_are_in_the_home(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/54321")
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    config = edge(NETWORK)
    assert config.socket == Path("/run/user/54321/l2mesh/mpc.l2m0.sock")
    assert config.node.state == here / ".local/state/l2mesh"


@pytest.mark.skipif(os.geteuid() != 0, reason="the defaults of root")
def test_directories_of_root_are_the_system_s() -> None:
    config = edge(NETWORK)
    assert config.socket == Path("/run/l2mesh/mpc.l2m0.sock")
    assert config.node.state == Path("/var/lib/l2mesh")


def test_a_supernode_needs_no_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(here / "state"))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(here / "run"))
    config = load_supernode()
    assert config.listen == (("0.0.0.0", 7777), ("::", 7777))
    assert (config.path, config.networks, config.log_level) == (None, (), "info")
    assert config.key == here / "state/supernode.key"
    assert config.socket == here / "run/supernode.sock"
    assert config.user.name == "nobody"


def test_a_supernode_s_file_is_heard_and_the_command_line_first(here: Path) -> None:
    path = Path("s.toml")
    path.write_text(f'[supernode]\nlisten = ["0.0.0.0:1"]\nnetworks = ["{KEY}"]\n[log]\nlevel = "error"')
    config = load_supernode(path)
    assert (config.listen, config.log_level) == ((("0.0.0.0", 1),), "error")
    assert [encode_key(key) for key in config.networks] == [KEY]
    assert config.key == here / "supernode.key"
    assert load_supernode(path, ["127.0.0.1:0"]).listen == (("127.0.0.1", 0),)


def test_a_supernode_may_listen_on_several_ports_and_addresses() -> None:
    texts = ["192.0.2.1:7777", "192.0.2.1:7778", "192.0.2.2:7777", "[2001:db8::1]:7777", "0.0.0.0:7779"]
    assert [port for _, port in load_supernode(None, texts).listen] == [7777, 7778, 7777, 7777, 7779]
    assert load_supernode(None, ["0.0.0.0:0", "0.0.0.0:0"]).listen == (("0.0.0.0", 0),) * 2
    Path("s.toml").write_text('[supernode]\nlisten = ["0.0.0.0:1", "0.0.0.0:2"]')
    assert load_supernode(Path("s.toml")).listen == (("0.0.0.0", 1), ("0.0.0.0", 2))


@pytest.mark.parametrize(
    ("texts", "fault"),
    [
        (["0.0.0.0:1", "0.0.0.0:1"], '"0.0.0.0:1" is there twice'),
        (["0.0.0.0:1", "192.0.2.1:1"], "has 192.0.2.1:1 and 0.0.0.0:1, which is all addresses"),
        (["[2001:db8::1]:1", "[::]:1"], "has [2001:db8::1]:1 and [::]:1, which is all addresses"),
    ],
)
def test_what_cannot_be_bound_together_is_found_in_the_file(texts: list[str], fault: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"--listen: {fault}")):
        load_supernode(None, texts)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[supernodes]", "s.toml:1: [supernodes]: unknown table; did you mean 'supernode'?"),
        ('[supernode]\nlisten = ["7777"]', 's.toml:2: [supernode] listen = ["7777"]: "7777": add'),
        ('[supernode]\nnetworks = ["mpc"]', '[supernode] networks = ["mpc"]: "mpc": key: not base64'),
    ],
)  # fmt: skip
def test_a_supernode_s_file_has_its_messages(text: str, fault: str) -> None:
    Path("s.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_supernode(Path("s.toml"))
    assert fault in str(caught.value)


def test_a_wrong_listen_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r'^--listen: "supernode:1": the host must be an IP address'):
        load_supernode(None, ["supernode:1"])


def test_the_host_name_makes_a_node_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for host, name in {"Alice_PC.lan": "alice-pc", "": "node", "-x-": "x", "a" * 70: "a" * 63}.items():
        monkeypatch.setattr("platform.node", lambda host=host: host)
        assert default_node_name() == name


@pytest.mark.parametrize("example", ["edge.toml", "supernode.toml"])
@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_file_is_valid_or_a_config_error(examples: Path, example: str, seed: int) -> None:
    chance = random.Random(seed)
    content = (examples / example).read_bytes()
    alphabet = b"[]{}=\"'\\.,:#-_\n 0123456789aeinrtu\x00\xff"
    load = load_edge if example == "edge.toml" else load_supernode
    # Comments aside, or most mutations would hit one and change nothing.
    lines = [line for line in content.splitlines() if line and not line.startswith(b"#")]
    refused = []
    for _ in range(150):
        text = bytearray(b"\n".join(lines))
        for _ in range(chance.randint(1, 3)):
            at, kind = chance.randrange(len(text)), chance.randrange(4)
            piece = bytes([chance.choice(alphabet)])
            if kind == 0:
                text[at : at + 1] = piece
            elif kind == 1:
                text[at:at] = piece
            elif kind == 2:
                del text[at : at + chance.randint(1, 8)]
            else:
                text[at:at] = text[at : at + chance.randint(1, 40)]
        FILE.write_bytes(text)
        try:
            load(FILE)
        except ConfigError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert all(message.startswith("alice.toml") and "\n" not in message for message in refused)
