"""Why something was dropped: one word each, which feeds counters, traces, tests and status."""

from __future__ import annotations

from enum import StrEnum


class DropReason(StrEnum):
    """Nothing is dropped in silence. The value is what status and metrics show."""

    # Frames from the TAP (packer).
    BAD_FRAME = "bad frame"
    """Fewer than 14 bytes, or too long for any plaintext."""
    BAD_SUPERFRAME = "bad superframe"
    """The frame's headers contradict its virtio header."""
    NO_ROOM = "no room"
    """The path's payload size is too small to carry it, even in pieces."""

    # Plaintexts from a peer (unpacker). The peer, or a later version of it, is at fault.
    UNKNOWN_KIND = "unknown kind"
    BAD_BUNDLE = "bad bundle"
    BAD_CHECKSUM_OFFSET = "bad checksum offset"
    """A partial checksum would lie outside of its frame."""
    BAD_SEGMENT = "bad segment"
    BAD_SLIM_UDP = "bad slim udp frame"
    BAD_FRAGMENT = "bad fragment"
    FRAGMENTS_EXPIRED = "fragments expired"
    """Not all fragments of a frame came in time."""
    FRAGMENTS_EVICTED = "fragments evicted"
    """A frame in reassembly made room for newer ones."""

    # Datagrams, before they are known to be a peer's. Anybody may be at fault.
    UNKNOWN_TYPE = "unknown type"
    MALFORMED = "malformed"
    UNKNOWN_INDEX = "unknown receiver index"
    UNKNOWN_CHANNEL = "unknown relay channel"
    WRONG_MAC1 = "wrong mac1"
    """A stranger, another network, a wrong secret, or an old public key of ours."""
    RATE_LIMITED = "rate limited"
    STUN_LIMIT = "stun limit"
    """More STUN requests, of one source or in all, than a supernode answers."""
    NOT_AUTHENTIC = "not authentic"
    UNASKED = "unasked answer"
    """STUN's, to no request of ours, or to one that was answered already."""
    REPLAYED = "replayed"
    REPLAYED_HANDSHAKE = "replayed handshake"
    EXPIRED_KEY = "expired key"
    OWN_KEY = "own key"
    """A handshake under our own key: the key file is in use twice."""
    SIMULTANEOUS = "simultaneous handshake"
    """Both ends began; the one with the smaller key goes on. Nothing is wrong."""

    # Handshakes of those who hold the PSK.
    NOT_A_MEMBER = "not a member"
    BAD_CERTIFICATE = "bad certificate"
    CERTIFICATE_EXPIRED = "certificate expired"
    CERTIFICATE_NOT_YET_VALID = "certificate not yet valid"
    WRONG_AUTHORITY = "certificate of another authority"

    NETWORK_NOT_SERVED = "network not served"
    """This supernode's file lists other networks only."""

    # Tables that are full.
    TOO_MANY_PEERS = "too many peers"
    TOO_MANY_STATIONS = "too many stations"
    TOO_MANY_REGISTRATIONS = "too many registrations"
    TOO_MANY_CHANNELS = "too many relay channels"

    # Frames, at the switch.
    QUEUE_FULL = "queue full"
    """More frames for a peer than are kept while the session with it is made."""
    NO_PATH = "no path"
    LINK_LOCAL_PROTOCOL = "link-local protocol"
    """To 01-80-C2-00-00-00 to 0F (STP, pause, LLDP): a bridge does not forward these (802.1Q, 8.6.3)."""
    BAD_SOURCE = "bad source address"
    """A group address as source."""
    SAME_PORT = "same port"
    """To a station on the side it came from."""
    NOT_ITS_ADDRESS = "not its address"
    """A peer sent with our own MAC, or with one that its certificate does not allow."""
    FLOOD_LIMIT = "flood limit"
    """A peer sent more group or unknown frames than one may."""

    # The relay.
    RELAY_LIMIT = "relay limit"
    NOT_THE_OWNER = "not the owner"
    """A relay channel used from another address than its member's."""
    NOT_RELAYED = "not relayed"
    """It came directly, and our file says relay = "always"; or by way of the overlay itself."""
    NOT_A_RELAY = "not a relay"
    """A member asked us for a relay channel, and our file, or our certificate, does not say that we relay."""
    CHANNEL_REFUSED = "relay channel refused"
    """A member that may not relay offered a channel, or one to nobody that we know."""


class Drops:
    """Counts by reason. Counting is rare, so it may cost a little."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[DropReason, int] = {}

    def count(self, reason: DropReason, n: int = 1) -> None:
        if n:
            self._counts[reason] = self._counts.get(reason, 0) + n

    def as_dict(self) -> dict[DropReason, int]:
        """A copy: reason -> how many, only of what happened."""
        return dict(self._counts)
