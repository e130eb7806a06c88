"""Switches offload features of an interface (what `ethtool -K` does, which is not installed everywhere).

linux/ethtool.h: the feature names are string set 4; ETHTOOL_SFEATURES takes pairs of 32-bit masks (valid,
wanted).
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct

from l2mesh.lab.errors import LabError

SIOCETHTOOL = 0x8946
ETHTOOL_GSTRINGS = 0x1B
ETHTOOL_GSSET_INFO = 0x37
ETHTOOL_GFEATURES = 0x3A
ETHTOOL_SFEATURES = 0x3B
SET_OF_FEATURES = 4
STRING_BYTES = 32


def _request(control: socket.socket, interface: str, command: bytes) -> bytes:
    buffer = array.array("B", command)
    ifreq = struct.pack("16sP16x", interface.encode(), buffer.buffer_info()[0])
    fcntl.ioctl(control, SIOCETHTOOL, ifreq)
    return buffer.tobytes()


def _feature_names(control: socket.socket, interface: str) -> list[str]:
    info = _request(control, interface, struct.pack("IIQI", ETHTOOL_GSSET_INFO, 0, 1 << SET_OF_FEATURES, 0))
    count = struct.unpack_from("I", info, 16)[0]
    head = struct.pack("III", ETHTOOL_GSTRINGS, SET_OF_FEATURES, count)
    names = _request(control, interface, head + bytes(count * STRING_BYTES))[len(head) :]
    return [names[i * STRING_BYTES : (i + 1) * STRING_BYTES].split(b"\0", 1)[0].decode() for i in range(count)]


def _index(control: socket.socket, interface: str, feature: str) -> tuple[int, int]:
    """Which bit the feature is, and of how many words of bits."""
    names = _feature_names(control, interface)
    if feature not in names:
        raise LabError(f"this kernel knows no offload {feature!r}")
    return names.index(feature), (len(names) + 31) // 32


def is_on(interface: str, feature: str) -> bool:
    """Whether `feature` (as `ethtool -k` names it in long) is active, in the namespace of this thread."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        bit, words = _index(control, interface, feature)
        got = _request(control, interface, struct.pack("II", ETHTOOL_GFEATURES, words) + bytes(words * 16))
        active = struct.unpack_from("IIII", got, 8 + bit // 32 * 16)[2]  # available, requested, active, never
        return bool(active >> (bit % 32) & 1)


def switch(interface: str, feature: str, on: bool) -> None:
    """Turns a feature such as `tx-udp-segmentation` on or off, in the namespace of this thread."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        bit, words = _index(control, interface, feature)
        masks = [0] * (2 * words)
        masks[bit // 32 * 2] = 1 << bit % 32
        masks[bit // 32 * 2 + 1] = on << bit % 32
        _request(control, interface, struct.pack(f"II{2 * words}I", ETHTOOL_SFEATURES, words, *masks))
