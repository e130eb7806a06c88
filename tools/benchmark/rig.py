"""Two hosts on a bridge, and a hub for those who need a third: fresh namespaces for each cell.

a  eth0 ──┐
          ├── bridge (a namespace of its own)
b  eth0 ──┤
hub eth0 ─┘      supernodes
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmark.underlay import Underlay
from l2mesh.lab import Host, Lab, nat

PREFIX = "l2b"
"""Of all our namespaces: `ip netns` shows whose they are."""

ARP_AGAIN_MS, ARP_TRIES = "20", "100"
UDP_SEGMENTATION = "tx-udp-segmentation"
TCP_SEGMENTATION = "tx-tcp-segmentation"


class Rig:
    """`with Rig(underlay) as rig:` builds it; at the end all programs are ended, all namespaces gone."""

    a: Host
    b: Host
    hub: Host
    directory: Path
    """For the files of this cell; others may look in, since daemons give up root."""

    def __init__(self, underlay: Underlay) -> None:
        self.underlay = underlay
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="l2mesh-bench-")))
            self.directory.chmod(0o755)
            lab = stack.enter_context(Lab(prefix=PREFIX, directory=self.directory))
            self._lab, self._site = lab, lab.site("rig", nat.ROUTED, hosts=3)
            self.a, self.b, self.hub = self._site.hosts
            for host in self._site.hosts:
                self._prepare(host)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def hosts(self) -> tuple[Host, Host, Host]:
        return self.a, self.b, self.hub

    def add_host(self, name: str) -> Host:
        """One more on the bridge."""
        host = self._lab.add_host(self._site, name)
        self._prepare(host)
        return host

    def _prepare(self, host: Host) -> None:
        if self.underlay is Underlay.PLAIN:
            self._offload(host, UDP_SEGMENTATION, on=False)

    @staticmethod
    def _offload(host: Host, feature: str, *, on: bool) -> None:
        """On its own end of the link and the bridge's."""
        host.offload(feature, on)
        for namespace, interface in host.other_ends:
            namespace.offload(feature, on, interface)

    @staticmethod
    def hasten_arp(host: Host, address: str) -> None:
        """An ARP request that is lost before a tunnel is up would cost the second until the next one."""
        route = json.loads(host.run(["ip", "-json", "route", "get", address]).stdout)
        prefix = f"net.ipv4.neigh.{route[0]['dev']}"
        host.sysctls({f"{prefix}.retrans_time_ms": ARP_AGAIN_MS, f"{prefix}.mcast_solicit": ARP_TRIES})

    def block_udp_between_hosts(self) -> None:
        """Each of the two gets no UDP from the other any more."""
        for host, other in ((self.a, self.b), (self.b, self.a)):
            host.drop(f"ip saddr {other.address4} meta l4proto udp")

    @contextmanager
    def loss(self, percent: float) -> Iterator[None]:
        """Drops that share of the packets that either host gets.

        TCP segmentation is off meanwhile, so that of raw TCP a packet is lost too, and not a superframe.
        """
        rules = []
        for host in (self.a, self.b):
            self._offload(host, TCP_SEGMENTATION, on=False)
            rules.append(host.loss(percent, 'meta iifname "eth0"'))
        try:
            yield
        finally:
            for rule in rules:
                rule.remove()
            for host in (self.a, self.b):
                self._offload(host, TCP_SEGMENTATION, on=True)
