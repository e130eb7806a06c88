"""Who may be a peer: a certificate of the network's authority, valid now, over the key that did the handshake."""

from __future__ import annotations

from typing import Final

from l2mesh.core.drops import DropReason
from l2mesh.crypto.certificate import CertificateError, CertificateFault, Member, verify

REASONS: Final = {
    CertificateFault.MALFORMED: DropReason.BAD_CERTIFICATE,
    CertificateFault.KEY_TYPE: DropReason.BAD_CERTIFICATE,
    CertificateFault.WRONG_AUTHORITY: DropReason.WRONG_AUTHORITY,
    CertificateFault.NOT_YET_VALID: DropReason.CERTIFICATE_NOT_YET_VALID,
    CertificateFault.EXPIRED: DropReason.CERTIFICATE_EXPIRED,
}


def admit(certificate: bytes, authority: bytes, public_key: bytes, wall_now: float) -> Member | DropReason:
    """The member that a certificate makes of the holder of `public_key`, or why it does not."""
    try:
        member = verify(certificate, authority, wall_now)
    except CertificateError as error:
        return REASONS[error.reason]
    return member if member.public_key == public_key else DropReason.NOT_A_MEMBER
