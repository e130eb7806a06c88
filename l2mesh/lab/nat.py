"""NAT behaviours as nftables rule sets: one function each. Terms are RFC 4787's.

A router's outer interface is `wan`; all others are inside. `Nat.mapping` and `Nat.filtering` are what
l2mesh.lab.classify finds from outside, and tests/net/test_lab.py holds each rule set to them.

Linux itself: masquerade keeps the source port where it is free; a source that already has a mapping which
fits the range gets the same one again, whatever the destination, unless `random` is said. So plain masquerade
is endpoint-independent mapping, and a port range per destination address is address-dependent mapping. What
comes back is matched against the whole 5-tuple: filtering is by address and port unless we add to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Behaviour(Enum):
    """What of a destination decides the outer port (mapping), or must have been sent to first (filtering)."""

    INDEPENDENT = "EI"
    ADDRESS = "AD"
    ADDRESS_AND_PORT = "APD"


EI, AD, APD = Behaviour.INDEPENDENT, Behaviour.ADDRESS, Behaviour.ADDRESS_AND_PORT

BLOCK_START = 20_000
STEPS = 256  # sequential allocators wrap after so many ports; neighbours are what prediction needs

# ADM: by the low bits of the third and fourth byte of the destination, which tell lab addresses apart.
ADM_NETWORKS = 16
ADM_HOSTS = 4
ADM_PORTS = 600

MAPPING_SECONDS = 120  # as nf_conntrack_udp_timeout_stream

# What a port mapping daemon lets in: l2mesh.lab.miniupnpd marks it, for a verdict of its own table would not do.
LET_IN = "meta mark 0x6d accept"


@dataclass(frozen=True, slots=True)
class Nat:
    """What a router does with IPv4."""

    name: str
    mapping: Behaviour
    filtering: Behaviour
    rules: Callable[[str], str]
    """Given the router's outer address, the chains of `table ip lab`."""

    private: bool = True
    """The LAN has private addresses (else routed ones)."""


def _table(
    translation: str, accept: str = "", learn: str = "", prerouting: str = "", input_verdict: str = "drop"
) -> str:
    """A router: what it started may come back in, the rest from outside is dropped but for `accept`."""
    return f"""
    chain prerouting {{
        type nat hook prerouting priority dstnat
        {prerouting}
    }}
    chain input {{
        type filter hook input priority filter
        iifname != "wan" accept
        ct state established,related accept
        icmp type echo-request accept
        {input_verdict}
    }}
    chain forward {{
        type filter hook forward priority filter
        iifname != "wan" accept
        ct state established,related accept
        {LET_IN}
        {accept}
        drop
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat
        {translation}
    }}
    chain learn {{
        type filter hook postrouting priority srcnat + 1
        {learn}
    }}
    """


MASQUERADE = 'oifname "wan" masquerade'


def _udp_then_rest(udp: str) -> str:
    return f'oifname "wan" meta l4proto udp {udp}\n{MASQUERADE}'


def _routed(wan: str) -> str:
    """No NAT, no firewall."""
    return ""


def _firewall(wan: str) -> str:
    """No NAT, but only what belongs to a flow from inside gets in."""
    return _table("")


def _home(wan: str) -> str:
    """EIM/APDF, the ordinary home router; unsolicited packets to it are dropped."""
    return _table(MASQUERADE)


def _home_accept(wan: str) -> str:
    """EIM/APDF, but the router takes unsolicited packets: they make a conntrack entry, and the host's own
    mapping to that peer must then get another port (connectivity.md: the race).
    """
    return _table(MASQUERADE, input_verdict="accept")


def _symmetric(wan: str) -> str:
    """APDM: a random port for each destination address and port."""
    return _table(_udp_then_rest("masquerade fully-random"))


def _address_dependent(wan: str) -> str:
    """ADM/APDF: one range of ports for each destination address."""
    lines = []
    for network in range(ADM_NETWORKS):
        for host in range(ADM_HOSTS):
            first = BLOCK_START + (network * ADM_HOSTS + host) * ADM_PORTS
            match = f"ip daddr & 0.0.{ADM_NETWORKS - 1}.{ADM_HOSTS - 1} == 0.0.{network}.{host}"
            lines.append(f'oifname "wan" {match} meta l4proto udp masquerade to :{first}-{first + ADM_PORTS - 1}')
    return _table("\n".join([*lines, MASQUERADE]))


def _sequential(wan: str) -> str:
    """APDM: the next port for each new flow."""
    ports = ", ".join(f"{i} : {BLOCK_START + i}" for i in range(STEPS))
    return _table(_udp_then_rest(f"masquerade to : numgen inc mod {STEPS} map {{ {ports} }}"))


# Outer port -> inner address and port, learned where packets leave (after translation).
_MAPPINGS = f"""
    map mappings {{
        type inet_service : ipv4_addr . inet_service
        flags dynamic,timeout
        timeout {MAPPING_SECONDS}s
    }}
"""
_LEARN_MAPPING = (
    'oifname "wan" meta l4proto udp update @mappings { udp sport : ct original ip saddr . ct original proto-src }'
)
_TO_MAPPING = "meta l4proto udp dnat to udp dport map @mappings"


def _cone(wan: str) -> str:
    """EIM/EIF: whoever sends to a mapped port gets in."""
    return _MAPPINGS + _table(
        MASQUERADE,
        accept="ct status dnat accept",
        learn=_LEARN_MAPPING,
        prerouting=f'iifname "wan" {_TO_MAPPING}',
    )


def _restricted_cone(wan: str) -> str:
    """EIM/ADF: a mapped port takes packets from addresses that its host has sent to, from any port."""
    contacted = f"""
    set contacted {{
        type ipv4_addr . inet_service . ipv4_addr
        flags dynamic,timeout
        timeout {MAPPING_SECONDS}s
    }}
    """
    learn_contact = (
        'oifname "wan" meta l4proto udp '
        "update @contacted { ct original ip saddr . ct original proto-src . ip daddr }"
    )
    return (
        _MAPPINGS
        + contacted
        + _table(
            MASQUERADE,
            accept="ct status dnat ip daddr . udp dport . ip saddr @contacted accept",
            learn=f"{_LEARN_MAPPING}\n{learn_contact}",
            prerouting=f'iifname "wan" {_TO_MAPPING}',
        )
    )


def _hairpin(wan: str) -> str:
    """EIM/EIF that also takes packets from inside to its own mapped ports, and shows their outer source."""
    return _MAPPINGS + _table(
        f'{MASQUERADE}\niifname != "wan" oifname != "wan" ct status dnat snat to {wan}',
        accept="ct status dnat accept",
        learn=_LEARN_MAPPING,
        prerouting=f"ip daddr {wan} {_TO_MAPPING}",
    )


def block(size: int, first: int = BLOCK_START) -> Nat:
    """APDM/APDF that takes random ports out of a block, as carrier NATs do for one subscriber."""
    udp = f"masquerade to :{first}-{first + size - 1} random"
    return Nat(f"block_{size}", APD, APD, lambda wan: _table(_udp_then_rest(udp)))


ROUTED = Nat("routed", EI, EI, _routed, private=False)
FIREWALL = Nat("firewall", EI, APD, _firewall, private=False)
HOME = Nat("home", EI, APD, _home)
HOME_ACCEPT = Nat("home_accept", EI, APD, _home_accept)
CONE = Nat("cone", EI, EI, _cone)
RESTRICTED_CONE = Nat("restricted_cone", EI, AD, _restricted_cone)
HAIRPIN = Nat("hairpin", EI, EI, _hairpin)
ADDRESS_DEPENDENT = Nat("address_dependent", AD, APD, _address_dependent)
SYMMETRIC = Nat("symmetric", APD, APD, _symmetric)
SEQUENTIAL = Nat("sequential", APD, APD, _sequential)
BLOCK_512, BLOCK_1024, BLOCK_2048 = block(512), block(1024), block(2048)

ALL = (
    ROUTED,
    FIREWALL,
    HOME,
    HOME_ACCEPT,
    CONE,
    RESTRICTED_CONE,
    HAIRPIN,
    ADDRESS_DEPENDENT,
    SYMMETRIC,
    SEQUENTIAL,
    BLOCK_512,
    BLOCK_1024,
    BLOCK_2048,
)


def replacing(table: str, rules: str) -> str:
    """`rules` that begin a table anew, whether it is there or not."""
    return f"table {table}\ndelete table {table}\n{rules}"


def rule_set(nat: Nat, wan: str) -> str:
    """What to load on a router for its IPv4: replaces what was there."""
    return replacing("ip lab", f"table ip lab {{\n{nat.rules(wan)}\n}}\n")


# RFC 4890: without these, IPv6 has no neighbours and no path MTU.
ICMPV6_NEEDED = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, echo-request, packet-too-big } accept"

IPV6_FIREWALL = f"""
table ip6 lab {{
    chain input {{
        type filter hook input priority filter
        iifname != "wan" accept
        ct state established,related accept
        {ICMPV6_NEEDED}
        drop
    }}
    chain forward {{
        type filter hook forward priority filter
        iifname != "wan" accept
        ct state established,related accept
        {LET_IN}
        icmpv6 type echo-request accept
        drop
    }}
}}
"""


def udp_only_to(addresses: tuple[str, ...]) -> str:
    """A guest network that lets no UDP out or in but to these addresses (and answers from them)."""
    lines = []
    for key, version in (("ip", 4), ("ip6", 6)):
        allowed = ", ".join(a for a in addresses if (":" in a) == (version == 6))
        if allowed:
            lines.append(f'oifname "wan" {key} daddr {{ {allowed} }} accept')
            lines.append(f'iifname "wan" {key} saddr {{ {allowed} }} accept')
    body = "\n".join(lines)
    return f"""
    table inet lab_udp {{
        chain forward {{
            type filter hook forward priority filter - 1
            meta l4proto != udp accept
            {body}
            oifname "wan" drop
            iifname "wan" drop
        }}
    }}
    """
