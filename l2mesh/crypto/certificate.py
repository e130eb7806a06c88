"""Membership: X.509 (RFC 5280) over a node's X25519 key, signed by the network's Ed25519 authority.

::

    subject CN                    name of the member
    issuer CN                     public key of the authority, base64, as in the network file
    subjectPublicKeyInfo          X25519 (RFC 8410)
    subjectAltName   IP           addresses the member may use
                     URI          urn:l2mesh:mac:02:00:5e:00:53:01    MACs it may use
    extendedKeyUsage              capabilities: 2.25.272…485.1 relay, .2 invite
    signature                     Ed25519 (RFC 8410)

There are no chains: the authority is known beforehand, by its key, and signs each member itself.
`openssl x509 -text` shows all of it. What we do not know is passed over, unless it is marked critical
(RFC 5280, section 4.2).
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID

from l2mesh.crypto.keys import AuthorityKey, encode_key, signature_is_valid
from l2mesh.wire.errors import BadPacket

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_SIZE = 640
"""Bytes of DER, as many as a registration has room for (wire.control). A usual certificate has 250 to 400; the
rest is for some ten MACs."""

NO_BEGINNING = 0
"""`not_before` of a certificate that is valid whatever the clock says: 1970."""
NO_EXPIRY = 253402300799
"""`not_after` likewise: 99991231235959Z, "no well-defined expiration date" (RFC 5280, section 4.1.2.5)."""

CACHE_SIZE = 16_384
"""Certificates that were parsed and whose signature was right: all of a large supernode, which sees each again
every 40 seconds, at 1.5 KB each."""

# A UUID of our own under 2.25 (ITU-T X.667): an arc nobody has to assign.
_ARC = "2.25.272865561893718670752937971705208266485"
_NAME = re.compile(r"[a-z0-9-]{1,63}")
_MAC_URN = "urn:l2mesh:mac:"
_MAC_TEXT = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
# The critical extensions whose demands we meet: SAN is read here, the others limit what a CA may do.
_UNDERSTOOD = {
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
}


class Capability(StrEnum):
    """What a member may do beyond carrying its own frames."""

    RELAY = "relay"
    INVITE = "invite"


_OID_OF = {
    Capability.RELAY: x509.ObjectIdentifier(f"{_ARC}.1"),
    Capability.INVITE: x509.ObjectIdentifier(f"{_ARC}.2"),
}


class CertificateFault(Enum):
    MALFORMED = "malformed"
    WRONG_AUTHORITY = "not signed by this network's authority"
    NOT_YET_VALID = "not yet valid"
    EXPIRED = "expired"
    KEY_TYPE = "not over an X25519 key"


class CertificateError(BadPacket):
    """A certificate that proves no membership; `reason` says why, for counters and for the log."""

    def __init__(self, reason: CertificateFault, detail: str = "") -> None:
        super().__init__(f"certificate: {reason.value}{': ' if detail else ''}{detail}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Member:
    """What a valid certificate says. Times in Unix seconds, both ends included; MACs of 6 bytes."""

    name: str
    public_key: bytes
    addresses: tuple[str, ...]
    macs: tuple[bytes, ...]
    capabilities: frozenset[Capability]
    not_before: int
    not_after: int
    serial: int


def issue(
    authority: AuthorityKey,
    public_key: bytes,
    name: str,
    *,
    not_before: int,
    not_after: int,
    serial: int,
    addresses: Iterable[str] = (),
    macs: Iterable[bytes] = (),
    capabilities: Iterable[str] = (),
) -> bytes:
    """The DER of a certificate. Raises ValueError, which names what is wrong.

    `not_before` should lie some minutes back: clocks differ. `serial`: positive, below 2^159, used once.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"name {name!r}: must be 1 to 63 of a-z 0-9 -")
    builder = (
        x509.CertificateBuilder()
        .subject_name(_common_name(name))
        .issuer_name(_common_name(encode_key(authority.public)))
        .public_key(X25519PublicKey.from_public_bytes(public_key))
        .serial_number(serial)
        .not_valid_before(_datetime(not_before))
        .not_valid_after(_datetime(not_after))
    )
    alternatives = _alternative_names(addresses, macs)
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    usages = [_OID_OF[capability] for capability in sorted(map(Capability, capabilities))]
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    der = builder.sign(authority.private, None).public_bytes(Encoding.DER)
    if len(der) > MAX_SIZE:
        raise ValueError(f"certificate of {len(der)} bytes, but at most {MAX_SIZE}: fewer addresses or MACs")
    return der


def verify(der: bytes, authority_public: bytes, wall_now: float) -> Member:
    """The member that `der` (untrusted) proves, at `wall_now` (Unix seconds). Raises CertificateError only.

    Cheap when repeated: parsing and the signature are remembered, the time is looked at anew.
    """
    member = _read(bytes(der), authority_public)
    if wall_now < member.not_before:
        raise CertificateError(
            CertificateFault.NOT_YET_VALID, f"{member.name}: {_days(member.not_before, wall_now)}"
        )
    if wall_now > member.not_after:
        raise CertificateError(CertificateFault.EXPIRED, f"{member.name}: {_days(wall_now, member.not_after)} ago")
    return member


def to_pem(der: bytes) -> bytes:
    """For a file. Raises CertificateError when `der` is no certificate."""
    try:
        return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
    except ValueError:
        raise CertificateError(CertificateFault.MALFORMED, "not X.509 DER") from None


def from_pem(pem: bytes) -> bytes:
    """The DER of the first certificate in a file. Raises CertificateError."""
    try:
        return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    except ValueError:
        raise CertificateError(CertificateFault.MALFORMED, "holds no certificate in PEM form") from None


@lru_cache(maxsize=CACHE_SIZE)
def _read(der: bytes, authority_public: bytes) -> Member:
    """Parse and check the signature. A fault is not remembered, so nobody can fill the cache with rubbish."""
    if len(der) > MAX_SIZE:
        raise CertificateError(CertificateFault.MALFORMED, f"{len(der)} bytes, more than {MAX_SIZE}")
    try:
        # The parser warns of oddities (a negative serial) that it means to refuse one day: refused now.
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            certificate = x509.load_der_x509_certificate(der)
            _check_signature(certificate, authority_public)
            return _member(certificate)
    except CertificateError:
        raise
    except Exception as error:
        # All of it on purpose: parts are parsed only when they are touched, each with exceptions of its own.
        raise CertificateError(CertificateFault.MALFORMED, type(error).__name__) from None


def _check_signature(certificate: x509.Certificate, authority_public: bytes) -> None:
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.ED25519 or not signature_is_valid(
        authority_public, certificate.signature, certificate.tbs_certificate_bytes
    ):
        raise CertificateError(CertificateFault.WRONG_AUTHORITY)


def _member(certificate: x509.Certificate) -> Member:
    """What the authority signed; it too may have signed what makes no sense here."""
    key = certificate.public_key()
    if not isinstance(key, X25519PublicKey):
        raise CertificateError(CertificateFault.KEY_TYPE)
    addresses: tuple[str, ...] = ()
    macs: tuple[bytes, ...] = ()
    capabilities: frozenset[Capability] = frozenset()
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            addresses = tuple(str(address) for address in value.get_values_for_type(x509.IPAddress))
            macs = _macs(value.get_values_for_type(x509.UniformResourceIdentifier))
        elif isinstance(value, x509.ExtendedKeyUsage):
            capabilities = frozenset(capability for capability, oid in _OID_OF.items() if oid in value)
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise CertificateError(CertificateFault.MALFORMED, f"critical {extension.oid.dotted_string}")
    return Member(
        name=_member_name(certificate.subject),
        public_key=key.public_bytes_raw(),
        addresses=addresses,
        macs=macs,
        capabilities=capabilities,
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
        serial=certificate.serial_number,
    )


def _member_name(subject: x509.Name) -> str:
    names = [attribute.value for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(names) != 1 or not isinstance(names[0], str) or not _NAME.fullmatch(names[0]):
        raise CertificateError(CertificateFault.MALFORMED, "name")
    return names[0]


def _macs(uris: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(_mac(uri.removeprefix(_MAC_URN)) for uri in uris if uri.startswith(_MAC_URN))


def _mac(text: str) -> bytes:
    if not _MAC_TEXT.fullmatch(text):
        raise CertificateError(CertificateFault.MALFORMED, "MAC")
    return bytes.fromhex(text.replace(":", ""))


def _alternative_names(addresses: Iterable[str], macs: Iterable[bytes]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.IPAddress(ip_address(address)) for address in addresses]
    for mac in macs:
        if len(mac) != 6 or mac[0] & 1:
            raise ValueError(f"MAC {mac.hex(':')}: must be 6 bytes and no group address")
        names.append(x509.UniformResourceIdentifier(_MAC_URN + mac.hex(":")))
    return names


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _datetime(unix: int) -> datetime:
    try:
        return datetime.fromtimestamp(unix, UTC)
    except (OverflowError, OSError, ValueError):
        raise ValueError(f"time {unix}: must be Unix seconds before the year 10000") from None


def _days(later: float, earlier: float) -> str:
    return f"{(later - earlier) / 86400:.1f} days"
