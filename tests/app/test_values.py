"""The texts inside a network file: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

import contextlib
from ipaddress import ip_interface
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.app.values import (
    StunAddress,
    SupernodeAddress,
    format_mac,
    parse_all,
    parse_interface,
    parse_key,
    parse_listen,
    parse_mac,
    parse_stun,
    parse_supernode,
)
from l2mesh.crypto.keys import encode_key

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = bytes(range(32))


def refusal(parse: Callable[[str], object], text: str) -> str:
    """What is said of a text that is no value."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the caller looks at the message
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("198.51.100.7:7777", "198.51.100.7", 7777),
        ("[2001:DB8::7]:1", "2001:db8::7", 1),
        ("supernode.example.net:65535", "supernode.example.net", 65535),
        ("localhost:7777", "localhost", 7777),
        ("my_host.:7777", "my_host.", 7777),
    ],
)
def test_a_supernode_is_host_and_port(text: str, host: str, port: int) -> None:
    assert parse_supernode(text) == SupernodeAddress(host, port, None, text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1:3478", "192.0.2.1", 3478),
        ("[2001:DB8::7]:1", "2001:db8::7", 1),
        ("stun.example:2", "stun.example", 2),
    ],
)
def test_a_stun_server_is_host_and_port(text: str, host: str, port: int) -> None:
    assert parse_stun(text) == StunAddress(host, port, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stun.example", "add the UDP port, as in stun.example:3478"),
        ("stun:stun.example:3478", "write an IPv6 address in brackets"),
        ("stun.example:3478#AAAA", "must be host:port, name:port or [v6]:port, as in 198.51.100.7:3478"),
        ("stun.example:0", "the port must be between 1 and 65535"),
        ("224.0.0.1:3478", "is no address of a host"),
    ],
)
def test_what_is_no_stun_server_is_said(text: str, said: str) -> None:
    assert said in refusal(parse_stun, text)


def test_a_supernode_may_have_its_key_pinned() -> None:
    text = f"[2001:db8::7]:7777#{encode_key(KEY)}"
    assert parse_supernode(text) == SupernodeAddress("2001:db8::7", 7777, KEY, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("198.51.100.7", "add the UDP port, as in 198.51.100.7:7777"),
        ("[2001:db8::7]", "add the UDP port, as in [2001:db8::7]:7777"),
        ("2001:db8::7", "write an IPv6 address in brackets, with a port, as in [2001:db8::7]:7777"),
        ("a:b", "must be host:port, name:port or [v6]:port"),
        ("a:0", "the port must be between 1 and 65535"),
        ("a:65536", "the port must be at most 65535"),
        (":7777", "add the host"),
        ("[198.51.100.7]:7777", "brackets are for IPv6"),
        ("[2001:zz::]:7777", "is not an IP address"),
        ("300.1.1.1:7777", "300.1.1.1 is not an IP address"),
        ("0.0.0.0:7777", "is no address of a host"),
        ("[ff02::1]:7777", "is no address of a host"),
        ("[fe80::1%eth0]:7777", "no zone"),
        ("a b:7777", "neither an IP address nor a host name"),
        ("-a.example:7777", "neither an IP address nor a host name"),
        ("a..example:7777", "neither an IP address nor a host name"),
        ("münchen.example:7777", "xn--"),
        ("a:7777#", "0 bytes, but a key has 32"),
        ("a:7777#AAAA", "3 bytes, but a key has 32"),
        ("a:7777#!", "not base64"),
    ],
)
def test_a_supernode_that_is_none(text: str, said: str) -> None:
    assert said in refusal(parse_supernode, text)


def test_listen_takes_literals_and_port_0() -> None:
    assert parse_listen("0.0.0.0:0") == ("0.0.0.0", 0)
    assert parse_listen("[::]:7777") == ("::", 7777)


@pytest.mark.parametrize("text", ["localhost:7777", "0.0.0.0", "[ff02::1]:7", "224.0.0.1:7", ":7", "::"])
def test_listen_refuses_the_rest(text: str) -> None:
    assert refusal(parse_listen, text)


@pytest.mark.parametrize("text", ["10.98.0.1/24", "fd98::1/64", "10.0.0.0/31", "10.0.0.1/32", "fd98::/127"])
def test_an_interface_is_an_address_in_a_network(text: str) -> None:
    assert parse_interface(text) == ip_interface(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.98.0.1", "add the length of the prefix"),
        ("10.98.0.1/33", "must be an IP address with prefix length"),
        ("alice/24", "must be an IP address with prefix length"),
        ("10.98.0.0/24", "is the network itself: choose a host in it, as in 10.98.0.1"),
        ("fd98::/64", "is the network itself"),
        ("10.98.0.255/24", "is the broadcast address"),
        ("224.0.0.1/24", "cannot be the address of a network device"),
        ("127.0.0.1/8", "cannot be the address of a network device"),
        ("::/0", "cannot be the address of a network device"),
        ("::ffff:10.98.0.1/120", "write 10.98.0.1 as IPv4"),
        ("fe80::1%eth0/64", "no zone"),
    ],
)
def test_an_interface_that_is_none(text: str, said: str) -> None:
    assert said in refusal(parse_interface, text)


def test_a_mac_is_auto_or_six_octets() -> None:
    assert parse_mac("auto") is None
    assert parse_mac("02:4c:32:00:00:0A") == parse_mac("02-4C-32-00-00-0a") == b"\x02\x4c\x32\x00\x00\x0a"
    assert format_mac(b"\x02\x4c\x32\x00\x00\x0a") == "02:4c:32:00:00:0a"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", '"auto" or six octets'),
        ("02:4c:32:00:00", '"auto" or six octets'),
        ("02:4c-32:00:00:01", '"auto" or six octets'),
        ("03:4c:32:00:00:01", "is a group address"),
        ("ff:ff:ff:ff:ff:ff", "is a group address"),
        ("00:00:00:00:00:00", "is all zeros"),
    ],
)
def test_a_mac_that_is_none(text: str, said: str) -> None:
    assert said in refusal(parse_mac, text)


def test_a_list_names_its_wrong_entry_and_its_double() -> None:
    with pytest.raises(ValueError, match=r'^"b": add the UDP port'):
        parse_all(["a:1", "b"], parse_supernode)
    with pytest.raises(ValueError, match=r'^"10.98.0.1/16" is there twice'):
        parse_all(["10.98.0.1/24", "10.98.0.1/16"], parse_interface, lambda one: one.ip)


@pytest.mark.parametrize("parse", [parse_supernode, parse_listen, parse_interface, parse_mac, parse_key])
@given(text=st.text(st.sampled_from("0123456789abcdef:.[]/%#=-é \n\0"), max_size=50))
def test_any_text_is_a_value_or_a_value_error(parse: Callable[[str], object], text: str) -> None:
    with contextlib.suppress(ValueError):
        parse(text)
