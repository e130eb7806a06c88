"""How this node proves that it belongs to its network, from its file and keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509

from l2mesh.app import keyfiles
from l2mesh.app.errors import ConfigError
from l2mesh.crypto import certificate, keys
from l2mesh.crypto.certificate import Capability, CertificateError, CertificateFault, Member

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from l2mesh.app.config import EdgeConfig
    from l2mesh.crypto.keys import StaticKey

# Self-issued certificates differ in the key they are over, and nobody revokes by number.
SERIAL_OF_SELF_ISSUED = 1


@dataclass(frozen=True, slots=True)
class Membership:
    """Public keys, id and PSK of 32 bytes; `certificate` in DER, and `member` what it says.

    `warnings` are for the log: others may not accept what this node does.
    """

    authority: bytes
    network_id: bytes
    psk: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    member: Member
    warnings: tuple[str, ...] = ()


def membership(config: EdgeConfig, key: StaticKey, wall_now: float) -> Membership:
    """How the node with `key` is a member: by a certificate of its own from the secret, or one from a file.

    `wall_now`: Unix seconds. ConfigError if the certificate is missing, expired, or for another key or
    network.
    """
    if config.network.secret is not None:
        capabilities = [Capability.RELAY] if config.transport.relay_for_others else []
        return _from_secret(config.network.secret, config.node.name, key, capabilities)
    assert config.network.authority is not None
    assert config.node.certificate is not None
    return _from_file(config, config.network.authority, config.node.certificate, key, wall_now)


def _from_secret(secret: bytes, name: str, key: StaticKey, capabilities: Iterable[Capability]) -> Membership:
    authority = keys.authority_from_secret(secret)
    der = certificate.issue(
        authority,
        key.public,
        name,
        not_before=certificate.NO_BEGINNING,
        not_after=certificate.NO_EXPIRY,
        serial=SERIAL_OF_SELF_ISSUED,
        capabilities=capabilities,
    )
    member = certificate.verify(der, authority.public, certificate.NO_BEGINNING)
    public = authority.public
    return Membership(public, keys.network_id(public), keys.network_psk(secret), der, member)


def _from_file(config: EdgeConfig, authority: bytes, path: Path, key: StaticKey, wall_now: float) -> Membership:
    der = keyfiles.load_certificate(path)
    member, warnings = _verified(path, der, authority, wall_now)
    if member.public_key != key.public:
        raise ConfigError(f"{path}: is for another key than that in {config.node.key}")
    warnings += _beyond_the_certificate(config, path, member)
    return Membership(
        authority, keys.network_id(authority), keys.network_psk(authority), der, member, tuple(warnings)
    )


def _verified(path: Path, der: bytes, authority: bytes, wall_now: float) -> tuple[Member, list[str]]:
    try:
        return certificate.verify(der, authority, wall_now), []
    except CertificateError as error:
        if error.reason is CertificateFault.NOT_YET_VALID:
            # Likely a clock that is not set yet, at boot: peers judge by their own.
            begins = x509.load_der_x509_certificate(der).not_valid_before_utc.timestamp()
            return certificate.verify(der, authority, begins), [f"{path}: {error}: is this host's clock right?"]
        raise ConfigError(f"{path}: {error}{_remedy(error.reason)}") from None


def _remedy(reason: CertificateFault) -> str:
    if reason is CertificateFault.EXPIRED:
        return ": ask for a new one, from `l2mesh sign` and the same request"
    if reason is CertificateFault.WRONG_AUTHORITY:
        return " ([network] authority)"
    return ""


def _beyond_the_certificate(config: EdgeConfig, path: Path, member: Member) -> list[str]:
    warnings = []
    if member.name != config.node.name:
        warnings.append(f"{path}: peers see the name {member.name}, not [node] name = {config.node.name}")
    beyond = [str(one.ip) for one in config.tap.addresses if str(one.ip) not in member.addresses]
    if member.addresses and beyond:
        warnings.append(f"{path}: does not list [tap] addresses {', '.join(beyond)}: peers may refuse them")
    if config.transport.relay_for_others and Capability.RELAY not in member.capabilities:
        warnings.append(
            f"{path}: does not let this node relay, so [transport] relay_for_others has no effect: "
            "ask for a new one, from `l2mesh sign --capability relay` and the same request"
        )
    return warnings
