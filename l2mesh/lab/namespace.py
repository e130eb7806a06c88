"""One machine of the lab: a network namespace, with programs, sockets and rules in it."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

from l2mesh.lab import offload, process, system
from l2mesh.lab.drops import Drop, some_of
from l2mesh.lab.errors import LabError
from l2mesh.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from l2mesh.lab.process import Process

RUN_SECONDS = 10.0
SOCKET_SECONDS = 2.0
LINK_SECONDS = 5.0

SYSCTLS = {
    "net.ipv6.conf.all.accept_dad": "0",  # an address is to be usable now, not after a second of probing
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.default.accept_ra": "0",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.promote_secondaries": "1",  # deleting an address leaves the others
}
# Where br_netfilter is loaded, it would send frames inside a LAN through the router's forward chain.
BRIDGE_SYSCTLS = {f"net.bridge.bridge-nf-call-{kind}": "0" for kind in ("iptables", "ip6tables", "arptables")}

# Names for one program: the files of `Lab.set_name`, which may change while it runs, and no name server, so
# that what is not in there fails at once.
WITH_NAMES = """
set -e
mount --bind "$0/hosts" /etc/hosts
[ ! -e /etc/resolv.conf ] || mount --bind "$0/resolv.conf" /etc/resolv.conf
exec "$@"
"""
NO_NAME_SERVER = "nameserver 127.0.0.1\n"  # where nothing listens


@dataclass(slots=True)
class Shared:
    """What all namespaces of a lab have in common."""

    tag: str
    directory: Path
    processes: list[Process] = field(default_factory=list)
    numbers: count[int] = field(default_factory=count)

    def write_names(self, hosts: str) -> None:
        """In place: programs have the files bound over theirs, by inode."""
        (self.directory / "hosts").write_text(hosts)
        (self.directory / "resolv.conf").write_text(NO_NAME_SERVER)

    def with_names(self, command: list[str]) -> list[str]:
        """`command`, seeing the lab's names if there are any."""
        if not (self.directory / "resolv.conf").exists():
            return command
        return ["unshare", "--mount", "sh", "-c", WITH_NAMES, str(self.directory), *command]


def _words(command: Sequence[str] | str) -> list[str]:
    return shlex.split(command) if isinstance(command, str) else list(command)


def _wait_or_kill(popen: subprocess.Popen[bytes], timeout: float) -> int | None:
    """The exit status; None if it had to be killed, with its process group, for being late."""
    try:
        return popen.wait(timeout)
    except BaseException as error:
        os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            return None
        raise


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


class Namespace:
    """A named network namespace. Enter it by hand with `shell_command`."""

    def __init__(self, shared: Shared, name: str) -> None:
        """Of a namespace that `ip netns add` has made under `full_name`."""
        self.name = name
        self.full_name = f"{shared.tag}-{name}"
        self._shared = shared
        self._descriptor = os.open(system.NETNS_DIRECTORY / self.full_name, os.O_RDONLY)
        self.sysctls(SYSCTLS)
        with suppress(LabError):  # no br_netfilter, no such switch
            self.sysctls(BRIDGE_SYSCTLS)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.full_name}>"

    def close(self) -> None:
        """Lets go of the namespace (which its name still holds)."""
        os.close(self._descriptor)

    @property
    def shell_command(self) -> str:
        """What a person types to get a shell in here."""
        return f"ip netns exec {self.full_name} bash"

    def entered(self) -> AbstractContextManager[None]:
        """`with ns.entered():` this thread is in the namespace, for opening sockets and the like."""
        return system.network_namespace(self._descriptor)

    # Programs.

    def run(
        self,
        command: Sequence[str] | str,
        *,
        check: bool = True,
        timeout: float = RUN_SECONDS,
        text: str = "",
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end, `text` as its input. LabError if it is too slow or (`check`) fails."""
        words = _words(command)
        # Files, not pipes: a daemon that it leaves behind may hold them open without keeping us.
        with TemporaryFile() as given, TemporaryFile() as printed, TemporaryFile() as complained:
            given.write(text.encode())
            given.seek(0)
            with self.entered():
                popen = subprocess.Popen(
                    self._shared.with_names(words),
                    stdin=given,
                    stdout=printed,
                    stderr=complained,
                    env=system.environment(env),
                    start_new_session=True,
                )
            status = _wait_or_kill(popen, timeout)
            out, err = (_content(file) for file in (printed, complained))
        if status is None or (check and status):
            failure = f"not done in {timeout:g} s" if status is None else f"exit {status}"
            raise LabError(f"{self.name}: {shlex.join(words)}: {failure}\n{out}{err}")
        return subprocess.CompletedProcess(words, status, out, err)

    def popen(
        self,
        command: Sequence[str] | str,
        *,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        """Starts a program that the lab ends at the latest; it prints to a log in the lab's directory.

        C programs hold back what they print to a file: iperf3 wants --forceflush, others stdbuf -oL.
        """
        words = _words(command)
        label = f"{self.name}.{name or Path(words[0]).name}"
        log = self._shared.directory / f"{label}.{next(self._shared.numbers)}.log"
        started = process.start(self._shared.with_names(words), self._descriptor, label, log, env, cwd)
        self._shared.processes.append(started)
        return started

    def capture(self, path: Path, interface: str = "any", only: str = "") -> Process:
        """tcpdump of what passes here (`only`: a filter). Returns once it listens; end it by terminate().

        Not in a user namespace: tcpdump wants to set its groups, and may not there.
        """
        command = ["tcpdump", "-Z", "root", "-U", "--immediate-mode", "-n", "-B", "16384", "-s", "0"]
        dump = self.popen([*command, "-i", interface, "-w", str(path), *shlex.split(only)])
        dump.wait_for_line("listening on")
        return dump

    def udp(self, address: str = "0.0.0.0", port: int = 0) -> socket.socket:
        """A UDP socket of this process that lives in the namespace. recv gives up after 2 s."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.entered():
            made = socket.socket(family, socket.SOCK_DGRAM)
        made.settimeout(SOCKET_SECONDS)
        made.bind((address, port))
        return made

    # The kernel's settings.

    def ip(self, lines: Iterable[str]) -> None:
        """`ip` commands, without the word ip."""
        with self.entered():
            system.ip_batch(lines)

    def wait_for_link(self, interface: str) -> None:
        """Until the kernel uses it. It begins a moment after `up` on both ends; a busy machine takes longer, and
        an ARP request lost meanwhile costs a second.
        """

        def running() -> bool:
            with self.entered():
                return system.is_running(interface)

        wait_until(running, LINK_SECONDS, f"{self.name}: the link {interface} comes up", poll_s=0.001)

    def nft(self, rules: str) -> None:
        """Loads nftables rules; each statement on its own line."""
        with self.entered():
            system.nft(rules)

    def sysctls(self, values: Mapping[str, str]) -> None:
        """Sets sysctls of the namespace, as net.ipv4.ip_forward. LabError names the one that failed."""
        with self.entered():
            for name, value in values.items():
                try:
                    Path("/proc/sys", *name.split(".")).write_text(value)
                except OSError as error:
                    raise LabError(f"{self.name}: sysctl {name}: {error}") from error

    def offload(self, feature: str, on: bool, interface: str = "eth0") -> None:
        """Turns e.g. tx-udp-segmentation on or off."""
        with self.entered():
            offload.switch(interface, feature, on)

    def offload_is_on(self, feature: str, interface: str = "eth0") -> bool:
        with self.entered():
            return offload.is_on(interface, feature)

    # Losing packets.

    def drop(self, match: str, hook: str = "prerouting") -> Drop:
        """Drops what the nftables expression `match` matches, on arrival (hook `output`: when sent here)."""
        return Drop(self, match, hook)

    def loss(self, percent: float, match: str = "meta l4proto udp", hook: str = "prerouting") -> Drop:
        """Drops that share of what matches, at random.

        A UDP GSO train over veth is one packet, unless its sender has `tx-udp-segmentation` off.
        """
        return Drop(self, f"{match} {some_of(percent)}", hook)
