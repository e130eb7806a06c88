"""A virtual internet: a routed core in the middle, sites and public hosts around it.

    host  alice            192.168.2.10   2001:db8:2:1::10
      |
    router alice-router    wan 198.18.2.2   2001:db8:2::2       NAT and firewall: l2mesh.lab.nat
      |
    core                   .1 of each link; forwards, so TTL counts
      |
    host  supernode        198.18.1.2   198.18.1.3   2001:db8:1::2

Link number N of a lab is 198.18.N.0/24 (RFC 2544) and 2001:db8:N::/64 (RFC 3849); a site's LAN is
192.168.N.0/24, or 198.19.N.0/24 where it is routed, and 2001:db8:N:1::/64; a link behind a carrier is
100.64.N.0/24 (RFC 6598). To Python's ipaddress all of these are "private" but for the last, which is neither:
nothing may depend on that.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from l2mesh.lab import drops, ownership, process, system
from l2mesh.lab import nat as nats
from l2mesh.lab.errors import LabError
from l2mesh.lab.lifetime import catch_signals, restore_signals, undisturbed
from l2mesh.lab.machines import Carrier, Host, IPv6, Router, Site, Uplink
from l2mesh.lab.namespace import Namespace, Shared

if TYPE_CHECKING:
    from types import TracebackType

    from l2mesh.lab.nat import Nat

Party = Host | Site | Carrier
AnyNamespace = TypeVar("AnyNamespace", bound=Namespace)

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,14}")  # also the name of an interface: 15 bytes
RESERVED = {"core", "lo", "wan", "lan", "all", "default"}
LAST_LINK = 254
FIRST_HOST = 10  # of a LAN; .1 is the router
NOTE_LINES = 15  # of each program's log, added to an exception that leaves the lab

# What has no business in the core is lost there without a word, as with most providers.
UNROUTED = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")


class Lab:
    """`with Lab() as lab:` builds the core; at its end every program is ended, every namespace removed.

    Namespaces are named `<prefix>-<4 hex>-<name>`, so labs run side by side. `directory` holds logs; one that
    the lab makes itself goes with it. Use a lab from one thread.
    """

    def __init__(self, prefix: str = "l2m", directory: Path | None = None) -> None:
        self.keep = False
        """Leave everything up at the end (until `sweep(kept=True)`)."""
        self._prefix = prefix
        self._own_directory = directory is None
        self._directory = directory
        self._links = 0
        self._namespaces: dict[str, Namespace] = {}
        self._sites: list[Site] = []
        self._blocks: dict[frozenset[str], list[drops.Drop]] = {}
        self._names: dict[str, str] = {}

    # Beginning and end.

    def __enter__(self) -> Self:
        self.directory = self._directory or Path(tempfile.mkdtemp(prefix="l2mesh-lab-"))
        self._claim = ownership.Claim(self._prefix, self.directory if self._own_directory else None)
        self._shared = Shared(self.tag, self.directory)
        self._caught = catch_signals()
        try:
            self.core = self._new(Namespace, "core")
            self.core.sysctls({"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"})
            self.core.ip(["link set dev lo up", *(f"route add blackhole {prefix}" for prefix in UNROUTED)])
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, SystemExit | KeyboardInterrupt):
            for started in self._shared.processes:
                error.add_note(f"--- {started.log} ends:\n{started.tail(NOTE_LINES)}")
        self._close()

    @property
    def tag(self) -> str:
        """What the names of all its namespaces begin with."""
        return self._claim.tag

    def _close(self) -> None:
        with undisturbed(), ExitStack() as steps:  # last first; each is done whatever became of the others
            steps.callback(restore_signals, self._caught)
            if self.keep:
                self._claim.keep(self.directory if self._own_directory else None)
            else:
                steps.callback(self._claim.release)
                if self._own_directory:
                    steps.callback(shutil.rmtree, self.directory, ignore_errors=True)
                steps.callback(ownership.remove_namespaces, self.tag)
                steps.callback(process.end_all, self._shared.processes)
            for namespace in self._namespaces.values():
                steps.callback(namespace.close)

    # Building.

    def public_host(self, name: str, *, addresses: int = 1, ipv6: bool = True, delay_ms: float = 0) -> Host:
        """A host on the internet itself, with so many addresses of each IP version, on a link of its own."""
        self._check_name(name)
        host = self._new(Host, name)
        number = self._link(self.core, host, "198.18", addresses, ipv6, delay_ms)
        host.prefixes = [f"198.18.{number}.0/24", f"2001:db8:{number}::/48"]
        return host

    def site(
        self,
        name: str,
        nat: Nat = nats.HOME,
        *,
        hosts: int = 1,
        ipv6: IPv6 = IPv6.NONE,
        behind: Carrier | None = None,
        lan: str | None = None,
        udp_only_to: tuple[str, ...] | None = None,
        delay_ms: float = 0,
    ) -> Site:
        """A router `<name>-router`, and hosts `<name>`, `<name>-2`, … on its LAN.

        `lan`: the first three bytes of the LAN ("192.168.1"; two sites may have the same). `udp_only_to`: UDP
        to and from all but these addresses is dropped. `delay_ms`: added each way on the link outside.
        """
        self._check_name(name)
        router = self._new(Router, f"{name}-router")
        router.nat, router.ipv6, router.udp_only_to = nat, ipv6, udp_only_to
        number = self._connect_site(router, behind, delay_ms)
        lan = lan or (f"192.168.{number}" if nat.private else f"198.19.{number}")
        lan6 = [f"2001:db8:{number}:1::1"] if ipv6 is not IPv6.NONE else []
        site = Site(name, router, Uplink("lan", [f"{lan}.1"], addresses6=lan6))
        router.ip(["link add name lan type bridge mcast_snooping 0", *site.lan.lines()])
        router.load_rules()
        self._sites.append(site)
        for i in range(hosts):
            self.add_host(site, name if i == 0 else f"{name}-{i + 1}")
        return site

    def carrier(self, name: str, nat: Nat = nats.HOME, *, delay_ms: float = 0) -> Carrier:
        """A carrier's router, for sites to connect behind. IPv6 passes it unfiltered."""
        self._check_name(name)
        router = self._new(Router, name)
        router.nat, router.ipv6 = nat, IPv6.OPEN
        number = self._link(self.core, router, "198.18", 1, True, delay_ms)
        router.prefixes = [f"198.18.{number}.0/24", f"2001:db8:{number}::/48"]
        router.load_rules()
        return Carrier(name, router)

    def add_host(self, site: Site, name: str) -> Host:
        """One more host on the LAN of a site."""
        self._check_name(name)
        host = self._new(Host, name)
        self._plug(host, site)
        return host

    def move(self, host: Host, site: Site) -> None:
        """Takes a host to the LAN of another site, as a laptop that is carried home."""
        host.ip(["link del dev eth0"])
        for left in self._sites:
            left.hosts = [other for other in left.hosts if other is not host]
        self._plug(host, site)

    def _check_name(self, name: str) -> None:
        if not NAME.fullmatch(name) or name in RESERVED:
            raise LabError(f"{name!r} is no name for a machine: 15 small letters, digits and -")
        if name in self._namespaces:
            raise LabError(f"there is a machine {name} already")

    def _new(self, kind: type[AnyNamespace], name: str) -> AnyNamespace:
        system.ip_batch([f"netns add {self.tag}-{name}"])
        namespace = kind(self._shared, name)
        self._namespaces[name] = namespace
        return namespace

    def _link(self, outer: Namespace, inner: Host, pool: str, addresses: int, ipv6: bool, delay_ms: float) -> int:
        """Connects `inner` by a link of its own to `outer`. Returns the link's number."""
        self._links += 1
        number, gateway4, gateway6 = self._links, f"{pool}.{self._links}.1", f"2001:db8:{self._links}::1"
        if number > LAST_LINK:
            raise LabError(f"a lab has at most {LAST_LINK} links")
        port = inner.name.removesuffix("-router")
        inner.other_ends = [(outer, port)]
        if delay_ms:
            self._insert_delay(outer, port, inner, delay_ms)
        else:
            self._cable(inner, inner.INTERFACE, outer, port)
        addresses6 = [f"2001:db8:{number}::{i + 2}" for i in range(addresses)] if ipv6 else []
        outer.ip(Uplink(port, [gateway4], addresses6=[gateway6] if ipv6 else []).lines())
        addresses4 = [f"{pool}.{number}.{i + 2}" for i in range(addresses)]
        inner.connect(Uplink(inner.INTERFACE, addresses4, gateway4, addresses6, gateway6 if ipv6 else None))
        return number

    @staticmethod
    def _cable(one: Namespace, interface: str, other: Namespace, other_interface: str) -> None:
        system.ip_batch(
            [
                f"link add name {interface} netns {one.full_name} type veth "
                f"peer name {other_interface} netns {other.full_name}"
            ]
        )

    def _insert_delay(self, outer: Namespace, port: str, inner: Host, delay_ms: float) -> None:
        """Puts a namespace without addresses into a link, where l2mesh.lab.delay carries frames across."""
        wire = self._new(Namespace, f"{port}-wire")
        wire.sysctls({"net.ipv6.conf.default.disable_ipv6": "1"})
        self._cable(inner, inner.INTERFACE, wire, "near")
        self._cable(outer, port, wire, "far")
        wire.ip(["link set dev near up", "link set dev far up"])
        inner.other_ends += [(wire, "near"), (wire, "far")]
        carry = wire.popen([sys.executable, "-m", "l2mesh.lab.delay", "near", "far", str(delay_ms)], name="delay")
        carry.wait_for_line("^ready")

    def _connect_site(self, router: Router, behind: Carrier | None, delay_ms: float) -> int:
        """The link of a site's router, and the routes to what is behind it. Returns the link's number."""
        outer = behind.router if behind else self.core
        pool = "100.64" if behind else "198.18"
        ipv6 = router.ipv6 is not IPv6.NONE
        number = self._link(outer, router, pool, 1, ipv6, delay_ms)
        own4, own6 = f"{pool}.{number}.0/24", f"2001:db8:{number}::/48"
        router.prefixes = [behind.router.prefixes[0] if behind else own4, own6]
        if not router.nat.private:
            if behind:
                raise LabError("a site behind a carrier has private addresses")
            router.prefixes.append(f"198.19.{number}.0/24")
            outer.ip([f"route add 198.19.{number}.0/24 via {router.address4}"])
        if ipv6:
            outer.ip([f"route add {own6} via {router.address6}"])
            if behind:
                self.core.ip([f"route add {own6} via {behind.router.address6}"])
        return number

    def _plug(self, host: Host, site: Site) -> None:
        """Connects a host to a site's LAN."""
        site.ports += 1
        last = FIRST_HOST + site.ports - 1
        port = f"lan{site.ports}"
        self._cable(host, "eth0", site.router, port)
        site.router.ip([f"link set dev {port} master lan up"])
        gateway4 = site.lan.addresses4[0]
        uplink = Uplink("eth0", [f"{gateway4.rpartition('.')[0]}.{last}"], gateway4)
        for gateway6 in site.lan.addresses6:
            uplink.gateway6 = gateway6
            uplink.addresses6.append(f"{gateway6.removesuffix('1')}{last}")
        host.prefixes = site.router.prefixes
        host.other_ends = [(site.router, port)]
        host.connect(uplink)
        site.router.wait_for_link("lan")
        site.hosts.append(host)

    # While it is up.

    def block_udp(self, one: Party, other: Party) -> None:
        """Drops UDP between the two in the core, both ways and both IP versions.

        What does not pass the core is not touched: hosts of one LAN, sites behind one carrier.
        """
        a, b = _machine(one).prefixes, _machine(other).prefixes
        self._blocks.setdefault(_pair(one, other), []).extend(
            self.core.drop(match)
            for version in (4, 6)
            for match in drops.between(_of(version, a), _of(version, b), version)
        )

    def unblock_udp(self, one: Party, other: Party) -> None:
        """Lets it pass again."""
        for rule in self._blocks.pop(_pair(one, other), []):
            rule.remove()

    def set_name(self, name: str, *addresses: str) -> None:
        """Makes `name` resolve to these addresses, for programs started after the first call. None: it fails.

        Later calls reach them too. There is no name server: what was not set fails at once.
        """
        self._names[name] = "".join(f"{address} {name}\n" for address in addresses)
        self._shared.write_names("127.0.0.1 localhost\n::1 localhost\n" + "".join(self._names.values()))


def _machine(party: Party) -> Host:
    return party if isinstance(party, Host) else party.router


def _pair(one: Party, other: Party) -> frozenset[str]:
    return frozenset({_machine(one).name, _machine(other).name})


def _of(version: int, prefixes: list[str]) -> list[str]:
    return [prefix for prefix in prefixes if (":" in prefix) == (version == 6)]
