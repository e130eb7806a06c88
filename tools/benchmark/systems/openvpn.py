"""OpenVPN between two TAPs: TLS with pinned certificates, AES-256-GCM."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from benchmark.rig import Rig
from benchmark.systems.base import OVERLAY, READY_SECONDS, Daemons, directory_of
from l2mesh.lab import Host

PORT = 1194
VALID = datetime.timedelta(days=2)


class OpenVpn(Daemons):
    name = "openvpn"
    title = "OpenVPN TAP"
    programs = ("openvpn",)

    def prepare(self, rig: Rig) -> None:
        self._directories = {host.name: directory_of(rig, f"openvpn-{host.name}") for host in (rig.a, rig.b)}
        self._fingerprints = {name: _make_certificate(path) for name, path in self._directories.items()}

    def start(self, rig: Rig) -> None:
        server = self.end(rig.b, [*self._command(rig, rig.b, rig.a), "--tls-server", "--dh", "none"])
        client = self.end(rig.a, [*self._command(rig, rig.a, rig.b), "--tls-client", "--remote", rig.b.address4])
        for process in (server, client):
            process.wait_for_line("Initialization Sequence Completed", READY_SECONDS)

    def _command(self, rig: Rig, host: Host, other: Host) -> list[str]:
        directory = self._directories[host.name]
        options: dict[str, list[str]] = {
            "dev": ["openvpn0"],
            "dev-type": ["tap"],
            "proto": ["udp4"],
            "port": [str(PORT)],
            "ifconfig": [OVERLAY.of(rig, host), "255.255.255.0"],
            "cert": [str(directory / "cert.pem")],
            "key": [str(directory / "key.pem")],
            "peer-fingerprint": [self._fingerprints[other.name]],
            "data-ciphers": ["AES-256-GCM"],
            "allow-compression": ["no"],
            "verb": ["1"],
        }
        return ["openvpn", *(word for key, values in options.items() for word in (f"--{key}", *values))]


def _make_certificate(directory: Path) -> str:
    """A self-signed one; returns its fingerprint as OpenVPN writes it."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, directory.name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - VALID)
        .not_valid_after(now + VALID)
        .sign(key, SHA256())
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "key.pem").touch(mode=0o600)
    (directory / "key.pem").write_bytes(secret)
    return certificate.fingerprint(SHA256()).hex(":").upper()
