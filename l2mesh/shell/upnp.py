"""UPnP-IGD: has a home router map a port, by the C client's own binding, miniupnpc.

It waits for seconds, and reads HTTP and XML from whoever on the LAN calls himself a router. So it does its work in
a process of its own without privileges (upnp_process.py starts it): it cannot hold up, nor harm, the one that has
the keys. A line of stdin is a job as JSON, a line of stdout what came of it:

    {"external": ["198.51.100.1", 50000], "lifetime": 3600}      lifetime 0: until it is deleted
    {"deleted": true}
    {"denied": "ConflictInMappingEntry"}
    {"silent": "no router found"}
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
from typing import Any, Protocol

DISCOVER_MS = 1000
"""Routers answer within the second that we ask for (MX; UPnP Device Architecture 1.1, section 1.3.3). All of it is
waited for, and eight kinds of router are asked for one after the other, so without one it takes eight seconds."""
DESCRIPTION = "l2mesh"
TRIES = 6

# Error texts of miniupnpc, which hides the numbers.
ONLY_PERMANENT = ("OnlyPermanentLeasesSupported", "Invalid Args", "Action Failed")  # 725; others say 402 or 501
SAME_PORT = "SamePortValuesRequired"  # 724
TAKEN = "ConflictInMappingEntry"  # 718
GONE = "NoSuchEntryInArray"  # 714

Answer = dict[str, Any]


class Igd(Protocol):
    """What we use of miniupnpc.UPnP. Every failure is an Exception with one of its texts."""

    discoverdelay: int
    lanaddr: str

    def discover(self) -> int: ...
    def selectigd(self) -> str: ...
    def externalipaddress(self) -> str: ...
    def addportmapping(
        self, external: int, protocol: str, host: str, port: int, text: str, remote: str, lease: int, /
    ) -> bool: ...
    def deleteportmapping(self, external: int, protocol: str, /) -> bool: ...


def work(igd: Igd, job: dict[str, Any]) -> Answer:
    """Find the router and do the job."""
    igd.discoverdelay = DISCOVER_MS
    try:
        igd.discover()
        igd.selectigd()
    except Exception:
        return {"silent": "no router found"}
    if job["action"] == "delete":
        return delete(igd, job["ports"])
    if igd.lanaddr != job["own_host"]:
        return {"silent": f"the router that answers is reached from {igd.lanaddr}, not from {job['own_host']}"}
    return add(igd, job["own_host"], job["own_port"], job["ports"], job["lifetime"])


def add(igd: Igd, own_host: str, own_port: int, ports: list[int], lifetime: int) -> Answer:
    """Map the first of `ports` that is free; for ever, where the router knows nothing else."""
    wanted = list(ports)
    external, reason = wanted.pop(0), ""
    for _ in range(TRIES):
        try:
            igd.addportmapping(external, "UDP", own_host, own_port, DESCRIPTION, "", lifetime)
            return {"external": [igd.externalipaddress(), external], "lifetime": lifetime}
        except Exception as error:
            reason = str(error)
        if reason in ONLY_PERMANENT and lifetime:
            lifetime = 0
        elif reason == SAME_PORT and external != own_port:
            external = own_port
        elif reason == TAKEN and wanted:
            external = wanted.pop(0)
        else:
            break
    return {"denied": reason}


def delete(igd: Igd, ports: list[int]) -> Answer:
    for port in ports:
        try:
            igd.deleteportmapping(port, "UDP")
        except Exception as error:
            if str(error) != GONE:
                return {"denied": str(error)}
    return {"deleted": True}


def main() -> None:
    """One argument: the user to become, where we are root; "" for none. Ends when stdin does."""
    from l2mesh.shell.privileges import drop_privileges

    # Our end is the end of stdin: a signal to the whole service comes before the edge's last wish, a deletion.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        make = importlib.import_module("miniupnpc").UPnP
    except ImportError:
        make = None
    drop_privileges(sys.argv[1] or None, keep_net_admin=False)
    for line in sys.stdin:
        missing = {"silent": "the Python package miniupnpc is not installed"}
        print(json.dumps(work(make(), json.loads(line)) if make else missing), flush=True)


if __name__ == "__main__":
    main()
