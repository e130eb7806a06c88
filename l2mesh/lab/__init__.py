"""A virtual internet of Linux network namespaces with real NATs, for the demo, the tests and the tools.

from l2mesh.lab import IPv6, Lab, nat

with Lab() as lab:
    supernode = lab.public_host("supernode", addresses=2)
    alice = lab.site("alice", nat.HOME)
    bob = lab.site("bob", nat.block(1024), hosts=2, ipv6=IPv6.FIREWALL)
    server = supernode.popen("l2mesh supernode", env={...})
    server.wait_for_line("^ready")
    alice.host.run(["ping", "-c1", supernode.address4])
    lab.block_udp(alice, bob)
    bob.router.flush_conntrack()
"""

from __future__ import annotations

from l2mesh.lab.classify import Observation, classify
from l2mesh.lab.drops import Drop
from l2mesh.lab.errors import LabError
from l2mesh.lab.lab import Lab
from l2mesh.lab.machines import Carrier, Host, IPv6, Router, Site
from l2mesh.lab.namespace import Namespace
from l2mesh.lab.nat import Behaviour, Nat
from l2mesh.lab.ownership import sweep
from l2mesh.lab.process import Process
from l2mesh.lab.user_namespace import (
    inside_user_namespace,
    reexec_in_user_namespace,
    requirements,
    user_namespace_requirements,
)
from l2mesh.lab.waiting import wait_until

__all__ = [
    "Behaviour",
    "Carrier",
    "Drop",
    "Host",
    "IPv6",
    "Lab",
    "LabError",
    "Namespace",
    "Nat",
    "Observation",
    "Process",
    "Router",
    "Site",
    "classify",
    "inside_user_namespace",
    "reexec_in_user_namespace",
    "requirements",
    "sweep",
    "user_namespace_requirements",
    "wait_until",
]
