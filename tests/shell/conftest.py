"""Network namespaces for tests of the real kernel. They live in this process and go with its descriptors."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace. Entering moves this thread, and the processes it starts, into it."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(_set_namespace, os.open("/proc/thread-self/ns/net", os.O_RDONLY))
            if libc.unshare(CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "unshare")
            self.descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            self._ip("link set lo up")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            libc.setns(self.descriptor, CLONE_NEWNET)
            yield
        finally:
            _set_namespace(before)

    def ip(self, command: str) -> str:
        """The output of `ip …` run inside."""
        with self.entered():
            return self._ip(command)

    def join(self, other: Namespace, address: str, other_address: str) -> None:
        """A veth pair between the two, `eth0` in each, with these addresses (CIDR)."""
        with self.entered():
            holder = subprocess.Popen(["sleep", "60"])
        try:
            other.ip(f"link add eth0 type veth peer name eth0 netns {holder.pid}")
        finally:
            holder.kill()
            holder.wait()
        for namespace, cidr in ((self, address), (other, other_address)):
            namespace.ip(f"addr add {cidr} dev eth0 {'nodad' if ':' in cidr else ''}")
            namespace.ip("link set eth0 up")
        deadline = time.monotonic() + 5
        while not (self._carries() and other._carries()):  # until then the kernel drops what is sent
            assert time.monotonic() < deadline, "the veth pair does not come up"

    def _carries(self) -> bool:
        link = self.ip("link show eth0")
        return "state UP" in link and "qdisc noop " not in link

    @staticmethod
    def _ip(command: str) -> str:
        done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
        assert not done.returncode, f"ip {command}: {done.stderr}"
        return done.stdout


def _set_namespace(descriptor: int) -> None:
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    os.close(descriptor)


@pytest.fixture
def need_root() -> None:
    """Skips on a developer's machine without root, and never where CI promises it."""
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("needs root: network namespaces and /dev/net/tun (run: sudo tools/test)")


@pytest.fixture
def namespaces(need_root: None) -> Iterator[list[Namespace]]:
    """Two empty namespaces; the test runs inside the first."""
    pair = [Namespace(), Namespace()]
    with pair[0].entered():
        yield pair
    for namespace in pair:
        os.close(namespace.descriptor)
