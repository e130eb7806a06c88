"""The other end of a swarm's control socket."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from l2mesh.lab import Host, LabError, Process, wait_until
from scaling.swarm import DATAGRAM_MAX

ANSWER_SECONDS = 60.0
START_SECONDS = 20.0


class Remote:
    """A swarm in a process of its own, on a host of the lab."""

    def __init__(self, host: Host, module: str, directory: Path, settings: dict[str, Any]) -> None:
        """`settings` go to the module's `main` as its only argument, with the control socket's path."""
        control = directory / f"{module}.control"
        command = [sys.executable, "-m", f"scaling.{module}", json.dumps({**settings, "control": str(control)})]
        self.process: Process = host.popen(command, name=module, env={"PYTHONPATH": os.pathsep.join(sys.path)})
        wait_until(control.exists, START_SECONDS, f"{module} starts")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(directory / f"{module}.asking"))
        self._socket.settimeout(ANSWER_SECONDS)
        self._socket.connect(str(control))

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        self._socket.send(json.dumps({"what": what, **arguments}).encode())
        try:
            data = self._socket.recv(DATAGRAM_MAX)
        except TimeoutError:
            raise LabError(f"{self.process.name} is too busy to answer: this machine does too much else") from None
        answer: dict[str, Any] = json.loads(data)
        return answer
