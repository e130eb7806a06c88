"""Routers that lie, or are odd: fake servers in the namespace of a lab's router."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from l2mesh.lab.machines import Router, Site
from l2mesh.lab.nat import replacing
from l2mesh.wire.pcp import CLIENT_PORT, SERVER_PORT
from tests.core.router import FakeRouter

POLL_S = 0.05


def forward(router: Router, external: int, inside: tuple[str, int] | None) -> None:
    """Lets in what is sent to this UDP port from outside, as a mapping does; None: not any more."""
    dnat = f'iifname "wan" udp dport {external} dnat to {inside[0]}:{inside[1]}' if inside else ""
    rules = f"""
    table ip faked {{
        chain prerouting {{
            type nat hook prerouting priority dstnat - 5
            {dnat}
        }}
        chain forward {{
            type filter hook forward priority filter - 5
            ct status dnat meta mark set 0x6d
        }}
    }}
    """
    router.nft(replacing("ip faked", rules))


@contextmanager
def serving(site: Site, fake: FakeRouter) -> Iterator[socket.socket]:
    """`fake` answers at the router's port 5351. Yields its socket, to announce by."""
    with site.router.udp("0.0.0.0", SERVER_PORT) as here:
        here.settimeout(POLL_S)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                with suppress(TimeoutError, ConnectionRefusedError):
                    datagram, source = here.recvfrom(2000)
                    for answer in fake.handle(datagram, time.monotonic()):
                        here.sendto(answer, source)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield here
        finally:
            ended.set()
            thread.join()


def announce(site: Site, here: socket.socket, announcement: bytes) -> None:
    """To all hosts of the LAN."""
    here.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(site.lan.addresses4[0]))
    here.sendto(announcement, ("224.0.0.1", CLIENT_PORT))


# An Internet Gateway Device.

SSDP = ("239.255.255.250", 1900)
HTTP_PORT = 5555
SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
DEVICE = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
DESCRIPTION = f"""<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device>
<deviceType>{DEVICE}</deviceType><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1</serviceType><controlURL>/control</controlURL>
</service></serviceList><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType><serviceList><service>
<serviceType>{SERVICE}</serviceType><controlURL>/control</controlURL>
</service></serviceList></device></deviceList></device></deviceList></device></root>"""
ENVELOPE = '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>%s</s:Body></s:Envelope>'
FAULT = "<s:Fault><detail><UPnPError><errorCode>%d</errorCode></UPnPError></detail></s:Fault>"


class PermanentOnly:
    """A router by UPnP that knows only mappings without an end (error 725), and that does forward."""

    def __init__(self, site: Site) -> None:
        self.router = site.router
        self.host = site.lan.addresses4[0]
        self.maps: dict[int, tuple[str, int]] = {}
        self.refusals = 0

    @contextmanager
    def serving(self) -> Iterator[None]:
        igd = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(200, DESCRIPTION)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                action = self.headers["SOAPAction"].strip('"').partition("#")[2]
                self.answer(*igd.act(action, dict(re.findall(r"<(New\w+)>([^<]*)<", body))))

            def answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        with self.router.entered():
            http = HTTPServer((self.host, HTTP_PORT), Handler)
        with http, self.router.udp("0.0.0.0", SSDP[1]) as ssdp:
            group = struct.pack("4s4s", socket.inet_aton(SSDP[0]), socket.inet_aton(self.host))
            ssdp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            ssdp.settimeout(POLL_S)
            ended = threading.Event()
            threads = [
                threading.Thread(target=http.serve_forever, args=(POLL_S,)),
                threading.Thread(target=self._be_found, args=(ssdp, ended)),
            ]
            for thread in threads:
                thread.start()
            try:
                yield
            finally:
                ended.set()
                http.shutdown()
                for thread in threads:
                    thread.join()

    def _be_found(self, ssdp: socket.socket, ended: threading.Event) -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                request, source = ssdp.recvfrom(2000)
                if DEVICE.encode() in request:
                    where = (
                        f"LOCATION: http://{self.host}:{HTTP_PORT}/\r\nST: {DEVICE}\r\nUSN: uuid:1::{DEVICE}\r\n"
                    )
                    ssdp.sendto(f"HTTP/1.1 200 OK\r\n{where}\r\n".encode(), source)

    def act(self, action: str, given: dict[str, str]) -> tuple[int, str]:
        """(HTTP status, body)"""
        said = {}
        if action == "AddPortMapping":
            if int(given["NewLeaseDuration"]):
                self.refusals += 1
                return 500, ENVELOPE % (FAULT % 725)
            self._map(int(given["NewExternalPort"]), (given["NewInternalClient"], int(given["NewInternalPort"])))
        elif action == "DeletePortMapping":
            if int(given["NewExternalPort"]) not in self.maps:
                return 500, ENVELOPE % (FAULT % 714)
            self._map(int(given["NewExternalPort"]), None)
        elif action == "GetExternalIPAddress":
            said = {"NewExternalIPAddress": self.router.address4}
        elif action == "GetStatusInfo":
            said = {"NewConnectionStatus": "Connected", "NewUptime": "7"}
        values = "".join(f"<{name}>{value}</{name}>" for name, value in said.items())
        return 200, ENVELOPE % f'<u:{action}Response xmlns:u="{SERVICE}">{values}</u:{action}Response>'

    def _map(self, external: int, inside: tuple[str, int] | None) -> None:
        if inside:
            self.maps[external] = inside
        else:
            del self.maps[external]
        forward(self.router, external, inside)
