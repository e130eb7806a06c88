"""A TCP transfer for hosts without iperf3. The receiver prints what it got as JSON: {"bytes": …, "seconds": …}.

python -m l2mesh.app.demo.transfer receive ADDRESS PORT        says "listening", takes one connection
python -m l2mesh.app.demo.transfer send ADDRESS PORT SECONDS
"""

from __future__ import annotations

import json
import socket
import sys
import time
from typing import Final

CHUNK: Final = 1 << 20
PATIENCE_S: Final = 10.0


def receive(address: str, port: int) -> None:
    with socket.create_server((address, port)) as server:
        server.settimeout(PATIENCE_S)
        print("listening", flush=True)
        connection, _ = server.accept()
    buffer = bytearray(CHUNK)
    received, begun = 0, time.monotonic()
    with connection:
        connection.settimeout(PATIENCE_S)
        while size := connection.recv_into(buffer):
            received += size
    print(json.dumps({"bytes": received, "seconds": time.monotonic() - begun}), flush=True)


def send(address: str, port: int, seconds: float) -> None:
    chunk = bytes(CHUNK)
    with socket.create_connection((address, port), PATIENCE_S) as connection:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection.sendall(chunk)


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(sys.argv[2], int(sys.argv[3]))
    else:
        send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
