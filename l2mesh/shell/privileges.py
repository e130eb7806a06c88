"""Give up what the program no longer needs, once the TAP is open and set up.

What stays, if anything, is CAP_NET_ADMIN, also as an ambient capability so that a `down` command has it. All
else goes, for good: the user, the groups, the other capabilities, and any way back (the bounding set,
no_new_privs). Capabilities belong to a thread: call before a second one exists (uvloop's appear with the
first DNS query).

capabilities(7), prctl(2), capset(2); through ctypes, for no maintained package does it.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import struct

from l2mesh.shell.errors import ShellError

# <linux/capability.h>
CAPABILITY_VERSION_3 = 0x20080522
CAP_SETPCAP = 8
CAP_NET_ADMIN = 12
CAP_LAST = 63
# <linux/prctl.h>
PR_SET_KEEPCAPS = 8
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

_libc = ctypes.CDLL(None, use_errno=True)


def drop_privileges(user: str | None, keep_net_admin: bool) -> None:
    """Become `user` (None: stay who we are), with CAP_NET_ADMIN at most. Raises ShellError.

    Only root can become another user; for anybody else `user` is ignored, and the capabilities go all the
    same.
    """
    effective, permitted = _capabilities()
    kept = permitted & (1 << CAP_NET_ADMIN) if keep_net_admin else 0
    if effective & (1 << CAP_SETPCAP):
        _empty_bounding_set(kept)
    if user is not None and os.geteuid() == 0:
        _prctl(PR_SET_KEEPCAPS, 1)
        _become(user)
    _set_capabilities(kept)
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    if kept:
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def _become(user: str) -> None:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ShellError(f"there is no user {user!r} to run as: create it, or name another") from None
    if os.getresuid() == (entry.pw_uid,) * 3 and os.getresgid() == (entry.pw_gid,) * 3:
        return  # in a user namespace of one user, setgroups() would be refused
    try:
        os.setgroups([])
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    except OSError as error:
        raise ShellError(f"cannot become user {user!r}: {error.strerror}", error.errno) from error


def _capabilities() -> tuple[int, int]:
    """-> effective and permitted, as bit masks."""
    data = ctypes.create_string_buffer(24)
    _check("capget", _libc.capget(_header(), data))
    low_e, low_p, _, high_e, high_p, _ = struct.unpack("=6I", data.raw)
    return high_e << 32 | low_e, high_p << 32 | low_p


def _set_capabilities(kept: int) -> None:
    low, high = kept & 0xFFFFFFFF, kept >> 32
    _check("capset", _libc.capset(_header(), struct.pack("=6I", low, low, low, high, high, high)))


def _header() -> bytes:
    return struct.pack("=Ii", CAPABILITY_VERSION_3, 0)


def _empty_bounding_set(kept: int) -> None:
    for capability in range(CAP_LAST + 1):
        if not kept >> capability & 1 and _libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
            _prctl(PR_CAPBSET_DROP, capability)


def _prctl(option: int, argument: int, more: int = 0) -> None:
    _check(f"prctl {option}", _libc.prctl(*(ctypes.c_ulong(value) for value in (option, argument, more, 0, 0))))


def _check(what: str, result: int) -> None:
    if result < 0:
        raise ShellError(f"cannot drop privileges: {what}: {os.strerror(ctypes.get_errno())}", ctypes.get_errno())
