"""What the authority's holder does: look at a request, issue a certificate."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from l2mesh.app import checking, files, schema, toml_file
from l2mesh.app.checking import value_error
from l2mesh.app.values import parse_key
from l2mesh.crypto import certificate
from l2mesh.crypto.keys import encode_key

if TYPE_CHECKING:
    from pathlib import Path

    from l2mesh.app.toml_file import TomlFile
    from l2mesh.crypto.keys import AuthorityKey

DAY = 86400  # seconds
# Clocks differ: a certificate is valid from this many seconds before it was made.
BACKDATED = 3600
# RFC 5280, section 4.1.2.2: at most 20 octets, positive; unpredictable, and so never the same twice.
SERIAL_BITS = 158


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks to be admitted, to what. Keys of 32 bytes; all of it public."""

    network: str
    authority: bytes
    name: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """What a certificate shall say. Without addresses or MACs, its holder may use any."""

    name: str
    public_key: bytes
    days: int
    addresses: tuple[str, ...] = ()
    macs: tuple[bytes, ...] = ()
    capabilities: tuple[str, ...] = ()


def issue(authority: AuthorityKey, order: NewCertificate, wall_now: float) -> bytes:
    """The certificate, in DER. `wall_now`: Unix seconds. ValueError if it would be too large."""
    return certificate.issue(
        authority,
        order.public_key,
        order.name,
        not_before=int(wall_now) - BACKDATED,
        not_after=int(wall_now) + order.days * DAY,
        serial=1 + secrets.randbits(SERIAL_BITS),
        addresses=order.addresses,
        macs=order.macs,
        capabilities=order.capabilities,
    )


def write_request(path: Path, request: Request) -> None:
    """Write a request, which must not exist yet."""
    table = {
        "network": request.network,
        "authority": encode_key(request.authority),
        "name": request.name,
        "public_key": encode_key(request.public_key),
    }
    header = (
        f"{request.name} asks to be admitted to the l2mesh network {request.network}. None of it is secret.\n"
        f"The authority's holder:  l2mesh sign {path.name} --authority-key {request.network}.authority.key"
    )
    toml_file.write_new(path, {"request": table}, files.PUBLIC, header)


def read_request(path: Path) -> Request:
    """Read a request (untrusted); ConfigError."""
    file = toml_file.read(path, "a request comes from `l2mesh request`, on the host to admit")
    table = checking.check(file, schema.RequestFile).request
    return Request(
        table.network,
        _key(file, "authority", table.authority),
        table.name,
        _key(file, "public_key", table.public_key),
    )


def _key(file: TomlFile, name: str, text: str) -> bytes:
    try:
        return parse_key(text)
    except ValueError as error:
        raise value_error(file, "request", name, text, str(error)) from None
