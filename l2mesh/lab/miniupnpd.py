"""A real PCP, NAT-PMP and UPnP daemon on a router of the lab: Debian's miniupnpd, built for nftables.

daemon = miniupnpd.start(lab, site, pcp=True)
daemon.terminate()

It serves only who has a public address outside, and to it the lab's, 198.18.N.2, is reserved (RFC 2544). So the
router gets 198.20.N.2 instead, which is real and somebody's, but leaves no lab.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from l2mesh.lab.errors import LabError
from l2mesh.lab.nat import replacing

if TYPE_CHECKING:
    from l2mesh.lab.lab import Lab
    from l2mesh.lab.machines import Router, Site
    from l2mesh.lab.process import Process

TABLE = "miniupnpd"
READY_SECONDS = 5.0

# The daemon's own rules go to the last three chains. A packet that it lets in keeps the mark that the chain `lab`
# of the router asks for (nat.LET_IN). `pcp` and `nat_pmp` share a port; the first byte is their version.
RULES = """
table inet miniupnpd {
    chain forward {
        type filter hook forward priority filter - 5
        meta mark set 0x6d
        jump forward_rules
        meta mark set 0
    }
    chain prerouting {
        type nat hook prerouting priority dstnat - 5
        jump prerouting_rules
    }
    chain postrouting {
        type nat hook postrouting priority srcnat - 5
        jump postrouting_rules
    }
    chain input {
        type filter hook input priority filter - 5
        %s
    }
    chain forward_rules {
    }
    chain prerouting_rules {
    }
    chain postrouting_rules {
    }
}
"""
VERSIONS = {"nat_pmp": 0, "pcp": 2}

CONFIGURATION = """
ext_ifname=wan
listening_ip=lan
enable_natpmp=%(nat_pmp)s
enable_upnp=%(upnp)s
secure_mode=yes
min_lifetime=120
system_uptime=no
http_port=5000
notify_interval=900
uuid=00000000-0000-0000-0000-%(uuid)s
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
upnp_forward_chain=forward_rules
upnp_nat_chain=prerouting_rules
upnp_nat_postrouting_chain=postrouting_rules
allow 1024-65535 192.168.0.0/16 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


def make_public(router: Router) -> str:
    """The router's outer address becomes one that the daemon takes for public. Returns it; once is enough."""
    old, gateway = router.address4, router.uplink.gateway4
    new = old.replace("198.18.", "198.20.", 1)
    if new == old:
        return old
    core, port = router.other_ends[0]
    core.ip([f"route replace {new}/32 dev {port}"])
    router.ip(
        [
            f"address add {new}/32 dev wan",
            f"address del {old}/24 dev wan",
            f"route replace {gateway} dev wan",
            f"route replace default via {gateway} dev wan src {new}",
        ]
    )
    router.uplink.addresses4[0] = new
    router.prefixes.append(f"{new}/32")
    router.load_rules()
    return new


def start(lab: Lab, site: Site, *, pcp: bool = False, nat_pmp: bool = False, upnp: bool = False) -> Process:
    """Starts the daemon with these protocols only, and no mapping. PCP and NAT-PMP are silent, not refused, where
    the other one is wanted.
    """
    program = shutil.which("miniupnpd", path="/usr/sbin:/sbin:/usr/bin")
    if program is None:
        raise LabError("there is no miniupnpd: apt-get install miniupnpd-nftables")
    router = site.router
    make_public(router)
    wanted = {"pcp": pcp, "nat_pmp": nat_pmp}
    silent = [f"udp dport 5351 @th,64,8 {VERSIONS[name]} drop" for name, on in wanted.items() if not on]
    router.nft(replacing(f"inet {TABLE}", RULES % "\n".join(silent)))
    file = lab.directory / f"miniupnpd-{router.full_name}.conf"
    uuid = router.address4.replace(".", "").zfill(12)
    file.write_text(CONFIGURATION % {"nat_pmp": _yes(pcp or nat_pmp), "upnp": _yes(upnp), "uuid": uuid})
    daemon = router.popen([program, "-d", "-f", str(file), "-P", str(file.with_suffix(".pid"))], name="miniupnpd")
    daemon.wait_for_line("Listening for NAT-PMP/PCP" if pcp or nat_pmp else "HTTP listening", READY_SECONDS)
    return daemon


def mappings(site: Site) -> str:
    """The rules that it has made."""
    return site.router.run(f"nft list chain inet {TABLE} prerouting_rules").stdout


def _yes(on: bool) -> str:
    return "yes" if on else "no"
